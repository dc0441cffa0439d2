from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delivery.compile import compile_pipeline, graph_of, lint, pipeline_names, read_package, sha256
from delivery.errors import Failed, WrongUse
from models.gates import Gates

PIPELINES = "tiny_pipelines"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def spec(project: Path, tmp_path: Path) -> dict[str, Any]:
    return read_package(compile_pipeline("greet", tmp_path, PIPELINES))


def container(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["deploymentSpec"]["executors"]["exec-say-words"]["container"]
    return found


def test_a_package_is_the_same_bytes_in_every_folder_and_under_every_hash_seed(project: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from delivery.compile import *;"
    code += f"compile_pipeline('greet', Path(sys.argv[1]), {PIPELINES!r})"
    hashes = set()
    for seed in ("0", "1"):
        paths = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        folder = tmp_path / f"folder-{seed}"
        folder.mkdir()
        done = subprocess.run([sys.executable, "-c", code, "out"], cwd=folder, env=environment, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        hashes.add(sha256(folder / "out/greet.yaml"))

    assert len(hashes) == 1


def test_compiling_leaves_the_package_and_nothing_else(project: Path, tmp_path: Path) -> None:
    package = compile_pipeline("greet", tmp_path / "out", PIPELINES)

    assert list((tmp_path / "out").iterdir()) == [package]
    assert read_package(package)["pipelineInfo"]["name"] == "greet"


def test_a_package_that_the_lint_refuses_is_not_written_and_every_reason_is_named(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "bare.yaml").write_text("of an earlier day")

    with pytest.raises(Failed) as refused:
        compile_pipeline("bare", tmp_path, PIPELINES)

    assert refused.value.what == (
        "the pipeline `bare` may not be packaged: "
        "do_nothing has no image of its own but KFP's default `python:3.11` (set base_image); "
        "do_nothing has no cpu limit (call .set_cpu_limit); do_nothing has no memory limit (call .set_memory_limit); "
        "do_nothing installs packages when it runs (set install_kfp_package=False and no packages_to_install); "
        "do_nothing has no display name (call .set_display_name)"
    )
    assert (tmp_path / "bare.yaml").read_text() == "of an earlier day"


def test_the_lint_has_nothing_to_say_of_a_good_package(spec: dict[str, Any]) -> None:
    assert lint(spec) == []


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda c: c.update(image="python:3.12"), "say_words has no image of its own but KFP's default `python:3.12`"),
        (lambda c: c.pop("image"), "say_words has no image of its own"),
        (lambda c: c["resources"].pop("resourceCpuLimit"), "say_words has no cpu limit"),
        (lambda c: c["resources"].pop("resourceMemoryLimit"), "say_words has no memory limit"),
        (lambda c: c["command"].insert(0, "pip install kfp"), "say_words installs packages when it runs"),
    ],
)
def test_each_harm_to_a_good_package_gives_its_own_sentence_and_no_other(
    spec: dict[str, Any], harm: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    worse = copy.deepcopy(spec)
    harm(container(worse))

    [said] = lint(worse)

    assert said.startswith(sentence)


def test_the_graph_is_read_from_the_package_in_the_order_of_work(spec: dict[str, Any]) -> None:
    assert list(graph_of(spec).items()) == [("make_words", []), ("say_words", ["make_words"]), ("write_page", [])]


def test_only_modules_with_a_pipeline_of_their_own_name_are_pipelines(project: Path) -> None:
    assert pipeline_names(PIPELINES) == ["bare", "greet", "silent"]


@pytest.mark.parametrize(
    ("name", "do"),
    [
        ("gret", "did you mean `greet`?"),
        ("helpers", "there is `bare`, `greet`, `silent`"),
        ("zzz", "there is `bare`, `greet`, `silent`"),
    ],
)
def test_an_unknown_pipeline_is_told_the_known_ones(project: Path, tmp_path: Path, name: str, do: str) -> None:
    with pytest.raises(WrongUse, match=f"there is no pipeline `{name}`") as refused:
        compile_pipeline(name, tmp_path / "out", PIPELINES)

    assert refused.value.do == do
    assert not (tmp_path / "out").exists()


def test_gates_that_cannot_be_read_are_a_sentence_with_their_file(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text("floors: [")
    monkeypatch.setattr("pipelines.module", lambda name, package: Gates.read(file))

    with pytest.raises(WrongUse) as refused:
        compile_pipeline("greet", tmp_path / "out")

    assert refused.value.what.startswith("gates.yaml: ")
    assert refused.value.where == str(file)


def test_a_folder_that_cannot_be_made_is_a_sentence(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Failed, match="the package cannot be written: Not a directory"):
        compile_pipeline("greet", tmp_path / "file/out", PIPELINES)
