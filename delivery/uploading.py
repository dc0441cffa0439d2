"""Packages at a KFP API: a pipeline is one there, and a release's package is one version of it, however often it is sent."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import ParseDict, ParseError
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from delivery.errors import BytesDiffer
from delivery.kubeflow import Kubeflow, Version, found_or_made

HASH = re.compile(r"sha256:([0-9a-f]{64})")
YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml may be missing


def upload(kfp: Kubeflow, pipeline: str, name: str, package: bytes) -> Version:
    """The package as a version of that name; what is there already is kept, if it is this very package."""
    return kfp.patiently(lambda: _upload(kfp, pipeline, name, package))


def uploaded(kfp: Kubeflow, pipeline: str, name: str, package: bytes) -> Version | None:
    """The version of that name, if it is there; one that holds another package is refused."""

    def look() -> Version | None:
        pipeline_id = _pipeline_id(kfp, pipeline)
        return _version(kfp, pipeline_id, name, package) if pipeline_id else None

    return kfp.patiently(look)


def _upload(kfp: Kubeflow, pipeline: str, name: str, package: bytes) -> Version:
    api = kfp.client._upload_api  # kfp.Client's own calls print links
    with kfp.in_sentences(), tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        file = Path(scratch) / "package.yaml"
        file.write_bytes(package)

        def make_pipeline() -> None:
            """With it comes a first version, of the pipeline's name, which the server lets nobody choose."""
            api.upload_pipeline(str(file), name=_shown(pipeline), namespace=kfp.namespace, _preload_content=False)

        pipeline_id = found_or_made(lambda: _pipeline_id(kfp, pipeline), make_pipeline)

        def make_version() -> None:
            said = f"sha256:{hashlib.sha256(package).hexdigest()}"
            api.upload_pipeline_version(
                str(file), name=name, pipelineid=pipeline_id, description=said, _preload_content=False
            )

        return found_or_made(lambda: _version(kfp, pipeline_id, name, package), make_version)


def _shown(pipeline: str) -> str:
    return pipeline.replace("_", "-")


def _pipeline_id(kfp: Kubeflow, pipeline: str) -> str | None:
    ask = kfp.client._pipelines_api.pipeline_service_list_pipelines
    found = kfp.listed(ask, "pipelines", _shown(pipeline), namespace=kfp.namespace)
    return str(found[0]["pipeline_id"]) if found else None


def _version(kfp: Kubeflow, pipeline_id: str, name: str, package: bytes) -> Version | None:
    ask = kfp.client._pipelines_api.pipeline_service_list_pipeline_versions
    found = kfp.listed(ask, "pipeline_versions", name, pipeline_id=pipeline_id)
    if not found:
        return None
    said = HASH.search(found[0].get("description") or "")
    is_other = said is not None and said[1] != hashlib.sha256(package).hexdigest()
    if is_other or _as_given_back(found[0].get("pipeline_spec", {})) != _as_packed(package):
        what = f"version {name} at the endpoint holds another package than the release"
        do = "find out who uploaded it; delete that version there, and repeat the command"
        raise BytesDiffer(what, where=kfp.where, do=do)
    return Version(pipeline_id, str(found[0]["pipeline_version_id"]), name)


def _as_packed(package: bytes) -> tuple[bytes, bytes] | None:
    documents = list(yaml.load_all(package, Loader=YamlLoader))
    return _compared(documents[0], documents[1] if len(documents) > 1 else {})


def _as_given_back(spec: dict[str, Any]) -> tuple[bytes, bytes] | None:
    """A server gives the pipeline's document alone, or both by name where a platform has one too."""
    return _compared(spec.get("pipeline_spec", spec), spec.get("platform_spec", {}))


def _compared(pipeline: dict[str, Any], platform: dict[str, Any]) -> tuple[bytes, bytes] | None:
    """What is the same for the same package, though it came through JSON, where 3.0 is 3 and keys have another order."""
    try:
        specs = ParseDict(pipeline, PipelineSpec()), ParseDict(platform, PlatformSpec())
    except ParseError:
        return None
    return specs[0].SerializeToString(deterministic=True), specs[1].SerializeToString(deterministic=True)
