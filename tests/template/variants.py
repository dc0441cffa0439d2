"""`make variants`: three projects as they were made, and in each the README's commands to their end, as a newcomer types them.

Apart from `make template`, as each takes as long as `make test` does. `-k churn` chooses one; what was green is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from tests.template.generated import LONGEST_MODEL, NASTY, ROOT, Project, Template, files

HOME = Path.home()  # before the tests get one of their own: uv and pip have their caches there
PASSED_ON = ("LANG", "NETRC", "NO_COLOR", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "TERM", "TMPDIR")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
SECONDS = 5400
VARIANTS = {
    "defaults": {},
    "churn": {"first_model": "churn", "ci": "tekton", "model_registry": "kubeflow"},
    "unicode": {"project_name": NASTY, "first_model": LONGEST_MODEL, "ci": "none", "model_registry": "mlflow"},
}


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Someone with a shell in a new project, who has none of what started the tests."""

    root: Path

    def types(self, command: str) -> tuple[int, str]:
        """Type it, print how it ended; the exit code and all that it said."""
        print(f"    {command}", end="", flush=True)
        began, log = monotonic(), self.root.parent / f"{command.replace(' ', '-')}.log"
        with log.open("w") as said:
            code = subprocess.run(
                command.split(), cwd=self.root, env=clean(), stdout=said, stderr=subprocess.STDOUT, timeout=SECONDS
            ).returncode
        print(f"\n      exit {code}, {monotonic() - began:.0f} s", flush=True)
        return code, log.read_text(encoding="utf-8", errors="replace")


def clean() -> dict[str, str]:
    """A login's environment: where libraries come from is passed on, and no tool of the tests' own."""
    known = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.lower() in PROXIES}
    known |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}
    ours = (str(ROOT), sys.prefix)
    folders = (folder for folder in os.environ["PATH"].split(os.pathsep) if not folder.startswith(ours))
    return {**known, "PATH": os.pathsep.join(folders), "HOME": str(HOME)}


@pytest.fixture
def where(request: pytest.FixtureRequest, template: Template, tmp_path: Path) -> Path:
    """An empty folder; for one of them in another repository, which ignores what the project needs."""
    folder = tmp_path / "outer" / "projects"
    folder.mkdir(parents=True)
    if request.node.callspec.params["variant"] == "unicode":
        (folder.parent / ".gitignore").write_text("build/\nmodels/\n", encoding="utf-8")
        template.person.commits(folder.parent, "Begin")
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_commands_of_the_readme_work_in_a_new_project(template: Template, where: Path, variant: str) -> None:
    began = monotonic()
    made = template.makes(where, **VARIANTS[variant])
    generated = files(made.root)
    print(f"\n{variant}: {made.root.name}, {len(generated)} files, made in {monotonic() - began:.1f} s")
    newcomer = Newcomer(root=made.root)
    demo, test = commands(made)

    code, said = newcomer.types(demo)
    assert code == 0, said[-8000:]
    print(f"      from the prompt to a green demo: {monotonic() - began:.0f} s")

    code, said = newcomer.types(test)
    closing = re.findall(r"(?m)^=* ?(\d+ (?:passed|failed).* in [\d.]+s.*?) ?=*$", said)
    print(f"      {closing[-1] if closing else 'pytest has not come to its end'}")
    assert code == 0, said[-8000:]
    assert closing

    git = ("git", f"--git-dir={where}/git", "--work-tree=.")
    template.person.types(*git, "init", "--quiet", at=made.root)
    listed = template.person.types(*git, "ls-files", "-z", "--others", "--exclude-standard", at=made.root).stdout
    assert set(listed.split("\0")) - {""} == generated.keys()  # what the commands wrote, the project's git ignores
    after = files(made.root, without=(".make", ".tox"))
    assert {name: after[name] for name in generated} == generated
    shutil.rmtree(made.root)


def commands(made: Project) -> list[str]:
    """What the README tells a newcomer to type first."""
    block = made.says("README.md").partition("```sh\n")[2].partition("```")[0]
    return [line.partition("#")[0].strip() for line in block.splitlines()]
