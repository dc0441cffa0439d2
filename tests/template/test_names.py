"""An answer makes a project that says it everywhere, or is refused with a sentence that says what would be right.

And a project is the same wherever it is made, and whatever lies around in the checkout that it is made from.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.template.generated import LONGEST_MODEL, NASTY, Done, Project, Template, a_person, files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytest.importorskip("cookiecutter", reason="cookiecutter is not here: `make template` has it")

ACCEPTED = [  # answers, and the slug that comes of them
    ({"project_name": NASTY}, "olpreis-prognose-fur-sud-nord-west-grosse-o-2-e1"),
    ({"project_name": "x" * 60}, "x" * 50),
    ({"project_name": "日本語"}, "ri-ben-yu"),
    ({"project_name": "2fast"}, "2fast"),
    ({"project_name": "Yes"}, "yes"),
    ({"project_name": "1.0"}, "1-0"),
    ({"project_name": "a - b -- c_d.e, f & (g) + h"}, "a-b-c-d-e-f-g-h"),
    ({"project_name": "Charts", "project_slug": "song-charts-2"}, "song-charts-2"),
    ({"project_name": "Charts", "project_slug": "1" * 50}, "1" * 50),
    ({"project_name": "Charts", "licence_holder": "Ann O'Neil & Söhne: #1 <a@b.example> %d $HOME"}, "charts"),
]
SLUG, NAME, MODEL = "a-z and 0-9, with single dashes", "with a letter or a digit first", "snake_case"
REFUSED = [  # question, answer, what would be right
    ("project_name", "", NAME),
    ("project_name", "  ", NAME),
    ("project_name", "☃", NAME),
    ("project_name", "---", NAME),
    ("project_name", " charts", NAME),
    ("project_name", "charts ", NAME),
    ("project_name", "-charts", NAME),
    ("project_name", 'my "charts"', NAME),
    ("project_name", "Ann's charts", NAME),
    ("project_name", "charts\\", NAME),
    ("project_name", "charts: more # and", NAME),
    ("project_name", "{charts}", NAME),
    ("project_name", "charts\nmore", NAME),
    ("project_name", "charts\n", NAME),
    ("project_name", "x" * 61, "1 to 60"),
    ("project_slug", "../x", SLUG),
    ("project_slug", "Charts", SLUG),
    ("project_slug", "song_charts", SLUG),
    ("project_slug", "song--charts", SLUG),
    ("project_slug", "-charts", SLUG),
    ("project_slug", "charts-", SLUG),
    ("project_slug", "größe", SLUG),
    ("project_slug", "charts\n", SLUG),
    ("project_slug", "x" * 51, "1 to 50"),
    ("project_slug", "kfp", "another"),
    ("project_slug", "tensorflow", "another"),
    ("project_slug", "kfp-server-api", "another"),
    ("licence_holder", "", "1 to 120"),
    ("licence_holder", 'Ann "A" Lee', "without quotes"),
    ("licence_holder", "Ann\\", "backslashes"),
    ("licence_holder", "Ann {Lee}", "braces"),
    ("licence_holder", "Ann\n", "1 to 120"),
    ("licence_holder", "Ann\x07", "1 to 120"),
    ("licence_holder", "x" * 121, "1 to 120"),
    ("first_model", "", MODEL),
    ("first_model", "Jukebox", MODEL),
    ("first_model", "my-model", MODEL),
    ("first_model", "my__model", MODEL),
    ("first_model", "2fast", MODEL),
    ("first_model", "größe", MODEL),
    ("first_model", "../x", MODEL),
    ("first_model", "x" * 41, "40 at most"),
    ("first_model", "class", "Python's own"),
    ("first_model", "contract", "another"),
    ("first_model", "training", "another"),
    ("first_model", "on", "another"),
    ("first_model", "null", "another"),
]


@pytest.fixture(scope="module")
def plain(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project that the defaults make, in an empty folder. No test writes into it."""
    return template.makes(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("answers", "slug"), ACCEPTED)
def test_a_project_says_its_name_everywhere(
    template: Template, tmp_path: Path, answers: dict[str, str], slug: str
) -> None:
    name = answers["project_name"]
    owner = answers.get("licence_holder", f"The {name} authors")

    made = template.makes(tmp_path, **answers)

    assert made.root.name == slug
    assert tomllib.loads(made.says("pyproject.toml"))["project"]["name"] == slug
    said = {"name": name, "owner": owner, "image": f"registry.example/{slug}"}
    assert yaml.safe_load(made.says("project.yaml")) == said
    assert made.says("NOTICE") == f"{name}\nCopyright {owner}\n"
    assert made.says("README.md").startswith(f"# {name}\n")


@pytest.mark.parametrize("model", ["m", LONGEST_MODEL])
def test_a_skeleton_of_the_shortest_and_of_the_longest_name_is_clean(
    template: Template, tmp_path: Path, model: str
) -> None:
    made = template.makes(tmp_path, first_model=model)
    made.runs("delivery.cli", "new", "pipeline", "n" if model == "m" else "n" * 40)

    made.runs("ruff", "check", "--no-cache", ".")
    made.runs("ruff", "format", "--no-cache", "--check", ".")
    made.runs("yamllint", "--strict", ".")


def test_the_longest_names_are_among_these() -> None:
    assert (len(NASTY), len(LONGEST_MODEL)) == (60, 40)


@pytest.mark.parametrize(("question", "answer", "right"), REFUSED)
def test_a_refused_answer_is_told_what_would_be_right_and_leaves_nothing(
    template: Template, tmp_path: Path, question: str, answer: str, right: str
) -> None:
    done = template.asked(tmp_path / "here", **{question: answer})

    assert done.returncode != 0
    told = "".join(re.findall(rf"(?ms)^error: {question}.*?(?=^error: |^Stopping |\Z)", done.stderr))
    assert f"`{answer}`" in told
    assert right in told
    assert_no_traceback_is_ours(done, template)
    assert list((tmp_path / "here").iterdir()) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "here"]


def assert_no_traceback_is_ours(done: Done, template: Template) -> None:
    """cookiecutter shows its own when a hook refuses. A hook runs as a copy in TMPDIR, which is in the person's home."""
    raised_in = re.findall(r'File "(.*?)", line', done.stderr)
    ours = (str(template.person.home), str(template.root))
    assert [path for path in raised_in if path.startswith(ours) or "/delivery/" in path] == []


def test_all_that_is_wrong_is_told_at_once(template: Template, tmp_path: Path) -> None:
    done = template.asked(tmp_path, project_slug="A", first_model="B", licence_holder="{")

    questions = re.findall(r"(?m)^error: (\w+)", done.stderr)
    assert questions == ["project_slug", "first_model", "licence_holder"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"ci": "jenkins"}, "['both', 'github', 'tekton', 'none']"),
        ({"model_registry": "none"}, "['mlflow', 'kubeflow']"),
        ({"project_slug": ""}, "already exists"),
        ({"project_name": "{{ charts"}, "TemplateSyntaxError"),
    ],
)
def test_what_cookiecutter_refuses_itself_leaves_nothing_either(
    template: Template, tmp_path: Path, answers: dict[str, str], said: str
) -> None:
    done = template.asked(tmp_path, **answers)

    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_prompts_take_enter_for_the_defaults_and_a_number_for_a_choice(
    template: Template, plain: Project, tmp_path: Path
) -> None:
    for folder, typed in {"enter": "\n" * 6, "number": "\n\n\n4\n\n\n"}.items():
        (tmp_path / folder).mkdir()
        template.person.types("cookiecutter", template.root, at=tmp_path / folder, typed=typed)

    assert files(tmp_path / "enter/my-mlops-project") == files(plain.root)
    assert not (tmp_path / "number/my-mlops-project/.github").exists()


def test_nothing_around_a_project_takes_files_from_it(template: Template, plain: Project, tmp_path: Path) -> None:
    """What an outer repository ignores, or a person everywhere, is no business of the project."""
    ignored = "models/\nbuild/\n*.ini\ndocs/\n.github/\n"
    picky = a_person(tmp_path / "home")
    (picky.home / ".config/git").mkdir(parents=True)
    (picky.home / ".config/git/ignore").write_text(ignored)
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer/.gitignore").write_text(ignored)
    picky.commits(tmp_path / "outer", "Begin")

    inside = replace(template, person=picky).makes(tmp_path / "outer/projects")

    assert files(inside.root) == files(plain.root)


@pytest.mark.parametrize("flags", [[], ["-f"]], ids=["plain", "-f"])
def test_a_folder_that_holds_something_is_refused_and_stays_as_it_is(
    template: Template, tmp_path: Path, flags: list[str]
) -> None:
    held = tmp_path / "my-mlops-project"
    (held / "models").mkdir(parents=True)
    (held / "models/mine.py").write_text("mine")
    before = files(tmp_path)

    done = template.asked(tmp_path, *flags)

    assert done.returncode != 0
    assert "already" in done.stdout + done.stderr
    assert files(tmp_path) == before
    assert_no_traceback_is_ours(done, template)


def test_a_new_repository_without_files_is_filled(template: Template, plain: Project, tmp_path: Path) -> None:
    held = tmp_path / "my-mlops-project"
    held.mkdir()
    template.person.types("git", "init", "--quiet", at=held)

    made = template.makes(tmp_path, "-f")

    assert files(made.root) == files(plain.root)
    listed = template.person.types("git", "status", "--porcelain", "-uall", at=held).stdout.splitlines()
    assert len(listed) == len(files(plain.root))


def test_what_lies_around_in_a_checkout_does_not_arrive(checkout: Template, plain: Project, tmp_path: Path) -> None:
    for litter in (
        ".env",
        ".make/3.12/booted",
        ".mlops/local-dev/registry.db",
        ".tox/test/pyvenv.cfg",
        ".venv/pyvenv.cfg",
        "build/packages/jukebox.yaml",
        "components/gone/__pycache__/step.pyc",  # of a branch that was left
        "delivery/__pycache__/cli.pyc",
        "delivery/build/lib/cli.py",
        "docs/.idea/workspace.xml",
        "environments/keys/dev.pem",
        "models/jukebox/.env",
        "models/my.egg-info/PKG-INFO",
        "storage/release.pem",
        "tests/.hypothesis/examples/a",
        "tests/.coverage.host.1",
    ):
        (checkout.root / litter).parent.mkdir(parents=True, exist_ok=True)
        (checkout.root / litter).write_text("secret")
    (checkout.root / "components/empty").mkdir()

    made = checkout.makes(tmp_path / "made")

    assert files(made.root) == files(plain.root)
    assert [path for path in made.root.rglob("*") if path.is_dir() and not [*path.iterdir()]] == []


def test_without_git_a_sentence_asks_for_it(template: Template, tmp_path: Path) -> None:
    done = template.person.types(
        "cookiecutter", "--no-input", template.root, at=tmp_path, code=None, PATH=str(Path(sys.executable).parent)
    )

    assert done.returncode != 0
    assert "error: git is not here" in done.stderr
    assert_no_traceback_is_ours(done, template)
    assert list(tmp_path.iterdir()) == []
