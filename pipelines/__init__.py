"""The pipelines of this project: every module here that holds a pipeline of its own name."""

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any


class UnknownPipeline(LookupError):
    """No module here holds a pipeline of that name; `known` are the names that would have been right."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no pipeline is called `{name}`; there are: {', '.join(known) or 'none'}")
        self.name, self.known = name, known


def names(package: str = __name__) -> list[str]:
    """All pipelines of a package, sorted; a module without a pipeline of its own name is none."""
    found = [module.name for module in pkgutil.iter_modules(import_module(package).__path__)]
    return sorted(name for name in found if _pipeline_in(import_module(f"{package}.{name}"), name))


def module(name: str, package: str = __name__) -> ModuleType:
    """The module of a pipeline, imported; the others are imported only to say what would have been right."""
    inside = {found.name for found in pkgutil.iter_modules(import_module(package).__path__)}
    if name in inside:
        candidate = import_module(f"{package}.{name}")
        if _pipeline_in(candidate, name):
            return candidate
    raise UnknownPipeline(name, names(package))


def load(name: str, package: str = __name__) -> Any:  # Any: kfp has no public type for a pipeline
    """The pipeline itself, ready for KFP's compiler."""
    return getattr(module(name, package), name)


def _pipeline_in(candidate: ModuleType, name: str) -> bool:
    return hasattr(getattr(candidate, name, None), "pipeline_spec")
