"""`make lifecycle`: what docs/delivery.md tells, done with a new model in a clone, and every step printed.

Apart from `make test`, as it is one long story. It wants no Docker, no network and no GPU.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clones import Clone, cloned

PIPELINE = "weather_story"  # a model that nobody has: the story makes it
NETWORK, WIDTHS = f"models/{PIPELINE}/network.py", f"models/{PIPELINE}/hyperparameters.py"
NARROWER, NARROW, WIDE = ((r"(hidden: .* = ranged\()\(.*?\)", rf"\g<1>({width})") for width in ("2,", "3,", "48, 48"))
LAST_LINE = "    return keras.Model(inputs, probabilities)\n"
PRINTED = "one print too many"
LOCAL = ("local-dev", "local-prod")
DEV, PROD = (("--env", name) for name in LOCAL)
DEV_TO_PROD = ("--from", "local-dev", "--to", "local-prod")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return cloned(tmp_path)


def releases(clone: Clone) -> str:
    """The id of this commit's release, as a person would copy it."""
    return clone.types("mlops", "release").split()[0][:12]


def log(clone: Clone, release: str) -> str:
    """What the steps of that release printed in local-dev."""
    run = f"{PIPELINE.replace('_', '-')}-{release[:12]}-1"
    return (clone.root / f".mlops/local-dev/logs/{run}/run.log").read_text(encoding="utf-8")


def test_a_change_goes_from_a_commit_to_prod_and_back(clone: Clone) -> None:
    good = a_change_goes_to_prod(clone)
    a_worse_candidate_is_kept_out(clone)
    a_bad_release_is_rolled_back(clone, good)


def a_change_goes_to_prod(clone: Clone) -> dict[str, str]:
    print("\nA change goes to prod")
    clone.types("mlops", "new", "model", PIPELINE, says=f"models/{PIPELINE}/network.py")
    for name in LOCAL:
        clone.edits(f"environments/{name}.yaml", "default_pipeline: .*", f"default_pipeline: {PIPELINE}")
    clone.edits(WIDTHS, *NARROW)
    clone.commits("Begin with a narrow network")
    clone.types("ruff", "check", "models", "tests/models")
    clone.types("ruff", "format", "--check", "models", "tests/models")
    changed = (f"tests/models/{PIPELINE}/test_network.py", "tests/models/test_hyperparameters.py")
    clone.types("pytest", "-q", "--disable-warnings", *changed)
    release = releases(clone)
    clone.types("mlops", "deploy", release, *DEV, says=f"{PIPELINE} release {release} is current in local-dev")
    clone.types("mlops", "deploy", release, *DEV, says="is current in local-dev already: nothing to do")
    clone.types("git", "tag", "v1.0.0")
    clone.types("mlops", "evidence", "v1.0.0", says=release)
    clone.types("mlops", "promote", "v1.0.0", *DEV_TO_PROD, says="v1.0.0")
    clone.types("mlops", "status", *DEV, *PROD, whole=True)

    dev, prod = clone.status(*LOCAL)
    for what in ("release", "package", "image", "model"):
        assert re.search("[0-9a-f]{64}$", dev[what]), f"{what} has no SHA-256"
        assert dev[what] == prod[what]
    assert (prod["version"], prod["health"], dev["health"]) == ("v1.0.0", "ok", "ok")
    print("    release, package, code and model of local-prod are those of local-dev, by SHA-256")
    return prod


def a_worse_candidate_is_kept_out(clone: Clone) -> None:
    before = clone.status(*LOCAL)
    print("\nA worse candidate is kept out")
    clone.edits(WIDTHS, *NARROWER)
    clone.commits("Save memory")
    clone.types("mlops", "deploy", releases(clone), *DEV, code=3, says="decide: the candidate is blocked: top_1 0.")
    clone.types("git", "tag", "v1.1.0")
    unproved = "may not be promoted: local-dev has no evidence"
    clone.types("mlops", "promote", "v1.1.0", *DEV_TO_PROD, code=3, says=unproved)

    assert clone.status(*LOCAL) == before
    print("    what is current is v1.0.0 in both, and so is the champion")


def a_bad_release_is_rolled_back(clone: Clone, good: dict[str, str]) -> None:
    print("\nA release that is better by its gates, and bad by what it prints, is rolled back")
    clone.edits(WIDTHS, *WIDE)
    clone.edits(NETWORK, re.escape(LAST_LINE), f'    print("{PRINTED}", flush=True)\n{LAST_LINE}')
    clone.commits("Learn more")
    release = releases(clone)
    clone.edits(NETWORK, f'    print\\("{PRINTED}".*\n', "")
    clone.commits("Print nothing")
    clone.types("mlops", "deploy", release, *DEV, says=f"{PIPELINE} release {release} is current in local-dev")
    assert PRINTED in log(clone, release)
    assert PRINTED not in log(clone, good["release"])
    print("    its log shows that the released code ran, and not the one that is checked out by now")
    clone.types("git", "tag", "v1.2.0", "HEAD~1")
    clone.types("mlops", "promote", "v1.2.0", *DEV_TO_PROD, says="v1.2.0")
    dev, bad = clone.status(*LOCAL)
    assert (bad["version"], bad["release"][:12], bad["health"]) == ("v1.2.0", release, "ok")
    assert bad["model"] == dev["model"] != good["model"]

    why = "its log shows what it should not"
    clone.types("mlops", "rollback", *PROD, "--why", why, says="v1.0.0")
    clone.types("mlops", "rollback", *PROD, says="is current in local-prod already: nothing to do")
    # In dev, too: else its model would judge the next candidates, and go to prod with one that is no better
    clone.types("mlops", "rollback", *DEV, "--why", why, says=good["release"][:12])
    clone.types("mlops", "status", *DEV, *PROD, whole=True)
    dev, now = clone.status(*LOCAL)
    assert now == {**good, "verb": "rollback", "why": why, "at": now["at"]}
    assert (dev["release"], dev["model"]) == (good["release"], good["model"])
    assert dev["health"] == now["health"] == "ok"  # so the alias is that model's
    assert [*(clone.root / ".mlops/local-prod").glob("**/runs/*")] == []
    print("    nothing was ever trained in local-prod")
