"""`cruft update` brings the template's changes into a project that went its own way, and takes nothing from it."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.template.generated import VIEW, Done, Files, Project, Template, files, settings

pytest.importorskip("cookiecutter", reason="cookiecutter is not here: `make template` has it")

LEARNED = "# The template learned this.\n"
# Of the template: a file that its user leaves alone, one that both change, one that both change in one line, and one that goes
FOLLOWED, MERGED, DISPUTED, REMOVED = "storage/objects.py", "components/rim.py", "models/gates.py", "docs/localkfp.md"
NEW, DELETED = "storage/new_room.py", "docs/errors.md"  # comes, and was deleted by its user
ROOM, MACHINERY = "vision/README.md", "vision/ours.md"  # a folder at the top comes, without what is the template's own
UNRENDERED = "${{ github.sha }} {{ cookiecutter.project_name }}\n"
SKELETON = ("contract", "generator", "network")
SKELETONS = [f"delivery/skeletons/model/models/NAME/{name}.py.tmpl" for name in SKELETON]
TEMPLATES = {*SKELETONS, "README.md", FOLLOWED, MERGED, DISPUTED, REMOVED, NEW, ROOM, DELETED, ".cruft.json"}
NAME = "my-mlops-project"
ANSWERS = {"jukebox": {}, "churn": {"first_model": "churn", "ci": "tekton", "model_registry": "kubeflow"}}
NETWORK = ("    return keras.Model(", "    # mine\n    return keras.Model(")


@dataclass(frozen=True, kw_only=True)
class Cruft:
    """A project that cruft made from a template's repository, which has gone on since."""

    template: Template
    project: Project
    commit: str  # where the template is by now

    def runs(self, *words: str, code: int | None = 0) -> Done:
        return self.project.person.types("cruft", *words, at=self.project.root, code=code)

    def commits(self, message: str) -> Files:
        """Commit everything; the files as they are then."""
        self.project.person.commits(self.project.root, message)
        return files(self.project.root)

    def conflicts(self) -> list[str]:
        """What git would not commit yet; cruft may also leave what it could not apply beside a file."""
        unmerged = self.project.person.types("git", "diff", "--name-only", "--diff-filter=U", at=self.project.root)
        return [*unmerged.stdout.splitlines(), *map(str, self.project.root.rglob("*.rej"))]

    def is_from(self) -> str:
        """The template's commit that the project says it is from."""
        commit: str = json.loads(self.project.says(".cruft.json"))["commit"]
        return commit


@pytest.fixture(scope="module")
def made(template: Template, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cruft]:
    """A project of each kind, of the template's first commit; and then its second."""
    where, person = tmp_path_factory.mktemp("cruft"), template.person
    root = shutil.copytree(template.root, where / "template", symlinks=True)
    person.commits(root, "The template as it was")
    for model, answers in ANSWERS.items():
        (where / model).mkdir()
        given = ("--no-input", "--extra-context", json.dumps(answers))
        person.types("cruft", "create", *given, root, at=where / model)
        person.commits(where / model / NAME, "Begin")
    the_template_goes_on(root)
    commit, gone_on = person.commits(root, "The template goes on"), Template(root=root, person=person)
    projects = {model: Project(root=where / model / NAME, person=person) for model in ANSWERS}
    return {model: Cruft(template=gone_on, project=it, commit=commit) for model, it in projects.items()}


@pytest.fixture
def jukebox(made: dict[str, Cruft], tmp_path: Path) -> Cruft:
    return copied(made["jukebox"], tmp_path)


@pytest.fixture
def churn(made: dict[str, Cruft], tmp_path: Path) -> Cruft:
    return copied(made["churn"], tmp_path)


def copied(cruft: Cruft, to: Path) -> Cruft:
    root = shutil.copytree(cruft.project.root, to / NAME, symlinks=True)
    return replace(cruft, project=replace(cruft.project, root=root))


def the_template_goes_on(root: Path) -> None:
    """With a change of each kind."""
    for path in (FOLLOWED, MERGED, DELETED, "{{cookiecutter.project_slug}}/README.md"):
        append(root / path, LEARNED)
    for path in SKELETONS:
        append(root / path, LEARNED)
    change_first_line(root / DISPUTED, LEARNED)
    (root / REMOVED).unlink()
    (root / NEW).write_text(LEARNED, encoding="utf-8")
    a_room_is_added(root)


def a_room_is_added(root: Path) -> None:
    """As docs/template.md says to add one, with something in it that stays with the template."""
    for path in (ROOM, MACHINERY):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(UNRENDERED, encoding="utf-8")
    room = Path(ROOM).parts[0]
    (root / VIEW / room).symlink_to(f"../{room}")
    told = settings(root)
    told["_copy_without_render"].append(room)
    told["_machinery"]["paths"].append(MACHINERY)
    (root / "cookiecutter.json").write_text(json.dumps(told), encoding="utf-8")


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")


def change_first_line(path: Path, line: str) -> None:
    path.write_text(line + path.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8")


def changed(before: Files, after: Files) -> set[str]:
    """The paths of all that came, went, or is not as it was."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_an_update_keeps_what_was_edited_and_brings_what_was_not(jukebox: Cruft) -> None:
    mine = jukebox.project
    mine.edits("README.md", "# My MLOps Project\n", "# My own title\n")
    mine.edits("models/jukebox/network.py", *NETWORK)
    mine.edits("environments/dev.yaml", "namespace: team-dev", "namespace: mine")
    mine.edits("project.yaml", "registry.example/", "registry.mine/")
    append(mine.root / "models/jukebox/gates.yaml", "# mine\n")
    change_first_line(mine.root / MERGED, '"""Mine."""\n')
    (mine.root / DELETED).unlink()
    mine.runs("delivery.cli", "new", "model", "mine")
    before = jukebox.commits("Make it mine")
    jukebox.runs("check", code=1)

    jukebox.runs("update", "-y")

    after = files(mine.root)
    assert changed(before, after) == TEMPLATES - {DELETED}
    assert {REMOVED, DELETED} & after.keys() == set()
    assert mine.says("README.md").startswith("# My own title\n")
    assert mine.says(MERGED).startswith('"""Mine."""\n')
    for path in ("README.md", MERGED, FOLLOWED, NEW):
        assert mine.says(path).endswith(LEARNED), path
    assert mine.says(DISPUTED).startswith(LEARNED)
    assert mine.says(ROOM) == UNRENDERED
    assert "models/mine/network.py" in after
    assert jukebox.conflicts() == []
    assert jukebox.is_from() == jukebox.commit
    jukebox.commits("Take the template's changes")
    jukebox.runs("check")


def test_a_line_that_both_changed_is_a_conflict_and_nothing_else_is(jukebox: Cruft) -> None:
    change_first_line(jukebox.project.root / DISPUTED, '"""Mine."""\n')
    change_first_line(jukebox.project.root / MERGED, '"""Mine."""\n')
    before = jukebox.commits("Make it mine")

    done = jukebox.runs("update", "-y")

    assert DISPUTED in done.stdout + done.stderr
    assert jukebox.conflicts() == [DISPUTED]
    disputed = jukebox.project.says(DISPUTED)
    assert disputed.startswith(f'<<<<<<< ours\n"""Mine."""\n=======\n{LEARNED}>>>>>>> theirs\n')
    assert jukebox.project.says(MERGED).startswith('"""Mine."""\n')
    assert jukebox.project.says(MERGED).endswith(LEARNED)
    assert changed(before, files(jukebox.project.root)) == TEMPLATES
    assert jukebox.is_from() == jukebox.commit


def test_an_update_can_be_taken_back_as_its_page_says(jukebox: Cruft) -> None:
    [command] = re.findall(r"so that `(git [^`]+)`\s+takes all of it back", jukebox.project.says("docs/update.md"))
    before = files(jukebox.project.root)
    jukebox.runs("update", "-y")
    assert changed(before, files(jukebox.project.root)) == TEMPLATES

    jukebox.project.person.types(*command.split(), at=jukebox.project.root)

    assert files(jukebox.project.root) == before


def test_a_skeleton_that_its_user_went_on_with_stays_theirs(churn: Cruft) -> None:
    mine = churn.project
    mine.edits("models/churn/network.py", *NETWORK)
    change_first_line(mine.root / "models/churn/contract.py", '"""Mine."""\n')
    (mine.root / "models/churn/generator.py").unlink()
    before = churn.commits("Make it mine")

    churn.runs("update", "-y")

    followed = {name for name in changed(before, files(mine.root)) if "churn" in name}
    assert followed == {f"models/churn/{name}.py" for name in ("contract", "network")}
    assert "    # mine\n" in mine.says("models/churn/network.py")
    assert mine.says("models/churn/contract.py").startswith('"""Mine."""\n')
    assert churn.conflicts() == []
    assert not (mine.root / ".github").exists()
    assert "kubeflow+https" in mine.says("environments/dev.yaml")


def test_a_model_that_is_kept_out_of_updates_is_not_touched_by_them(churn: Cruft) -> None:
    [skip] = re.findall(r"(?m)^( +\[tool\.cruft\]\n +skip = .*\n)", churn.project.says("docs/update.md"))
    append(churn.project.root / "pyproject.toml", "\n" + textwrap.dedent(skip))
    before = churn.commits("Keep my model out")

    churn.runs("update", "-y")

    after = files(churn.project.root)
    assert [name for name in changed(before, after) if "churn" in name] == []
    assert churn.project.says(FOLLOWED).endswith(LEARNED)
    assert churn.is_from() == churn.commit


def test_another_answer_can_be_given_later(churn: Cruft, tmp_path: Path) -> None:
    churn.runs("update", "-y", "--variables-to-update", '{"ci": "both", "model_registry": "mlflow"}')

    other = churn.template.makes(tmp_path / "other", first_model="churn")
    assert changed(files(other.root), files(churn.project.root)) == {".cruft.json"}


def test_a_project_that_cookiecutter_made_becomes_one_of_cruft_as_its_page_says(churn: Cruft, tmp_path: Path) -> None:
    mine = churn.project
    remembered = json.loads(mine.says(".cruft.json"))
    (mine.root / ".cruft.json").unlink()
    before = churn.commits("Made by cookiecutter alone")
    [command] = re.findall(r"`cruft (link URL)`", mine.says("docs/update.md"))
    words = command.replace("URL", str(churn.template.root)).split()
    answered = "\n".join(["", "", "churn", "3", "2", "", remembered["commit"], ""])

    mine.person.types("cruft", *words, at=mine.root, typed=answered)
    churn.commits("Know the template")
    assert json.loads(mine.says(".cruft.json"))["commit"] == remembered["commit"]
    assert mine.person.types("cruft", "diff", at=mine.root).stdout.count("diff --git") == 0
    churn.runs("update", "-y")

    assert changed(before, files(mine.root)) == TEMPLATES | {f"models/churn/{name}.py" for name in SKELETON}
    assert churn.is_from() == churn.commit


def test_what_its_user_changed_is_shown(jukebox: Cruft) -> None:
    jukebox.project.edits("models/jukebox/network.py", *NETWORK)

    shown = jukebox.runs("diff").stdout

    assert [line for line in shown.splitlines() if line.startswith("diff ")] == [
        "diff --git upstream-template-old/models/jukebox/network.py upstream-template-new/models/jukebox/network.py"
    ]
    assert "-    # mine" in shown.splitlines()


def test_what_cruft_remembers_is_no_secret_to_lint(jukebox: Cruft) -> None:
    jukebox.project.runs("detect_secrets.pre_commit_hook", "--disable-plugin", "HexHighEntropyString", ".cruft.json")
