"""What keeps a bad image from being made: the imports when it is built, and the lint of its Containerfile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTS = ROOT / "images/steps/imports.py"
CONTAINERFILES = sorted((ROOT / "images").glob("*/Containerfile"))


@pytest.mark.parametrize(
    ("path", "code", "good"),
    [
        ("components/look/step.py", "import json", True),
        ("components/look/step.py", "import a_library_that_the_image_lacks", False),
        ("models/deep/er.py", "raise ValueError", False),
        ("storage/objects.py", "import a_library_that_the_image_lacks", False),
        (
            "components/look/component.py",
            "import a_library_that_the_image_lacks",
            True,
        ),  # the compiler's, and not there
    ],
)
def test_every_module_of_a_step_must_be_imported(tmp_path: Path, path: str, code: str, good: bool) -> None:
    for room in ("components", "models", "storage"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    (file.parent / "__init__.py").touch()
    file.write_text(code, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "_KFP_RUNTIME": "true"}

    done = subprocess.run([sys.executable, str(IMPORTS)], env=env, cwd=tmp_path, capture_output=True, text=True)

    assert (done.returncode == 0) is good, done.stderr


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.parent.name)
def test_a_containerfile_that_takes_any_base_is_refused_by_lint(tmp_path: Path, path: Path) -> None:
    bad = tmp_path / "Containerfile"
    bad.write_text(path.read_text(encoding="utf-8").replace("\nFROM ${BASE}\n", "\nFROM python\n"), encoding="utf-8")
    hadolint = Path(sys.executable).with_name("hadolint")

    ended = [subprocess.run([hadolint, file], cwd=ROOT, capture_output=True).returncode for file in (path, bad)]

    assert ended == [0, 1]
