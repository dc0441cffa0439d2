"""deploy, promote and rollback, killed at random moments and repeated, end where they end when nobody disturbs them."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from delivery.kubeflow import connected
from delivery.scheduling import scheduled
from tests.delivery.delivered import Project, Site, run_command

PRELOADED = [
    *("delivery.cli", "delivery.deploy", "delivery.promote", "delivery.rollback", "localkfp.server"),
    *("storage.registry.kubeflow", "kfp.compiler"),
]


@dataclass
class Case:
    """A command in a project that can be put back to how it was before the command."""

    project: Project
    site: Site
    environment: str
    words: list[str]

    def __post_init__(self) -> None:
        self.log = self.project.root.with_name("log")
        self.before = f"before {self.words[0]}"
        self.site.save(self.before)

    def reset(self) -> None:
        self.site.restore(self.before, ".mlops")

    def run(self, seconds: float | None = None) -> tuple[int | None, float]:
        """In a process of its own, killed after so long; its exit code, and what it took."""
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        process = context.Process(target=run_command, args=(self.project.root, self.words, self.log))
        start = time.monotonic()
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode, time.monotonic() - start

    def state(self) -> dict[str, Any]:
        """All that the command is for; run ids are left out, as a run that was killed is made anew."""
        environment, current = self.project.environment(self.environment), self.project.current(self.environment)
        assert current
        with connected(environment) as kfp:
            pipeline = kfp.client.get_pipeline_id("answer")
            versions = kfp.client.list_pipeline_versions(pipeline, page_size=100).pipeline_versions
            schedules = [(each.name, each.cron, each.enabled, each.arguments) for each in scheduled(kfp, "answer")]
        store = Path(environment.store[5:])
        kept = [path for room in ("releases", "models") for path in store.glob(f"{room}/**/*") if path.is_file()]
        return {
            "state": {**current.state, "evidence": bool(current.evidence)},
            "champion": self.project.champion(self.environment),
            "versions": sorted(version.display_name for version in versions),
            "schedules": schedules,
            "files": {
                str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in kept
                if path.parent.name != "evidence"
            },
        }


def survives(case: Case, moments: int, seed: int = 1) -> None:
    """Killed at every moment, and repeated once, it ends as it does undisturbed."""
    code, first = case.run()  # also warms what is imported and cached
    assert code == 0, case.log.read_text()
    undisturbed = case.state()
    case.reset()
    code, second = case.run()
    assert code == 0, case.log.read_text()
    drawn, killed, tries = random.Random(seed), 0, 0
    while killed < moments:  # one that had ended before it could be killed does not count
        tries += 1
        assert tries < 3 * moments + 10
        case.reset()
        moment = drawn.uniform(0, min(first, second))
        code, _ = case.run(moment)
        killed += code == -9
        code, _ = case.run()
        assert code == 0, f"killed after {moment:.3f} s: {case.log.read_text()}"
        assert case.state() == undisturbed, f"killed after {moment:.3f} s"


@pytest.mark.parametrize("half", [1, 2])  # two tests: it takes the longest of the three
def test_deploy_killed_at_any_moment_can_be_repeated(
    proved: Project, delivery_site: Site, moments: int, half: int
) -> None:
    proved.schedule("local-dev", "0 0 4 * * *")
    second = proved.release("second", 0.7)

    survives(Case(proved, delivery_site, "local-dev", ["deploy", second]), (moments + 1) // 2, half)


def test_promote_killed_at_any_moment_can_be_repeated(proved: Project, delivery_site: Site, moments: int) -> None:
    proved.schedule("local-prod", "0 0 4 * * *")

    survives(
        Case(proved, delivery_site, "local-prod", ["promote", "v1", "--from", "local-dev", "--to", "local-prod"]),
        moments,
    )


def test_rollback_killed_at_any_moment_can_be_repeated(promoted: Project, delivery_site: Site, moments: int) -> None:
    survives(Case(promoted, delivery_site, "local-prod", ["rollback", "--env", "local-prod"]), moments)
