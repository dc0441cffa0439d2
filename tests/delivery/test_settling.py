"""Where a release can run, before anything is begun. (What follows then: test_deploy, test_promote, test_rollback.)"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from delivery.environments import Environment
from delivery.errors import WrongUse
from delivery.release import Release
from delivery.settling import require_runnable

DIGEST = "sha256:" + "a" * 64
PUSHED = Release(
    id="b" * 64,
    image=f"registry.example/steps@{DIGEST}",
    commit="c" * 40,
    dirty=False,
    lock="",
    packages={},
    files={},
    url="",
)
ARCHIVE = replace(PUSHED, image=f"local@{DIGEST}", files={"code.tar": "a" * 64})
UNPUSHED = replace(PUSHED, image=f"localhost/steps@{DIGEST}")


def environment(endpoint: str) -> Environment:
    return Environment(name="dev", endpoint=endpoint, store="file:s", registry="sqlite:///r.db", root=Path("/nowhere"))


@pytest.mark.parametrize(
    ("release", "named"),
    [(ARCHIVE, "a code archive as its image"), (UNPUSHED, f"an image that was never pushed ({UNPUSHED.image})")],
    ids=["archive", "unpushed"],
)
def test_what_only_this_machine_has_runs_here_and_on_no_cluster(release: Release, named: str) -> None:
    require_runnable(release, environment("local"))

    with pytest.raises(WrongUse) as refused:
        require_runnable(release, environment("https://kfp.example"))

    assert refused.value.what == f"release bbbbbbbbbbbb names {named}, which no cluster can pull"
    assert "`mlops image build --push`" in refused.value.do


def test_what_was_pushed_runs_anywhere() -> None:
    for endpoint in ("local", "https://kfp.example", "http://127.0.0.1:8888"):
        require_runnable(PUSHED, environment(endpoint))
