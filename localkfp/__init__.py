"""A Kubeflow Pipelines API server on one machine: what `kfp.Client` sends, it runs, without a cluster.

with ThreadedLocalKfp() as server:
    client = kfp.Client(host=server.url)
"""

from localkfp.server import LocalKfp, ThreadedLocalKfp

__all__ = ["LocalKfp", "ThreadedLocalKfp"]
