"""Import every module that a step may need, when the image is built; `component.py` is the compiler's, which is not here."""

import importlib
import pkgutil

import kfp.dsl.executor_main  # noqa: F401

for room in ("components", "models", "storage"):
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
        if not module.name.endswith(".component"):
            importlib.import_module(module.name)
