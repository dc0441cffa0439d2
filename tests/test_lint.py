"""The commands of `make lint` that are no tool's own: they find what they look for, wherever the project lies."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECRET = 'key = "' + "AKIA" + "IOSFODNN7" + 'EXAMPLF"\n'  # in parts: this file is looked through, too
BAD_SCRIPT = "#!/bin/sh\nif [ $1 == x ]; then echo $2; fi\n"


def commands(scratch: Path) -> list[str]:
    """Those of tox.ini that list files by git, as tox runs them."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    text = tox["testenv:lint"]["commands"].replace("{[lint]files}", tox["lint"]["files"])
    text = text.replace("{env_tmp_dir}", str(scratch)).replace("\\\n", " ").replace("\\#", "#")
    return [line for line in text.splitlines() if line.startswith(("git ", "bash "))]


def refuses(root: Path, scratch: Path) -> str:
    """What the first command that is not content says; nothing when all are."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands(scratch):
        done = subprocess.run(shlex.split(command), cwd=root, env=env, capture_output=True, text=True)
        if done.returncode:
            return done.stdout + done.stderr
    return ""


def lay(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


@pytest.fixture(params=["in no repository", "in one", "in another's, which ignores it"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    root = tmp_path / "outer/project"
    for path, text in {".gitignore": "*.pem\n.tox/\n", "a.py": "A = 1\n", "run": "#!/bin/sh\necho 1\n"}.items():
        lay(root, path, text)
    (root / "link").symlink_to("missing")
    if request.param == "in one":
        subprocess.run(["git", "init", "--quiet", root], check=True)
    elif request.param != "in no repository":
        subprocess.run(["git", "init", "--quiet", root.parent], check=True)
        lay(root.parent, ".gitignore", "*\n")
    return root


def test_there_are_three_such_commands(tmp_path: Path) -> None:
    assert [re.findall("git --|shellcheck$|detect-secrets-hook", one.strip('"'))[-1] for one in commands(tmp_path)] == [
        "git --",
        "shellcheck",
        "detect-secrets-hook",
    ]


def test_what_is_good_passes(project: Path, tmp_path: Path) -> None:
    lay(project, "dev.pem", SECRET)  # ignored, and committed by nobody
    lay(project, ".tox/a.py", SECRET)

    assert refuses(project, tmp_path) == ""


def test_a_secret_is_found(project: Path, tmp_path: Path) -> None:
    lay(project, "new/b.py", SECRET)

    assert "new/b.py" in refuses(project, tmp_path)


def test_a_bad_shell_script_is_found_by_its_first_line(project: Path, tmp_path: Path) -> None:
    lay(project, "tools/start", BAD_SCRIPT)

    assert "tools/start" in refuses(project, tmp_path)


def test_a_secret_that_is_committed_though_it_is_ignored_is_found(tmp_path: Path) -> None:
    root = tmp_path / "project"
    lay(root, ".gitignore", "*.pem\n")
    lay(root, "dev.pem", SECRET)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    subprocess.run(["git", "add", "--force", "dev.pem"], cwd=root, check=True)

    assert "dev.pem" in refuses(root, tmp_path)
