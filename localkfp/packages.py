"""A package as the API server reads it, and what of it one machine cannot run, said before it starts."""

from __future__ import annotations

import gzip
import io
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localkfp import conditions
from localkfp.engine import Engine
from localkfp.errors import invalid
from localkfp.preamble import is_installed, split_preamble

LARGEST = 32 << 20
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
PYTHON = re.compile(r"(docker\.io/)?(library/)?python(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")
FIELD_PATHS = ("metadata.labels['pipeline/runid']", "metadata.name", "metadata.namespace", "metadata.uid")
MOUNTS = ("pvcMount", "secretAsVolume", "configMapAsVolume", "genericEphemeralVolume", "emptyDirMounts")
HONOURED = {"fieldPathAsEnv", "secretAsEnv", "configMapAsEnv", *MOUNTS}


@dataclass(frozen=True)
class Package:
    """The two documents of a compiled pipeline: what runs, and what Kubernetes was to add."""

    pipeline_spec: dict[str, Any]
    platform_spec: dict[str, Any] | None = None

    @classmethod
    def from_bytes(cls, data: bytes, filename: str) -> Package:
        """A YAML file, or a .zip or .tar.gz with one in it."""
        if len(data) > LARGEST:
            raise invalid(f"File size too large. Maximum supported size: {LARGEST}", "Error read pipeline file")
        try:
            text = _text(data, filename)
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=YamlLoader)):
                raise invalid("YAML aliases are not supported: few of them make a text that fills the memory")
            documents = list(yaml.load_all(text, Loader=YamlLoader))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            raise invalid("unknown template format") from None
        specs = [document for document in documents if isinstance(document, dict) and "pipelineInfo" in document]
        platforms = [document for document in documents if isinstance(document, dict) and "platforms" in document]
        if len(specs) > 1:
            raise invalid("multiple pipeline specs provided")
        if len(platforms) > 1:
            raise invalid("multiple platform specs provided")
        if not specs:
            raise invalid("unknown template format")
        return cls.from_json({"pipeline_spec": specs[0], "platform_spec": platforms[0] if platforms else None})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Package:
        """As REST gives it: both documents, or the pipeline's spec alone."""
        spec, platform = (
            (value["pipeline_spec"], value.get("platform_spec")) if "pipeline_spec" in value else (value, None)
        )
        package = cls(_normal(spec, "PipelineSpec"), _normal(platform, "PlatformSpec") if platform else None)
        if "kubernetes" not in (package.platform_spec or {}).get("platforms", {}):
            package = cls(package.pipeline_spec)  # as the server does: it keeps no document that it does not know
        if not package.pipeline_spec.get("pipelineInfo", {}).get("name") or "root" not in package.pipeline_spec:
            raise invalid("unknown template format")
        _normal(package.pipeline_spec.get("deploymentSpec", {}), "PipelineDeploymentConfig")
        if package.pipeline_spec.get("schemaVersion") != "2.1.0":
            version = package.pipeline_spec.get("schemaVersion", "")
            raise invalid(f"KFP only supports schema version 2.1.0, but the pipeline spec has version {version}")
        if not NAME.fullmatch(package.name):
            raise invalid(
                "pipeline's name must contain only lowercase alphanumeric characters or '-' "
                "and must start with alphanumeric characters"
            )
        return package

    def as_json(self) -> dict[str, Any]:
        """As REST gives it back: two documents only where there are two."""
        if self.platform_spec is None:
            return self.pipeline_spec
        return {"pipeline_spec": self.pipeline_spec, "platform_spec": self.platform_spec}

    @property
    def name(self) -> str:
        return str(self.pipeline_spec["pipelineInfo"]["name"])

    @property
    def root_inputs(self) -> dict[str, Any]:
        return dict(self.pipeline_spec["root"].get("inputDefinitions", {}))

    @property
    def executors(self) -> dict[str, dict[str, Any]]:
        """In the spec they have no schema: this is how KFP will understand them."""
        deployment = _normal(self.pipeline_spec.get("deploymentSpec", {}), "PipelineDeploymentConfig")
        return dict(deployment.get("executors", {}))

    @property
    def containers(self) -> dict[str, dict[str, Any]]:
        """The executors that run something, which an importer does not."""
        return {name: executor["container"] for name, executor in self.executors.items() if "container" in executor}

    def on_kubernetes(self, executor: str) -> dict[str, Any]:
        """What `kfp.kubernetes` was told of the tasks of this executor."""
        kubernetes = (self.platform_spec or {}).get("platforms", {}).get("kubernetes", {})
        return dict(kubernetes.get("deploymentSpec", {}).get("executors", {}).get(executor, {}))


class YamlLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml may be missing
    """The quicker of the two safe loaders: a package can be large."""


def whole(value: Any) -> Any:
    """Numbers as the API server writes them in JSON, where 3.0 is 3."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [whole(item) for item in value]
        case dict():
            return {key: whole(item) for key, item in value.items()}
    return value


def check_parameters(package: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values for a run, if they are what the pipeline asks for."""
    declared = package.root_inputs.get("parameters", {})
    where = "invalid pipeline job inputs"
    for name, spec in declared.items():
        if name not in parameters:
            if not (spec.get("isOptional") or "defaultValue" in spec):
                raise invalid(
                    f"parameter {name} is not optional, yet has neither default value nor user provided value", where
                )
            continue
        said = _type_refused(name, parameters[name], spec.get("parameterType", ""))
        if said:
            raise invalid(said, where)
    if extra := [name for name in parameters if name not in declared]:
        raise invalid(f"parameter(s) provided are not required by pipeline: {', '.join(extra)}", where)
    return dict(parameters)


def check(
    package: Package,
    images: Mapping[str, Path | None],
    engine: Engine,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Refuses, with every reason, what cannot run here; the environment is only asked for where it is given."""
    reasons = [*_structure(package), *_settings(package, environment)]
    lightweight = {name: container for name, container in package.containers.items() if is_lightweight(container)}
    if runs_in_processes(package, images):
        reasons += _not_installed(package)
    elif engine.answers:
        reasons += [
            f"image {image} of {tasks} is not in the Docker engine: docker pull {image}"
            for image, tasks in _by_image(package.containers)
            if not engine.has(image)
        ]
    else:
        reasons += [
            f"image {image} of {tasks} is not known here: say which folder holds its code, with `localkfp serve "
            f"--image {image}=DIR` or ThreadedLocalKfp(images={{{image!r}: Path(DIR)}}), or start a Docker engine "
            "that has it"
            for image, tasks in _by_image(lightweight)
            if not is_known(image, images)
        ]
        reasons += [
            f"{_task(name)} brings no code of its own, but calls what is in image {container.get('image', '')}: "
            "start a Docker engine that has it"
            for name, container in package.containers.items()
            if name not in lightweight
        ]
    if reasons:
        raise invalid(f"pipeline {package.name} cannot run on this machine: " + "; ".join(dict.fromkeys(reasons)))


def runs_in_processes(package: Package, images: Mapping[str, Path | None]) -> bool:
    """True where no image is needed: for each, this machine's Python and a folder do."""
    return all(
        is_known(container.get("image", ""), images) and is_lightweight(container)
        for container in package.containers.values()
    )


def is_lightweight(container: Mapping[str, Any]) -> bool:
    """Does it bring its code along, as `dsl.component` does, and call the image's Python alone?"""
    _, command = split_preamble(container.get("command", []))
    return len(command) == 4 and command[:2] == ["sh", "-ec"] and "kfp.dsl.executor_main" in command[2]


def is_known(image: str, images: Mapping[str, Path | None]) -> bool:
    return PYTHON.fullmatch(image) is not None or any(name in images for name in _names(image))


def folder_of(image: str, images: Mapping[str, Path | None]) -> Path | None:
    """The code that stands for a known image."""
    return next((images[name] for name in _names(image) if name in images), None)


def entries(settings: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of settings, which have no schema in the package."""
    value = settings.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def without_effect(package: Package) -> Iterator[str]:
    """A line for each thing that is asked for and that one machine has not, and does not need."""
    if root := package.pipeline_spec.get("defaultPipelineRoot"):
        yield f"pipeline_root {root}: artifacts are kept in the folder of the run instead"
    for name, executor in package.executors.items():
        ignored = sorted(package.on_kubernetes(name).keys() - HONOURED)
        ignored += ["resources"] if executor.get("container", {}).get("resources") else []
        if ignored:
            yield f"{_task(name)}: {', '.join(ignored)} have no effect on one machine"


def _text(data: bytes, filename: str) -> bytes:
    try:
        if filename.endswith((".yaml", ".yml")):
            return data
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = archive.namelist()
                name = "pipeline.yaml" if "pipeline.yaml" in names else next(iter(names), "")
                if name.endswith((".yaml", ".yml")) and archive.getinfo(name).file_size <= LARGEST:
                    return archive.read(name)
        elif data.startswith(b"\x1f\x8b"):
            unpacked = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST)
            with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
                files = {member.name: member for member in tar if member.isfile()}
                member = files.get("pipeline.yaml") or next(iter(files.values()), None)
                if member and member.name.endswith((".yaml", ".yml")) and member.size <= LARGEST:
                    content = tar.extractfile(member)
                    return content.read() if content else b""
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError):
        pass  # a broken archive is no more than a file of another kind
    raise invalid("Unexpected pipeline file format. Support .zip, .tar.gz or YAML", "Error read pipeline file")


def _normal(document: Any, kind: str) -> dict[str, Any]:
    """A document as protobuf writes it, so that every later look at it finds one spelling."""
    from google.protobuf import json_format  # kfp takes most of a second to import: a server that is only read need not
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        message = json_format.ParseDict(document, getattr(pipeline_spec_pb2, kind)())
        return dict(whole(json_format.MessageToDict(message)))
    except (json_format.Error, AttributeError, TypeError, RecursionError):
        raise invalid("unknown template format") from None


def _type_refused(name: str, value: Any, kind: str) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "NUMBER_DOUBLE" | "NUMBER_INTEGER":
            wanted = "double or integer, but the parameter value is not of number value type"
            return None if number else f"input parameter {name} requires type {wanted}"
        case "TASK_FINAL_STATUS":
            return f"input parameter {name} requires type TASK_FINAL_STATUS, which is invalid for root component"
        case "STRING" | "BOOLEAN" | "LIST" | "STRUCT":
            word, type_ = {"STRING": ("string", str), "BOOLEAN": ("bool", bool), "LIST": ("list", list)}.get(
                kind, ("struct", dict)
            )
            said = f"input parameter {name} requires type {word}, but the input parameter is not of {word} value type"
            return None if isinstance(value, type_) else said
    return f"input parameter {name} has unspecified type"


def _structure(package: Package) -> Iterator[str]:
    """What KFP's local runner cannot do, whatever the images."""
    components = {"the pipeline": package.pipeline_spec["root"], **package.pipeline_spec.get("components", {})}
    for dag in (component["dag"] for component in components.values() if "dag" in component):
        for name, selector in dag.get("outputs", {}).get("artifacts", {}).items():
            if len(selector.get("artifactSelectors", [])) > 1:
                yield f"output {name} is one of several artifacts: return parameters, which can be chosen among"
        for name, task in dag.get("tasks", {}).items():
            condition = task.get("triggerPolicy", {}).get("condition", "")
            if condition and not conditions.is_readable(condition):
                yield f"the condition of {name} cannot be read, on a cluster either (a quote in a text?): {condition}"


def _settings(package: Package, environment: Mapping[str, str] | None) -> Iterator[str]:
    """What Kubernetes was to give the tasks and this machine cannot."""
    for executor in package.executors:
        settings, task = package.on_kubernetes(executor), _task(executor)
        for mount in MOUNTS:
            if any(not one.get("optional") for one in entries(settings, mount)):
                yield f"{task} mounts a volume ({mount}), which only a cluster has: pass what it reads as an artifact"
        for field in entries(settings, "fieldPathAsEnv"):
            if field.get("fieldPath") not in FIELD_PATHS:
                yield f"{task} reads the pod's {field.get('fieldPath')}, which only a cluster has"
        if environment is None:
            continue
        for kind, source in (("secret", "secretAsEnv"), ("config map", "configMapAsEnv")):
            for one in entries(settings, source):
                name = one.get("secretName") or one.get("configMapName") or "whose name is a parameter"
                for variable in (str(key.get("envVar")) for key in entries(one, "keyToEnv")):
                    if not one.get("optional") and variable not in environment:
                        yield f"{task} takes {variable} from the {kind} {name}: set {variable} where localkfp is started"


def _not_installed(package: Package) -> Iterator[str]:
    for name, container in package.containers.items():
        wanted, _ = split_preamble(container["command"])
        for requirement in (one for one in wanted if not is_installed(one)):
            yield (
                f"{_task(name)} installs {requirement} when it starts, which would change this environment: "
                f"install it beforehand where {sys.executable} finds it"
            )


def _by_image(containers: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Each image, and a word for the tasks that it is of."""
    for image in sorted({container.get("image", "") for container in containers.values()}):
        names = sorted(name for name, container in containers.items() if container.get("image", "") == image)
        yield image, _task(", ".join(name.removeprefix("exec-") for name in names))


def _names(image: str) -> list[str]:
    """As it is written; where it has a digest, that decides, whatever tag stands before it."""
    name, at, digest = image.partition("@")
    untagged = re.sub(r":[\w.-]+$", "", name)
    return [image, f"{untagged}@{digest}"] if at else [image]


def _task(executor: str) -> str:
    return f"task {executor.removeprefix('exec-')}"
