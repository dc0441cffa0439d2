"""After the files are there: what is the template's own, or was not chosen, goes; the first model comes.

cookiecutter.json says what goes: `_machinery` always, `_only_with` unless its answer was given. Only the standard library is at
hand here, as cookiecutter runs in an environment of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

# cookiecutter renders this file first; JSON never has three quotes in a row, so nothing ends the string early
ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
ROOT = Path.cwd()


def forget_what_git_ignores():
    """A checkout on a disk has caches, build outputs and maybe a key, which were copied through the links."""
    # A repository of its own: what an outer one, or a person's settings, ignore is no business of this project.
    known = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    known.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    if not shutil.which("git"):
        raise Refused("git is not here: install it and try again")
    with tempfile.TemporaryDirectory() as scratch:
        git = ["git", f"--git-dir={scratch}/git", f"--work-tree={ROOT}", "-c", f"core.excludesFile={os.devnull}"]
        subprocess.run([*git, "init", "--quiet"], env=known, check=True)
        subprocess.run([*git, "clean", "-ffdXq"], env=known, check=True)
    for folder in sorted((path for path in ROOT.rglob("*") if path.is_dir()), reverse=True):
        if ROOT / ".git" not in (folder, *folder.parents) and not any(folder.iterdir()):
            folder.rmdir()  # it held nothing but what was ignored: a step that another branch has, say


def remove(paths):
    for path in (ROOT / name for name in paths):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()


def cut_from_tox(environments):
    """Each `[testenv:NAME]`, to the next section."""
    tox = ROOT / "tox.ini"
    sections = re.split(r"(?m)^(?=\[)", tox.read_text(encoding="utf-8"))
    cut = tuple(f"[testenv:{name}]" for name in environments)
    tox.write_text("".join(part for part in sections if not part.startswith(cut)).rstrip() + "\n", encoding="utf-8")


def require_a_name_of_its_own():
    """Installed, a project that is called as a library would take its place."""
    locked = re.findall(r"(?m)^([a-z0-9._-]+)==", (ROOT / "requirements/dev.txt").read_text(encoding="utf-8").lower())
    if ANSWERS["project_slug"] in {re.sub(r"[._]+", "-", name) for name in locked}:
        raise Refused(
            f"project_slug is `{ANSWERS['project_slug']}`, and a library that it needs is called so, too: choose another"
        )


def write_first_model(examples):
    """The example stays as it is; any other name is a skeleton, by the project's own `mlops new model`."""
    if ANSWERS["first_model"] in examples:
        return
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    new, errors = import_module("delivery.new"), import_module("delivery.errors")
    try:
        new.new_model(ROOT, ANSWERS["first_model"])
    except errors.MlopsError as error:
        raise Refused(f"first_model: {error.what}; {error.do}") from None


class Refused(Exception):
    """The project cannot be made; cookiecutter then takes back what it wrote."""


def main():
    require_a_name_of_its_own()
    forget_what_git_ignores()
    remove(ANSWERS["_machinery"]["paths"])
    cut_from_tox(ANSWERS["_machinery"]["tox"])
    examples = []
    for kept in ANSWERS["_only_with"]:
        examples += kept["answers"] if kept["question"] == "first_model" else []
        if ANSWERS[kept["question"]] not in kept["answers"]:
            remove(kept["paths"])
    write_first_model(examples)
    print(f"\n{ANSWERS['project_name']} is in {ROOT}; there: make demo, make test", file=sys.stderr)


try:
    main()
except Refused as refused:
    sys.exit(f"error: {refused}")
