"""What a step asks of its cluster: resources, a time limit, the run's id, the store's credentials by reference, retries."""

from kfp import dsl, kubernetes

STORE_KEYS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
)


def place(
    task: dsl.PipelineTask,
    name: str,
    store_secret: str,
    *,
    cpu: str = "1",
    memory: str = "2Gi",
    hours: int = 1,
    retries: int = 0,
) -> dsl.PipelineTask:
    """Give the task its display name, requests and limits, and, where it touches the store, tries with back-off.

    The run's id comes by the environment (from the label that KFP puts on the pod): a parameter would end all caching.
    """
    task.set_display_name(name).set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(
        memory
    )
    if retries:
        task.set_retry(num_retries=retries, backoff_duration="2s", backoff_factor=2, backoff_max_duration="60s")
    kubernetes.set_timeout(task, hours * 3600)
    kubernetes.use_field_path_as_env(task, env_name="PIPELINE_RUN_ID", field_path="metadata.labels['pipeline/runid']")
    kubernetes.use_secret_as_env(task, store_secret, {key: key for key in STORE_KEYS}, optional=True)
    return task
