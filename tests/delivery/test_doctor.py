from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from delivery import doctor
from delivery.doctor import Diagnosis, examine
from delivery.health import Health, Thing

BASIC = ["a function", "a step, with S3 by moto", "the compiled pipeline, here"]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A PATH with the named programs only: each prints its words and ends with its code."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name: str, *, says: str = "", code: int = 0) -> None:
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
        (folder / name).chmod(0o755)

    return install


def health(diagnosis: Diagnosis) -> dict[str, Health]:
    return {thing.name: thing.health for thing in diagnosis.things}


def lacks(diagnosis: Diagnosis) -> dict[str, list[str]]:
    return {rung.name: rung.lacks for rung in diagnosis.rungs}


def test_a_machine_without_docker_runs_the_basic_rungs_and_says_why_not_the_others(
    project: Path, programs: Any
) -> None:
    programs("git", says="git version 2")

    diagnosis = examine("local-dev")

    assert diagnosis.failure() is None
    assert [lacks(diagnosis)[rung] for rung in BASIC] == [[], [], []]
    assert lacks(diagnosis)["the pipeline in its container image"] == ["docker"]
    assert lacks(diagnosis)["Kubeflow on a kind cluster"] == ["docker", "kind", "kubectl"]


def test_a_docker_client_without_an_engine_is_told_from_no_docker_and_from_a_good_one(
    project: Path, programs: Any
) -> None:
    found = {}
    for name, code in (("none", None), ("no engine", 1), ("good", 0)):
        if code is not None:
            programs("docker", says="28.1", code=code)
        [docker] = [thing for thing in examine("local-dev").things if thing.name == "docker"]
        found[name] = (docker.health, docker.found)

    assert found == {
        "none": (Health.MISSING, "-"),
        "no engine": (Health.BROKEN, "the client is here, and no engine answers it"),
        "good": (Health.OK, "engine 28.1"),
    }


def test_what_images_are_built_with_is_the_first_builder_that_answers(project: Path, programs: Any) -> None:
    found = []
    for name, code in (("docker", 1), ("buildah", 0), ("podman", 0), ("docker", 0)):
        programs(name, says="info", code=code)
        diagnosis = examine("local-dev")
        [builder] = [thing for thing in diagnosis.things if thing.name == "image builder"]
        found.append((builder.health, builder.found))
        assert diagnosis.failure() is None

    assert found == [
        (Health.MISSING, "-"),
        (Health.OK, "buildah"),
        (Health.OK, "podman"),
        (Health.OK, "docker"),
    ]


def test_of_the_tools_for_images_each_missing_one_says_its_verb_and_how_to_get_it_and_takes_no_rung(
    project: Path, programs: Any
) -> None:
    def rows() -> dict[str, Thing]:
        return {thing.needed_for: thing for thing in examine("local-dev").things if "mlops image" in thing.needed_for}

    before = rows()
    for name in ("grype", "syft", "cosign"):
        programs(name)
    after = rows()

    verbs = ["mlops image build", "mlops image scan", "mlops image sbom", "mlops image sign"]
    assert [(row.needed_for, row.health) for row in before.values()] == [(verb, Health.MISSING) for verb in verbs]
    assert before["mlops image scan"].get_it.startswith("get trivy: https://trivy.dev")
    assert "; or get grype: https://" in before["mlops image scan"].get_it
    assert [after[verb].health for verb in verbs] == [Health.MISSING, Health.OK, Health.OK, Health.OK]
    assert after["mlops image scan"].name == "trivy or grype"
    assert after["mlops image scan"].found.endswith("/bin/grype")
    assert not {row.name for row in before.values()} & {
        name for rung in lacks(examine("local-dev")).values() for name in rung
    }


def test_a_gpu_that_the_driver_lists_and_tensorflow_does_not_see_is_broken(
    project: Path, programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("nvidia-smi", says="GPU 0: one")
    programs("python", says="0")
    monkeypatch.setattr(sys, "executable", "python")

    [gpu] = [thing for thing in examine("local-dev").things if thing.name == "gpu"]

    assert (gpu.health, gpu.found) == (Health.BROKEN, "TensorFlow sees 0; GPU 0: one")


def test_a_missing_package_takes_the_rungs_that_need_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PACKAGES, "moto", "no_such_module_moto")

    diagnosis = examine("local-dev")
    failed = diagnosis.failure()

    assert [lacks(diagnosis)[rung] for rung in BASIC] == [[], ["moto"], []]
    assert failed is not None
    assert (failed.what, failed.where) == ("this machine cannot run: a step, with S3 by moto", "moto")
    assert failed.do == "moto: `make install`, then .venv/bin/mlops"


def test_without_a_commit_there_is_no_release_and_all_else_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    found = []
    for command in ("", "git init -q", "git -c user.name=A -c user.email=a@mail.example commit -qm a --allow-empty"):
        subprocess.run(command, shell=True, check=True)
        diagnosis = examine("local-dev")
        assert diagnosis.failure() is None
        found.append(next(thing for thing in diagnosis.things if thing.name == "git"))

    assert [thing.health for thing in found] == [Health.MISSING, Health.MISSING, Health.OK]
    for thing in found[:2]:
        assert thing.found.startswith("this folder is no git repository with a commit (")
        assert (thing.needed_for, thing.get_it) == ("releases", "git init, git add, git commit")


def test_an_unknown_environment_is_a_mistyped_command_and_a_broken_one_a_finding(mlops: Any, project: Path) -> None:
    (project / "environments/broken.yaml").write_text("endpoint: [")
    unknown, broken = mlops("doctor", "--env", "lcal-dev"), mlops("doctor", "--env", "broken")

    assert (unknown.exit_code, unknown.out) == (2, "")
    assert "did you mean `local-dev`?" in unknown.err
    assert broken.exit_code == 1
    assert "environment: mend that line" in broken.err


def test_a_store_that_is_a_file_is_broken_and_nothing_was_written(project: Path) -> None:
    (project / "store").write_text("mine")

    diagnosis = examine("local-dev")

    assert health(diagnosis)["store"] is Health.BROKEN
    assert lacks(diagnosis)["the compiled pipeline, here"] == ["store"]
    assert (project / "store").read_text() == "mine"


def test_looking_leaves_nothing(project: Path) -> None:
    before = sorted(project.rglob("*"))

    diagnosis = examine("local-dev")

    assert {health(diagnosis)[name] for name in ("endpoint", "store", "registry")} == {Health.OK}
    assert sorted(project.rglob("*")) == before


def test_a_store_and_a_registry_on_the_network_are_asked(project: Path, s3: Any) -> None:
    path = project / "environments/net.yaml"
    path.write_text(f"endpoint: local\nstore: {s3.bucket('runs')}\nregistry: {s3.endpoint}\n")
    good = health(examine("net"))
    path.write_text("endpoint: local\nstore: s3://nowhere/x\nregistry: http://127.0.0.1:9\n")
    bad = health(examine("net"))

    assert (good["store"], good["registry"]) == (Health.OK, Health.OK)
    assert (bad["store"], bad["registry"]) == (Health.BROKEN, Health.BROKEN)


def test_an_endpoint_that_does_not_answer_takes_the_pipeline(project: Path) -> None:
    path = project / "environments/net.yaml"
    path.write_text("endpoint: http://127.0.0.1:9\nstore: file:store\nregistry: sqlite:///r.db\n")

    diagnosis = examine("net")

    [endpoint] = [thing for thing in diagnosis.things if thing.name == "endpoint"]
    assert endpoint.health is Health.BROKEN
    assert endpoint.found.startswith("http://127.0.0.1:9: the endpoint does not answer: ")
    assert lacks(diagnosis)["the compiled pipeline, here"] == ["endpoint"]


def test_outside_a_project_the_environment_is_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    diagnosis = examine("local-dev")

    assert health(diagnosis)["environment"] is Health.BROKEN
    assert lacks(diagnosis)["the compiled pipeline, here"] == ["environment"]


def test_what_the_project_is_called_is_shown_and_a_mistake_in_it_is_a_finding(project: Path) -> None:
    file = project / "project.yaml"

    def found() -> Thing:
        return next(thing for thing in examine("local-dev").things if thing.name == "project")

    file.write_text('name: "Songs"\nowner: "Ada"\nimage: "registry.example/songs"\n', encoding="utf-8")
    assert (found().health, found().found) == (Health.OK, "Songs, of Ada")

    file.write_text('name: "Songs"\nowner: "Ada"\nimage: "registry.example/songs:latest"\n', encoding="utf-8")
    assert found().health is Health.BROKEN
    assert "`registry.example/songs:latest`" in found().found
    assert str(file) in found().get_it


def test_the_command_prints_both_tables_or_only_json(mlops: Any) -> None:
    table, data = mlops("doctor"), mlops("doctor", "--json")

    assert (table.exit_code, table.err) == (0, "")
    assert "a function: yes" in table.out
    assert (data.exit_code, data.err) == (0, "")
    assert json.loads(data.out)["ok"] is True


def test_the_command_fails_when_a_basic_rung_does(mlops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PACKAGES, "kfp", "no_such_module_kfp")

    outcome = mlops("doctor")

    assert outcome.exit_code == 1
    assert "the compiled pipeline, here: no  (without kfp)" in outcome.out
    assert outcome.err.startswith(
        "error: this machine cannot run: the compiled pipeline, here\n  where: kfp\n  to do: "
    )
