"""The registry of models by URL: one protocol, and a room for each kind of server."""

from __future__ import annotations

import os

from storage.objects import StorageError
from storage.registry.protocol import ModelVersion, Registry

__all__ = ["ModelVersion", "Registry", "open_registry"]

# MLflow takes these from the environment only, and some of them while it is imported. A value set by the user stays.
_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # else it calls out, and writes an id into the home folder
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # every error comes out as a StorageError, so its tracebacks only repeat it
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is data
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # a server that is down is told in seconds, not in minutes
}


def open_registry(url: str) -> Registry:
    """`sqlite:////folder/file.db` is made when it is not there; `http(s)://` is an MLflow server.

    `kubeflow+http(s)://host[:port]` is a Kubeflow Model Registry.
    """
    if url.startswith(("kubeflow+http://", "kubeflow+https://")):
        from storage.registry.kubeflow import KubeflowRegistry

        return KubeflowRegistry(url)
    if not url.startswith(("sqlite:///", "http://", "https://")):
        do = (
            "write sqlite:////folder/registry.db, the http:// or https:// URL of an MLflow server, "
            "or kubeflow+http:// or kubeflow+https:// before the host of a Kubeflow Model Registry"
        )
        raise StorageError(what=f"no registry is known for {url!r}", where="the registry's URL", do=do)
    for name, value in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)

    from storage.registry.mlflow import MlflowRegistry  # here, as MLflow takes two seconds to import

    return MlflowRegistry(url)
