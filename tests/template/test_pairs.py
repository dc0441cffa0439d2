"""Every pair of answers makes a whole project: nothing of the template, of this repository or of what was not chosen is left."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from time import monotonic

import pytest
import yaml

from tests.template.generated import NASTY, Project, Template, files

pytest.importorskip("cookiecutter", reason="cookiecutter is not here: `make template` has it")

OFFERED = {
    "first_model": ("jukebox", "churn"),
    "ci": ("both", "github", "tekton", "none"),
    "model_registry": ("mlflow", "kubeflow"),
    "project_name": ("My MLOps Project", NASTY),
}
# Two rows a CI, one the opposite of the other, and the eight of them all there is of the other three
PAIRS = [
    dict(zip(OFFERED, row, strict=True))
    for row in (
        ("jukebox", "both", "mlflow", "My MLOps Project"),
        ("churn", "both", "kubeflow", NASTY),
        ("jukebox", "github", "kubeflow", NASTY),
        ("churn", "github", "mlflow", "My MLOps Project"),
        ("churn", "tekton", "mlflow", NASTY),
        ("jukebox", "tekton", "kubeflow", "My MLOps Project"),
        ("churn", "none", "kubeflow", "My MLOps Project"),
        ("jukebox", "none", "mlflow", NASTY),
    )
]
GITHUB = {".github/workflows/pull-request.yaml", "tests/ci/test_github.py"}
TEKTON = {".tekton/pull-request.yaml", "tests/ci/test_tekton.py"}
TESTED = {"tests/ci/conftest.py"}
CI = {
    "both": GITHUB | TEKTON | TESTED | {"tests/ci/test_both.py"},
    "github": GITHUB | TESTED,
    "tekton": TEKTON | TESTED,
    "none": set[str](),
}
REGISTRY = {
    "mlflow": {
        "kind": "http://mlflow.kubeflow:5000",
        "dev": "https://mlflow-dev.example",
        "prod": "https://mlflow-prod.example",
    },
    "kubeflow": {
        "kind": "kubeflow+http://model-registry-service.kubeflow:8080",
        "dev": "kubeflow+https://model-registry-dev.example",
        "prod": "kubeflow+https://model-registry-prod.example",
    },
}
MACHINERY = ("cookiecutter.json", "hooks/", "docs/template.md", "tests/template", "requirements/template", ".ci/run")
MARKER = re.compile(r"\{\{-?\s*cookiecutter|\bcookiecutter(\.|\[')[_a-z]|_copy_without_render")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
READ = """
import json
from pathlib import Path
from delivery.environments import read_environment
names = sorted(path.stem for path in Path("environments").glob("*.yaml"))
found = {name: read_environment(name) for name in names}
print(json.dumps({name: [it.registry, it.default_pipeline, sorted(it.parameters)] for name, it in found.items()}))
"""


@dataclass(frozen=True, kw_only=True)
class Made(Project):
    """A project, and the answers that made it."""

    answers: dict[str, str]

    def texts(self) -> dict[str, str]:
        """Every file that is text, by its path."""
        return {name: said.decode() for name, (_, said) in files(self.root).items() if b"\0" not in said}


@pytest.fixture(scope="module", params=PAIRS, ids=lambda answers: "-".join([*answers.values()][:3]))
def made(request: pytest.FixtureRequest, template: Template, tmp_path_factory: pytest.TempPathFactory) -> Made:
    project = template.makes(tmp_path_factory.mktemp("pair"), **request.param)
    return Made(root=project.root, person=project.person, answers=request.param)


def test_all_pairs_of_answers_are_made(record_property) -> None:
    wanted = {pair for one, other in combinations(OFFERED.items(), 2) for pair in pairs_of(one, other)}

    covered = {pair for answers in PAIRS for pair in combinations(answers.items(), 2)}

    assert covered == wanted
    record_property("made", f"{len(PAIRS)} projects hold all {len(wanted)} pairs of answers")


def pairs_of(one: tuple[str, tuple[str, ...]], other: tuple[str, tuple[str, ...]]) -> set[tuple[tuple[str, str], ...]]:
    return {((one[0], first), (other[0], second)) for first, second in product(one[1], other[1])}


def test_no_marker_of_the_template_is_left(made: Made) -> None:
    """A sentence may say `cookiecutter`; and braces are in GitHub's, Tekton's and Jinja's own files."""
    for name, text in made.texts().items():
        assert not MARKER.search(text), name
        assert name.endswith(".j2") or "{%" not in text, name
    assert [name for name in files(made.root) if "{" in name or "cookiecutter" in name] == []


def test_what_is_rendered_has_no_braces_left(made: Made) -> None:
    for name in ("README.md", "NOTICE", "pyproject.toml", "project.yaml", "environments/dev.yaml"):
        assert "{{" not in made.says(name)
        assert "}}" not in made.says(name)


def test_nothing_says_this_repositorys_name(made: Made) -> None:
    found = [name for name, text in made.texts().items() if re.search("kubeflow.mlops.template", text, re.IGNORECASE)]

    assert found == []


def test_nothing_says_what_only_the_template_has(made: Made) -> None:
    found = [(name, path) for name, text in made.texts().items() for path in MACHINERY if path in text]

    assert found == []


def test_the_example_is_named_where_it_is_the_model_and_nowhere_else(made: Made) -> None:
    said = [name for name, text in made.texts().items() if "jukebox" in f"{name}\n{text}".lower()]

    assert bool(said) == (made.answers["first_model"] == "jukebox"), said


def test_the_model_is_whole(made: Made) -> None:
    name = made.answers["first_model"]

    for folder in (f"models/{name}", f"tests/models/{name}"):
        assert [*(made.root / folder).glob("*.py")], folder
    for file in (f"pipelines/{name}.py", f"tests/pipelines/test_{name}.py", f"models/{name}/README.md"):
        assert (made.root / file).is_file(), file
    assert [path.parent.name for path in (made.root / "models").glob("*/contract.py")] == [name]


def test_what_a_skeleton_leaves_open_is_filled(made: Made) -> None:
    """Its texts are templates, too: of Python's string.Template."""
    name = made.answers["first_model"]
    written = [path for path in files(made.root) if re.search(rf"\b(test_)?{name}\b", path)]

    assert written
    for path in written:
        assert not re.search(r"\$\{?[a-z_]", made.says(path)), path
        assert ".tmpl" not in path


def test_only_the_chosen_ci_is_there_with_its_tests(made: Made) -> None:
    there = {name for name in files(made.root) if name.startswith((".github/", ".tekton/", "tests/ci/"))}

    assert there == CI[made.answers["ci"]]


def test_no_empty_folder_stays(made: Made) -> None:
    assert [path for path in made.root.rglob("*") if path.is_dir() and not [*path.iterdir()]] == []


def test_the_project_is_clean_by_its_own_rules(made: Made) -> None:
    made.runs("ruff", "check", "--no-cache", ".")
    made.runs("ruff", "format", "--no-cache", "--check", ".")
    made.runs("yamllint", "--strict", ".")


def test_every_link_of_a_page_leads_somewhere(made: Made) -> None:
    pages = [made.root / "README.md", *made.root.glob("docs/*.md"), *made.root.glob("models/*/README.md")]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text(encoding="utf-8"))]
    relative = [(page, link.partition("#")[0]) for page, link in links if "://" not in link and link[0] != "#"]

    assert relative
    assert [f"{page.name}: {link}" for page, link in relative if not (page.parent / link).exists()] == []


def test_the_map_shows_every_entry_and_nothing_else(made: Made) -> None:
    section = made.says("README.md").partition("\n## The map\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    shown = [entry.rstrip("/") for row in rows for entry in re.findall("`(.*?)`", row)]

    assert sorted(shown) == sorted({path.name for path in made.root.iterdir()} - {"README.md"})


def test_every_environment_is_valid_and_names_the_model_and_the_chosen_registry(made: Made) -> None:
    command = [sys.executable, "-B", "-c", READ]
    read = json.loads(made.person.types(*command, at=made.root, PYTHONPATH=str(made.root)).stdout)

    chosen = REGISTRY[made.answers["model_registry"]]
    assert read.keys() == {"local-dev", "local-prod", *chosen}
    for name, (registry, pipeline, parameters) in read.items():
        assert (pipeline, parameters) == (made.answers["first_model"], [made.answers["first_model"]])
        assert registry.startswith("sqlite:") if name.startswith("local") else registry == chosen[name]


def test_it_compiles_to_one_package_of_the_models_name(made: Made, tmp_path: Path, record_property) -> None:
    began = monotonic()

    made.runs("delivery.cli", "compile", "--out", tmp_path)

    record_property("compiled", monotonic() - began)
    [package] = tmp_path.glob("*.yaml")
    spec = next(iter(yaml.safe_load_all(package.read_text(encoding="utf-8"))))
    assert spec["pipelineInfo"]["name"] == made.answers["first_model"]
