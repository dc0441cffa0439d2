"""docs/errors.md against the code: each class, its exit code, what it means, and a sentence that was really said."""

from __future__ import annotations

import json
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import delivery
from delivery import image_tools, images, promote, release, rollback, triggers, verdicts, watching
from delivery.environments import read_environment
from delivery.errors import Interrupted, MlopsError
from delivery.kubeflow import connected
from delivery.ledger import Ledger
from delivery.runs import Plan, Progress, RunResult, State
from tests.delivery.delivered import REPOSITORY, Project
from tests.delivery.test_promote import forged

PAGE = REPOSITORY / "docs/errors.md"
FINDING = {
    "VulnerabilityID": "CVE-2026-0001",
    "PkgName": "libxml2",
    "InstalledVersion": "2.9.14",
    "Severity": "CRITICAL",
}
CHANGING = r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:+]+|\b(?=\w*\d)[0-9a-f]{12,64}\b|127\.0\.0\.1:\d+"
CHANGING += r"|(?<=, with )[\w ]+(?= running)"  # on a slow machine no step has begun yet


def classes(of: type[MlopsError] = MlopsError) -> Iterator[type[MlopsError]]:
    for module in pkgutil.iter_modules(delivery.__path__):
        import_module(f"delivery.{module.name}")
    for each in of.__subclasses__():
        yield each
        yield from classes(each)


def said(function: Callable[[], object]) -> MlopsError:
    with pytest.raises(MlopsError) as error:
        function()
    return error.value


@pytest.fixture
def errors(proved: Project, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[MlopsError]:
    """One of each class, as a user would get it."""
    dev, prod = proved.environment("local-dev"), proved.environment("local-prod")
    entry, ledger = proved.current("local-dev"), Ledger(prod.store, "answer")

    def to_prod(version: str = "v1", target: Any = prod, **more: Any) -> Callable[[], object]:
        return lambda: promote.promote(version, dev, target, None, by="Ada", **more)

    def result(state: str, **error: Any) -> MlopsError:
        record = {"state": "FAILED", "started": "1", "error": {"where": "-", "do": "-", **error}}
        steps = [Progress(step="train_model", state=State.FAILED if error else State.RUNNING)]
        failed = verdicts.failure(
            RunResult(
                run_name="answer-1", run_id="1", state=state, records={"train_model": record} if error else {},
                progress=steps, report_url=None, log=Path("run.log"),
            )
        )  # fmt: skip
        assert failed
        return failed

    def ask(status: int) -> Callable[[], object]:
        def answer(method: str, path: str, headers: Any) -> tuple[int, str]:
            return (200, '{"multi_user": true}') if "healthz" in path else (status, '{"message": "no"}')

        def look() -> None:
            with connected(replace(prod, endpoint=answering(answer), namespace="team-prod")) as kfp:
                kfp.latest(1)

        return look

    found = [
        said(lambda: triggers.trigger("data", prod, None, [], Console(), by="Ada")),
        said(lambda: read_environment("local-prd")),
        result("FAILED", kind="gate", what="the candidate is blocked: 0.7 against 0.9"),
        result("FAILED", kind="error", what="ValueError: the disk is full"),
        result("CANCELED"),
        Interrupted("it was stopped", where="mlops", do="start it again"),
        said(ask(503)),
        said(ask(403)),
        said(lambda: rollback.rollback(prod, None, None, by="Ada")),
        stalled(proved),
        scanned(proved.root, tmp_path, monkeypatch),
    ]
    proved.write("models/answer.py", "")
    found.append(
        said(lambda: release.build(proved.root, proved.root / "build", image=None, pipelines="answer_pipelines"))
    )
    proved.commit("not proved")
    proved.git("tag", "v2")
    found.append(said(to_prod("v2")))
    found.append(said(to_prod("v2", release_id=entry.release)))
    found.append(said(to_prod(target=replace(prod, require_signature=True))))
    model = proved.file("local-dev", "models/answer/*/model.onnx")
    model.write_text(model.read_text() + "!")
    found.append(said(to_prod()))
    ledger.begin(verb="promote", by="Bob", why="", state={**entry.state, "version": "v0"}, after=0)
    found.append(said(lambda: ledger.begin(verb="promote", by="Ada", why="", state=entry.state, after=0)))
    forged(proved, gates="0" * 64)
    found.append(said(to_prod()))
    return found


def stalled(project: Project) -> MlopsError:
    project.schedule("local-dev", "0 0 4 * * *")  # a commit, and another release
    environment = project.environment("local-dev")
    package = release.find(project.current("local-dev").release, environment).package("answer")
    arguments = {"store": environment.store, "registry": environment.registry, "mood": "hanging"}
    plan = Plan(
        run_name="answer-1", pipeline="answer", package=package, arguments=arguments, graph={"train_model": []},
        store=environment.store, folder=environment.logs,
    )  # fmt: skip
    with connected(environment) as kfp:
        return said(lambda: watching.run_to_end(kfp, plan, lambda _: None, stall_seconds=6))


def scanned(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlopsError:
    """By a `trivy` that finds one thing in the image that was built last."""
    record = dict.fromkeys(("commit", "contents", "accelerator"), "") | {
        "name": "steps", "image": f"registry.example/answer@sha256:{'0' * 64}", "tag": "registry.example/answer:0",
        "builder": "docker", "dirty": False,
    }  # fmt: skip
    path = root / images.RECORDS / "steps.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record), encoding="utf-8")
    trivy = folder / "trivy"
    found = json.dumps({"SchemaVersion": 2, "Results": [{"Vulnerabilities": [FINDING]}]})
    trivy.write_text(f'#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\ncat > "$2" <<\'FOUND\'\n{found}\nFOUND\n')
    trivy.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return said(lambda: image_tools.scan_image(image_tools.reference_of(images.require_last(root, "steps")), root))


def test_every_error_stands_in_the_table_as_it_is_in_the_code(errors: list[MlopsError]) -> None:
    examples = {type(error).__name__: re.sub(CHANGING, "…", error.what) for error in errors}
    rows = [
        f"| {each.__name__} | {each.exit_code} | {(each.__doc__ or '').strip()} | {examples.get(each.__name__, 'none')} |"
        for each in classes()
    ]
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]

    assert table == rows, "docs/errors.md should say:\n" + "\n".join(rows)
