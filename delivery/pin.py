"""A package with its image pinned by digest, by the pipeline spec's own types; and the gates that a package carries."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from components import IMAGE
from delivery.errors import Failed

PINNED = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
OURS = re.compile(rf"{re.escape(IMAGE)}(:[\w.-]+)?")


def pinned(package: bytes, image: str) -> bytes:
    """The same package with `image` in place of the steps' image; another image without a digest is refused."""
    from google.protobuf import json_format  # here, as kfp takes most of a second to import
    from kfp.compiler.pipeline_spec_builder import write_pipeline_spec_to_file
    from kfp.pipeline_spec import pipeline_spec_pb2 as types

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    first, *further = yaml.load_all(package, Loader=loader)
    spec = json_format.ParseDict(first, types.PipelineSpec())
    platform = json_format.ParseDict(further[0] if further else {}, types.PlatformSpec())
    deployment = types.PipelineDeploymentConfig()
    json_format.ParseDict(json_format.MessageToDict(spec.deployment_spec), deployment)
    floating = {}
    for name, executor in sorted(deployment.executors.items()):
        if executor.WhichOneof("spec") == "container":
            if OURS.fullmatch(executor.container.image):
                executor.container.image = image
            if not PINNED.fullmatch(executor.container.image):
                floating[name.removeprefix("exec-").replace("-", "_")] = executor.container.image
    if floating:
        said = "; ".join(f"{step} has `{named}`" for step, named in floating.items())
        raise Failed(
            f"an image without a digest may be another one tomorrow: {said}",
            where=f"the pipeline {spec.pipeline_info.name}",
            do=f"give the step `{IMAGE}`, which a release pins, or name its image as REPO@sha256:...",
        )
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        written = Path(scratch) / "pinned.yaml"
        write_pipeline_spec_to_file(spec, spec.pipeline_info.description or None, platform, str(written))
        return written.read_bytes()


def gates_of(spec: Mapping[str, Any]) -> str:
    """The hash of the thresholds that the package's tasks carry; empty where none does, refused where they differ."""
    from models.gates import Gates  # here, as it brings all that a model needs

    found: dict[str, list[str]] = {}
    for step, constants in _gates(spec):
        try:
            found.setdefault(Gates.of(constants).sha256(), []).append(step)
        except (TypeError, ValueError) as error:
            do = "hand on what `models.gates.Gates.constants()` gives"
            raise Failed(f"the gates of {step} are none: {error}", where=_named(spec), do=do) from error
    if len(found) > 1:
        said = "; ".join(f"{', '.join(steps)} {sha256[:12]}" for sha256, steps in found.items())
        do = "give every step the same `gates`"
        raise Failed(f"the steps carry different gates: {said}", where=_named(spec), do=do)
    return next(iter(found), "")


def _gates(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Step -> the constant `gates` that it is called with, at every depth."""
    for part in (spec["root"], *spec.get("components", {}).values()):
        for key, task in part.get("dag", {}).get("tasks", {}).items():
            value = task.get("inputs", {}).get("parameters", {}).get("gates", {}).get("runtimeValue", {})
            if "constant" in value:
                yield key.replace("-", "_"), value["constant"]


def _named(spec: Mapping[str, Any]) -> str:
    return f"the pipeline {spec['pipelineInfo']['name']}"
