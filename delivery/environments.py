"""The settings of an environment, read once and checked; no other module of delivery reads os.environ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import yaml

from delivery.errors import WrongUse, meant

KINDS = {str: "text", int: "a whole number", dict: "a mapping", list: "a list"}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One file of environments/. What differs between environments is there, and nowhere else."""

    name: str
    endpoint: str
    store: str
    registry: str
    default_pipeline: str = ""
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)  # pipeline -> parameter -> value
    gpus: int = 0
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    root: Path  # the project's folder, not a setting

    @property
    def work(self) -> Path:
        """Where runs of this machine keep their log and KFP its artifacts: always local, whatever the store is."""
        return self.root / ".mlops" / self.name / "work"


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


def child_environment(root: Path, run_id: str, scratch: Path) -> dict[str, str]:
    """The environment variables of a run: this process's own, and what its steps need to find code, run and scratch."""
    code = str(Path(__file__).resolve().parents[1])
    path = dict.fromkeys([str(root), code, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    ours = {"PIPELINE_RUN_ID": run_id, "PYTHONPATH": os.pathsep.join(path), "TMPDIR": str(scratch)}
    return {**os.environ, **ours, "PYTHONUNBUFFERED": "1"}


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
    if given["endpoint"] != "local":
        sentence = f"no pipeline can run at `{given['endpoint']}`: this version runs them on this machine only"
        raise WrongUse(sentence, where=f"{path}, endpoint", do="write `endpoint: local`")
    places = {key: absolute(given[key], given["root"]) for key in ("store", "registry")}
    return Environment(**{**given, **places})


def _require_type(value: object, kind: type, key: str, path: Path) -> None:
    if not isinstance(value, kind) or isinstance(value, bool) or (kind is str and not value):
        shown = "nothing" if value is None or value == "" else f"`{value}`"
        wanted = KINDS[kind]
        raise WrongUse(f"`{key}` is {shown}, and must be {wanted}", where=path, do=f"write {wanted} after `{key}:`")
