"""The schedule of a pipeline at a KFP API: one recurring run or none, and what people made beside it is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from kfp_server_api import ApiException

from delivery.kubeflow import Kubeflow, Version, reference


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """One recurring run of ours."""

    id: str
    name: str
    cron: str
    version_id: str
    arguments: dict[str, Any]
    enabled: bool


def scheduled(kfp: Kubeflow, pipeline: str) -> list[Scheduled]:
    """Those in the pipeline's experiment whose names begin with the pipeline's; the oldest first."""
    experiment_id = kfp.experiment_named(pipeline)
    if experiment_id is None:
        return []
    ask = kfp.client._recurring_run_api.recurring_run_service_list_recurring_runs
    rows = kfp.listed(ask, "recurringRuns", experiment_id=experiment_id)
    rows.sort(key=lambda row: (row["created_at"], row["recurring_run_id"]))
    return [
        Scheduled(
            id=row["recurring_run_id"],
            name=row["display_name"],
            cron=row.get("trigger", {}).get("cron_schedule", {}).get("cron", ""),
            version_id=row.get("pipeline_version_reference", {}).get("pipeline_version_id", ""),
            arguments=row.get("runtime_config", {}).get("parameters", {}),
            enabled=row.get("status") == "ENABLED",
        )
        for row in rows
        if _is_ours(row["display_name"], pipeline)
    ]


def schedule(
    kfp: Kubeflow, pipeline: str, version: Version, cron: str, arguments: Mapping[str, Any], run_name: str
) -> bool:
    """Afterwards exactly one runs that version so, or none where `cron` is empty; True when something changed."""
    if not _is_ours(run_name, pipeline):
        raise ValueError(f"{run_name} would not be found again as a schedule of {pipeline}")

    def fits(one: Scheduled) -> bool:
        wanted = (cron, version.version_id, dict(arguments))
        return one.enabled and (one.cron, one.version_id, one.arguments) == wanted

    def settle() -> None:
        """The new one first, so that a cut leaves two rather than none; of two that came at once the older one stays."""
        there = scheduled(kfp, pipeline)
        if cron and not any(fits(one) for one in there):
            _create(kfp, pipeline, version, cron, arguments, run_name)
            there = scheduled(kfp, pipeline)
        kept = [one.id for one in there if cron and fits(one)][:1]
        for one in there:
            if one.id not in kept:
                _delete(kfp, one.id)

    there = kfp.patiently(lambda: scheduled(kfp, pipeline))
    if len(there) == (1 if cron else 0) and all(fits(one) for one in there):
        return False
    kfp.patiently(settle)
    return True


def _create(
    kfp: Kubeflow, pipeline: str, version: Version, cron: str, arguments: Mapping[str, Any], run_name: str
) -> None:
    body = {
        "display_name": run_name,
        "experiment_id": kfp.experiment(pipeline),
        "pipeline_version_reference": reference(version),
        "runtime_config": {"parameters": dict(arguments)},
        "trigger": {"cron_schedule": {"cron": cron}},
        "mode": "ENABLE",
        "max_concurrency": "1",  # of two trainings at once one would be in vain
        "no_catchup": True,
    }
    with kfp.in_sentences():
        create = kfp.client._recurring_run_api.recurring_run_service_create_recurring_run
        create(recurring_run=body, _preload_content=False)


def _delete(kfp: Kubeflow, recurring_run_id: str) -> None:
    with kfp.in_sentences():
        try:
            kfp.client.delete_recurring_run(recurring_run_id)
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:  # somebody was faster
                raise


def _is_ours(name: str, pipeline: str) -> bool:
    return name.replace("_", "-").startswith(f"{pipeline.replace('_', '-')}-")
