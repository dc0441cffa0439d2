"""The settings of an environment, read once and checked, and the KFP API that they name."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import yaml

from components import IMAGE
from delivery.errors import Failed, WrongUse, meant

KINDS = {str: "text", int: "a whole number", dict: "a mapping", list: "a list"}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One file of environments/. What differs between environments is there, and nowhere else."""

    name: str
    endpoint: str  # `local`, or the URL of a KFP API
    store: str
    registry: str
    namespace: str = ""  # of the cluster; none where the endpoint has none
    default_pipeline: str = ""
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)  # pipeline -> parameter -> value
    gpus: int = 0
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    root: Path  # the project's folder, not a setting

    @property
    def logs(self) -> Path:
        """Where what a run printed is kept: always on this machine, wherever the run was."""
        return self.root / ".mlops" / self.name / "logs"

    @property
    def endpoint_setting(self) -> str:
        """Where an error of the endpoint points to."""
        return f"environments/{self.name}.yaml, endpoint: {self.endpoint}"

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


def read_environment(name: str, root: Path | None = None) -> Environment:
    """The environment of that name, with every path in it absolute; wrong names and keys say what would be right."""
    root = root or project_root()
    path = root / "environments" / f"{name}.yaml"
    known = [file.stem for file in (root / "environments").glob("*.yaml")]
    if name not in known:  # and not "is there such a file": ../elsewhere/x is no name
        raise WrongUse(f"there is no environment `{name}`", where=path, do=meant(name, known))
    return _checked({"name": name, "root": root, **_parsed(path)}, path)


def absolute(url: str, root: Path) -> str:
    """The URL with a relative path made absolute from the project's root: steps run in folders of their own."""
    scheme, colon, rest = url.partition(":")
    if scheme == "sqlite" and rest.startswith("///"):
        return f"sqlite:///{root / rest[3:]}"
    if scheme == "file" and not rest.startswith("/"):
        return f"file:{root / rest}"
    return url if colon else f"file:{root / url}"


@contextmanager
def served(environment: Environment) -> Iterator[str]:
    """The URL of the environment's KFP API. `local` is one inside this process: it ends with the block, and its runs too."""
    if environment.endpoint != "local":
        yield environment.endpoint
        return
    from localkfp.server import ThreadedLocalKfp  # here, as no other endpoint needs it

    server = ThreadedLocalKfp(folder=environment.kfp, images={IMAGE: environment.root})
    try:
        server.start()
    except (OSError, sqlite3.Error) as error:
        do = "free the place, or make it writable"
        raise Failed(f"no KFP API can be started here: {error}", where=environment.kfp, do=do) from error
    try:
        yield server.url
    finally:
        server.stop()


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        where = f"{path}, line {line}"
        raise WrongUse(f"the file is no YAML: {error.problem}", where=where, do="mend that line") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongUse(f"the file cannot be read: {error}", where=path, do="mend the file") from error
    if not isinstance(given, dict):
        raise WrongUse("the file holds no settings", where=path, do="write `key: value` lines, as in local-dev.yaml")
    for key in ("name", "root"):
        if key in given:
            raise WrongUse(f"`{key}` is no setting of an environment", where=path, do="delete it: the path says it")
    return given


def _checked(given: dict[str, Any], path: Path) -> Environment:
    known = {item.name: item for item in fields(Environment)}
    for key in sorted(given.keys() - known.keys(), key=str):
        choices = known.keys() - {"name", "root"}
        raise WrongUse(f"`{key}` is no setting of an environment", where=path, do=meant(str(key), choices))
    needed = [key for key, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    for key in [key for key in needed if key not in given]:
        raise WrongUse(f"`{key}` is missing, and has no default", where=path, do=f"add `{key}: ...`")
    for key, hint in get_type_hints(Environment).items():
        if key in given and key != "root":
            _require_type(given[key], get_origin(hint) or hint, key, path)
    for pipeline, parameters in given.get("parameters", {}).items():
        _require_type(parameters, dict, f"parameters.{pipeline}", path)
    if given.get("gpus", 0) < 0:
        raise WrongUse(f"`gpus` is below zero: {given['gpus']}", where=path, do="write 0 or more")
    if given["endpoint"] != "local" and not re.match(r"https?://[^/\s]+", given["endpoint"]):
        sentence = f"`endpoint` is `{given['endpoint']}`, and must be `local` or the URL of a KFP API"
        raise WrongUse(sentence, where=path, do="write `endpoint: local`, or `endpoint: https://...`")
    places = {key: absolute(given[key], given["root"]) for key in ("store", "registry")}
    return Environment(**{**given, **places})


def _require_type(value: object, kind: type, key: str, path: Path) -> None:
    if not isinstance(value, kind) or isinstance(value, bool) or (kind is str and not value):
        shown = "nothing" if value is None or value == "" else f"`{value}`"
        wanted = KINDS[kind]
        raise WrongUse(f"`{key}` is {shown}, and must be {wanted}", where=path, do=f"write {wanted} after `{key}:`")
