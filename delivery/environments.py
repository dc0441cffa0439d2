"""The settings of an environment: one schema, read once and checked, and the KFP API that they name."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from components import IMAGE
from delivery.errors import Failed, WrongUse, meant
from delivery.secrets import HOW, Secret, refuse_written

WANTED = {  # pydantic's word for what is wrong -> what would be right
    "string_type": "text",
    "string_too_short": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "list_type": "a list",
    "greater_than_equal": "{ge} or more",
}
FORMS = {  # a setting that is text of a form -> that form, and an example
    "store": ("a folder, or the URL of one", "write file:FOLDER, or s3://bucket/folder"),
    "endpoint": ("`local` or the URL of a KFP API", "write `endpoint: local`, or `endpoint: https://...`"),
    "registry": (
        "a SQLite file, or the URL of an MLflow server or a Kubeflow Model Registry",
        "write sqlite:///FILE, https://... or kubeflow+https://...",
    ),
    "schedules": (
        "cron as Kubeflow reads it, six fields",
        'write it as in "0 30 3 * * 0", seconds first: 3:30 on Sundays',
    ),
}
HIDDEN = {  # what was written there may be the secret itself, so no sentence repeats it
    "token": ("the one place where the secret is, and not what it is", HOW),
    "signing_key": ("the one place where the secret is, and not what it is", HOW),
    "store_secret": ("the name of a Kubernetes secret", "write a name as in `store_secret: store`"),
}
CONTAINER = {  # a step writes into its outputs, the store and /tmp, and needs no privilege: as on a cluster with a strict policy
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
MISTYPED = r"\w+//|file://[^/]|(?!file:)[\w+.-]+:(?!//)"  # no URL, and who wrote it meant no folder of that name
BELIEVED: JsonDict = {  # as an editor reads it: who wants signatures says whose
    "if": {"properties": {"require_signature": {"const": True}}, "required": ["require_signature"]},
    "then": {"properties": {"trusted_keys": {"minItems": 1}}, "required": ["trusted_keys"]},
}


def _place(text: str) -> str:
    if re.match(MISTYPED, text):
        raise ValueError("it looks like a URL and is none")
    return text


def _cron(text: str) -> str:
    """As the server reads it, of which localkfp knows the grammar."""
    from localkfp.schedule import Schedule  # here, as few environments have schedules

    Schedule.of({"cron_schedule": {"cron": text}})
    return text


Text = Annotated[str, Field(strict=True, min_length=1)]
Cron = Annotated[str, Field(strict=True, pattern=r"^\S+( +\S+){5}$"), AfterValidator(_cron)]
Name = Annotated[str, Field(strict=True, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]  # Kubernetes' own rule
Place = Annotated[Text, AfterValidator(_place), Field(json_schema_extra={"pattern": f"^(?!{MISTYPED})"})]
Endpoint = Annotated[Text, Field(pattern=r"^(local$|https?://[^/\s]+)")]
RegistryUrl = Annotated[Text, Field(pattern=r"^(sqlite:///.|(kubeflow\+)?https?://[^/\s])")]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What differs between environments is in such a file, and nowhere else."""

    __pydantic_config__ = ConfigDict(extra="forbid", json_schema_extra=BELIEVED)

    endpoint: Annotated[Endpoint, Field(description="The KFP API: `local` is inside `mlops` itself; else its URL.")]
    namespace: Annotated[Text, Field(description="Whose runs they are, where the endpoint knows namespaces.")] = ""
    token: Annotated[
        Secret | None, Field(description="Where the bearer token of the KFP API is; it is read for each connection.")
    ] = None
    store: Annotated[
        Place,
        Field(description="Where runs, models and releases are kept: a folder, or a bucket (s3://bucket/folder)."),
    ]
    store_secret: Annotated[
        Name, Field(description="The Kubernetes secret whose AWS_* and MLFLOW_* keys the steps get as variables.")
    ] = "store"
    registry: Annotated[
        RegistryUrl,
        Field(description="Where models are registered: sqlite:///FILE, MLflow's URL, or kubeflow+URL for Kubeflow's."),
    ]
    default_pipeline: Annotated[Text, Field(description="What `mlops run` means without a name.")] = ""
    parameters: Annotated[
        dict[Text, dict[Text, Any]], Field(description="Pipeline -> parameter -> value; `-p` goes before them.")
    ] = field(default_factory=dict)
    schedules: Annotated[
        dict[Text, Cron], Field(description="Pipeline -> cron with six fields, seconds first: when it runs by itself.")
    ] = field(default_factory=dict)
    stall_minutes: Annotated[
        float, Field(strict=True, ge=0.1, description="A run that makes no progress for so long is ended.")
    ] = 60
    signing_key: Annotated[
        Secret | None, Field(description="Where the private key is that signs what was proved here (PEM, Ed25519).")
    ] = None
    require_signature: Annotated[
        bool, Field(strict=True, description="Nothing comes here without evidence that a trusted key has signed.")
    ] = False
    trusted_keys: Annotated[
        list[Text], Field(description="Files of the public keys (PEM) whose evidence counts here.")
    ] = field(default_factory=list)
    gpus: Annotated[
        int, Field(strict=True, ge=0, description="GPUs that training must find, or fail; 0 takes what there is.")
    ] = 0
    node_selector: Annotated[
        dict[Text, Annotated[str, Field(strict=True)]], Field(description="Labels of the nodes that train.")
    ] = field(default_factory=dict)
    tolerations: Annotated[
        list[dict[Text, Any]], Field(description="Taints that training tolerates, as Kubernetes writes them.")
    ] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Environment(Settings):
    """One file of environments/, with every path in it absolute."""

    name: str
    root: Path  # the project's folder

    @property
    def logs(self) -> Path:
        """Where what a run printed is kept: always on this machine, wherever the run was."""
        return self.root / ".mlops" / self.name / "logs"

    @property
    def endpoint_setting(self) -> str:
        """Where an error of the endpoint points to."""
        return f"environments/{self.name}.yaml, endpoint: {self.endpoint}"

    @property
    def trusted_paths(self) -> list[Path]:
        """The files of the public keys whose evidence counts here."""
        return [Path(file) for file in self.trusted_keys]

    @property
    def kfp(self) -> Path:
        """Where the KFP API that is inside `mlops` keeps its runs, as `endpoint: local` means it."""
        return self.root / ".mlops" / self.name / "kfp"


def project_root(start: Path | None = None) -> Path:
    """The nearest folder upwards with pyproject.toml and environments/, so that commands work anywhere inside."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "environments").is_dir():
            return folder
    raise WrongUse(
        "this folder is in no project: neither it nor any above has pyproject.toml and environments/",
        where=here,
        do="change into the project's folder and try again",
    )


def environment_names(root: Path | None = None) -> list[str]:
    """All that there are, sorted."""
    return sorted(file.stem for file in ((root or project_root()) / "environments").glob("*.yaml"))


def read_environment(name: str, root: Path | None = None) -> Environment:
    """The environment of that name, with every path in it absolute; wrong names and keys say what would be right."""
    root = root or project_root()
    path = environment_file(name, root)
    return _checked(parsed(path), path, name, root)


def environment_file(name: str, root: Path) -> Path:
    """Where that environment is described, whether well or not."""
    path = root / "environments" / f"{name}.yaml"
    known = environment_names(root)
    if name not in known:  # and not "is there such a file": ../elsewhere/x is no name
        raise WrongUse(f"there is no environment `{name}`", where=path, do=meant(name, known))
    return path


def schema() -> dict[str, Any]:
    """What an editor needs to check and complete a file of environments/ (JSON Schema)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(Settings).json_schema()}


def absolute(url: str, root: Path) -> str:
    """The URL with a relative path made absolute from the project's root: steps run in folders of their own."""
    scheme, colon, rest = url.partition(":")
    if scheme == "sqlite" and rest.startswith("///"):
        return f"sqlite:///{root / rest[3:]}"
    if scheme == "file" and not rest.startswith("/"):
        return f"file:{root / rest}"
    return url if colon else f"file:{root / url}"


@contextmanager
def served(environment: Environment, images: Mapping[str, Path] | None = None) -> Iterator[str]:
    """The URL of the environment's KFP API. `local` is one inside this process: it ends with the block, and its runs too.

    `images`: further images that this one knows, by the folder of their code.
    """
    if environment.endpoint != "local":
        yield environment.endpoint
        return
    from localkfp.engine import Containers  # here, as no other endpoint needs them
    from localkfp.server import ThreadedLocalKfp

    me = f"{os.getuid()}:{os.getgid()}"  # who can write where the store is, and whose the results are
    containers = Containers(options={"user": me, **CONTAINER}, folders=tuple(folders_of(environment)))
    images = {IMAGE: environment.root, **(images or {})}
    server = ThreadedLocalKfp(folder=environment.kfp, images=images, containers=containers)
    try:
        server.start()
    except (OSError, sqlite3.Error) as error:
        do = "free the place, or make it writable"
        raise Failed(f"no KFP API can be started here: {error}", where=environment.kfp, do=do) from error
    try:
        yield server.url
    finally:
        server.stop()


def folders_of(environment: Environment) -> Iterator[Path]:
    """What a step in a container must see of this machine: the project, and where store and registry are folders."""
    yield environment.root
    for url, start in ((environment.store, "file:"), (environment.registry, "sqlite:///")):
        if url.startswith(start):
            folder = Path(absolute(url, environment.root).removeprefix(start))
            folder = folder if start == "file:" else folder.parent
            if not folder.is_relative_to(environment.root):
                yield folder


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's own would silently take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"`{key.value}` is there twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return node


def parsed(path: Path) -> Mapping[str, Any]:
    """The keys and values of a file of settings; a file that is no YAML, or says a key twice, is told by its line."""
    try:
        given = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        where = f"{path}, line {line}"
        raise WrongUse(f"the file is no YAML: {error.problem}", where=where, do="mend that line") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongUse(f"the file cannot be read: {error}", where=path, do="mend the file") from error
    if not isinstance(given, dict):
        raise WrongUse("the file holds no settings", where=path, do="write `key: value` lines, as in local-dev.yaml")
    return given


def _checked(given: Mapping[str, Any], path: Path, name: str, root: Path) -> Environment:
    for key in ("name", "root"):
        if key in given:
            raise WrongUse(f"`{key}` is no setting of an environment", where=path, do="delete it: the path says it")
    refuse_written(given, path)
    try:
        settings = TypeAdapter(Settings).validate_python(given)
    except ValidationError as error:
        raise _sentence(min(error.errors(), key=_rank), path) from None  # pydantic's own would repeat a secret
    if settings.require_signature and not settings.trusted_keys:
        do = "name the files of their public keys: `trusted_keys: [environments/keys/NAME.pub.pem]`"
        raise WrongUse("`require_signature` is true without `trusted_keys`: nobody is believed", where=path, do=do)
    checked = {item.name: getattr(settings, item.name) for item in fields(Settings)}
    for key in ("store", "registry"):
        checked[key] = absolute(checked[key], root)
    checked["trusted_keys"] = [str(root / key) for key in settings.trusted_keys]
    return Environment(**checked, name=name, root=root)


def _rank(error: ErrorDetails) -> int:
    """A mistyped key first: it explains the missing one."""
    return {"unexpected_keyword_argument": 0, "missing": 1}.get(error["type"], 2)


def _sentence(error: ErrorDetails, path: Path) -> WrongUse:
    kind, value, setting = error["type"], error["input"], str(error["loc"][0])
    key = ".".join(str(part) for part in error["loc"] if part != "[key]")
    if setting in HIDDEN:
        wanted, do = HIDDEN[setting]
        return WrongUse(f"`{setting}` must be {wanted}", where=path, do=do)
    if kind == "missing":
        return WrongUse(f"`{key}` is missing, and has no default", where=path, do=f"add `{key}: ...`")
    if kind in WANTED:
        wanted = WANTED[kind].format_map(error.get("ctx", {}))
        do = f"write {wanted} after `{key}:`"
    elif setting in FORMS:
        wanted, do = FORMS[setting]
    else:
        choices = [item.name for item in fields(Settings)]
        return WrongUse(f"`{key}` is no setting of an environment", where=path, do=meant(key, choices))
    shown = "nothing" if value is None or value == "" else f"`{value}`"
    return WrongUse(f"`{key}` is {shown}, and must be {wanted}", where=path, do=do)
