"""From `-p name=value` and an environment's settings to the typed arguments of a compiled pipeline."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from delivery import git
from delivery.environments import Environment, absolute
from delivery.errors import WrongUse, meant

SOURCE = "source"
Declared = Mapping[str, Mapping[str, Any]]  # parameter -> what the package says of it


def arguments(spec: Mapping[str, Any], environment: Environment, pipeline: str, given: Sequence[str]) -> dict[str, Any]:
    """What the pipeline is called with: the environment's own facts, its parameters, then the command line's."""
    declared: Declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {name: value for name, value in _supplied(environment).items() if name in declared}
    where = f"environments/{environment.name}.yaml, parameters.{pipeline}"
    for name, value in environment.parameters.get(pipeline, {}).items():
        _require_known(name, declared, where)
        values[name] = _as_declared(name, value, declared[name]["parameterType"], where)
    for assignment in given:
        _assign(values, assignment, declared)
    for name in ("store", "registry"):
        if isinstance(values.get(name), str):
            values[name] = absolute(values[name], environment.root)
    source = values.get(SOURCE, declared.get(SOURCE, {}).get("defaultValue"))
    if isinstance(source, str) and source.startswith("file:"):  # a model from a CSV file has such a default
        values[SOURCE] = absolute(source, environment.root)
        if environment.endpoint != "local" and not environment.store.startswith("file:"):
            what = f"the steps of {environment.name} run elsewhere, and {values[SOURCE]} is a folder of this machine"
            do = f"put the tables where they can be read from there, and name it: `{SOURCE}: s3://bucket/folder`"
            raise WrongUse(what, where=f"environments/{environment.name}.yaml, parameters.{pipeline}", do=do)
    missing = [name for name, of in declared.items() if name not in values and not of.get("isOptional")]
    if missing:
        needed = " ".join(f"-p {name}=..." for name in missing)
        raise WrongUse(f"{pipeline} needs a value for {', '.join(missing)}", where="-p", do=f"add {needed}")
    return {name: value() if callable(value) else value for name, value in values.items()}


def with_defaults(spec: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the pipeline will see: those given, and its own defaults for the rest."""
    declared: Declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return {**{name: of["defaultValue"] for name, of in declared.items() if "defaultValue" in of}, **values}


def git_commit(root: Path) -> str:
    """The commit that runs; `-dirty` when the tree differs from it, `unknown` outside git."""
    try:
        commit = git.head(root)
        return f"{commit}-dirty" if git.is_dirty(root) else commit
    except WrongUse:
        return "unknown"


def _supplied(environment: Environment) -> dict[str, Any]:
    return {
        "store": environment.store,
        "registry": environment.registry,
        "environment": environment.name,
        "store_secret": environment.store_secret,
        "gpus": str(environment.gpus),  # a string: KFP 2.17's driver reads a number of accelerators from nothing else
        "node_selector": environment.node_selector,
        "tolerations": environment.tolerations,
        "git_commit": lambda: git_commit(environment.root),  # asked only when the pipeline declares it
    }


def _require_known(name: str, declared: Declared, where: str) -> None:
    if name not in declared:
        raise WrongUse(f"the pipeline has no parameter `{name}`", where=where, do=meant(name, declared))


def _assign(values: dict[str, Any], assignment: str, declared: Declared) -> None:
    """One `-p`: `name=value`, or `name.key=value` for one key of a mapping."""
    where = f"-p {assignment}"
    path, equals, raw = assignment.partition("=")
    name, *keys = path.strip().split(".")
    if not equals or not name or not all(keys):
        raise WrongUse(f"`{assignment}` is no assignment", where=where, do="write -p name=value, or -p name.key=value")
    _require_known(name, declared, where)
    kind = declared[name]["parameterType"]
    if not keys:
        values[name] = _parsed(name, raw, kind, where)
    elif kind == "STRUCT":
        start = values[name] if name in values else declared[name].get("defaultValue", {})
        values[name] = _with_key(copy.deepcopy(start), keys, raw, where)
    else:
        raise WrongUse(f"`{name}` is {_noun(kind)}, and has no keys", where=where, do=f"write -p {name}=value")


def _with_key(mapping: dict[str, Any], keys: Sequence[str], raw: str, where: str) -> dict[str, Any]:
    inner = mapping
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise WrongUse(f"`{key}` is no mapping, and has no keys", where=where, do="leave out what follows it")
    try:
        inner[keys[-1]] = _json(raw)
    except ValueError:
        inner[keys[-1]] = raw  # a word needs no quotes on a command line
    return mapping


def _parsed(name: str, raw: str, kind: str, where: str) -> Any:
    try:
        return PARSERS[kind](raw)
    except (KeyError, ValueError) as error:
        raise _wrong_type(name, raw, kind, where) from error


def _as_declared(name: str, value: Any, kind: str, where: str) -> Any:
    """A value from YAML has its type already: it is checked, not parsed."""
    if kind == "NUMBER_DOUBLE" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise _wrong_type(name, value, kind, where)
    return value


def _wrong_type(name: str, value: object, kind: str, where: str) -> WrongUse:
    return WrongUse(f"`{name}` is `{value}`, and must be {_noun(kind)}", where=where, do=f"write {EXAMPLES[kind]}")


def _noun(kind: str) -> str:
    return NOUNS.get(kind, kind)


def _number(raw: str) -> float:
    number = float(raw)
    if not math.isfinite(number):
        raise ValueError(raw)
    return number


def _truth(raw: str) -> bool:
    return {"true": True, "false": False}[raw.strip().lower()]


def _json(raw: str) -> Any:
    return json.loads(raw, parse_constant=_refuse)  # NaN and Infinity are no JSON, though Python reads them


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _json_of(kind: type) -> Callable[[str], Any]:
    def parse(raw: str) -> Any:
        value = _json(raw)
        if not isinstance(value, kind):
            raise ValueError(raw)
        return value

    return parse


NOUNS = {
    "STRING": "text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list in JSON",
    "STRUCT": "a mapping in JSON",
}
EXAMPLES = {
    "STRING": "text, as in name=word",
    "NUMBER_INTEGER": "digits only, as in 3",
    "NUMBER_DOUBLE": "a number, as in 0.01",
    "BOOLEAN": "true or false",
    "LIST": """a list, as in '["a", "b"]'""",
    "STRUCT": """a mapping, as in '{"key": 1}'""",
}
TYPES: dict[str, type] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
PARSERS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": _number,
    "BOOLEAN": _truth,
    "LIST": _json_of(list),
    "STRUCT": _json_of(dict),
}
