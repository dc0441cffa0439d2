"""docs/add-a-model.md, command by command, in a clone: what the page shows is what happens."""

from __future__ import annotations

import json
import random
import re
import shlex
from pathlib import Path

import pytest

from storage.registry import open_registry
from tests.clones import ROOT, Clone, cloned

pytestmark = pytest.mark.pipeline
PAGE = ROOT / "docs/add-a-model.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r" # exit code (?P<code>\d)(?:: (?P<said>.*))?$")
OURS = re.compile(r"(models|pipelines|tests/models|tests/pipelines)/(test_)?churn\w*(\.py$|/)")
CUSTOMERS, MONTHS = 300, 12


def blocks(page: str) -> list[re.Match[str]]:
    return list(BLOCK.finditer(page))


def page_for(root: Path) -> str:
    """The page, about a model that is not there yet: who followed it has a `churn`."""
    name = next(name for name in ("churn", "churn2", "churn3") if not (root / "models" / name).exists())
    return re.sub(r"(?<![a-z])churn(?![a-z0-9])", name, PAGE.read_text(encoding="utf-8"))


def table(header: str) -> str:
    """Customers who leave where they call little, or pay much: no straight line tells it."""
    rng, lines = random.Random(3), [header]
    for customer in range(CUSTOMERS):
        for month in range(1, MONTHS + 1):
            calls, spend = int(60 * rng.random()), round(5 + 115 * rng.random(), 2)
            plan, roaming = ("basic", "plus", "pro")[int(3 * rng.random())], rng.random() < 0.3
            churned = rng.random() < (0.9 if calls < 12 or spend > 95 else 0.04)
            lines.append(
                f"c{customer:04d},2024-{month:02d}-01,{plan},{calls},{spend},{str(roaming).lower()},{int(churned)}"
            )
    return "\n".join(lines) + "\n"


def follow(clone: Clone, page: str) -> None:
    """Each command is typed, and each edit made, in the order of the page."""
    for block in blocks(page):
        if block["kind"] == "sh":
            for line in block["text"].splitlines():
                expected = EXIT.search(line)
                command, code = EXIT.sub("", line).strip(), int(expected["code"]) if expected else 0
                clone.types(
                    "bash", "-euo", "pipefail", "-c", command, code=code, says=(expected or {"said": ""})["said"]
                )
        elif block["kind"] == "diff":
            edit(clone.root / block["file"], block["text"])


def edit(path: Path, lines: str) -> None:
    """Take the lines with a minus out, once, and put those with a plus in their place."""
    old, new = ("".join(f"{line[1:]}\n" for line in lines.splitlines() if line[0] == sign) for sign in "-+")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} does not say\n{old}\nbut\n{text}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_page_leads_from_the_file_to_a_promoted_model(tmp_path: Path) -> None:
    """One test, as to follow the page takes a minute."""
    clone = cloned(tmp_path)
    page = page_for(clone.root)
    [shown] = [block["text"] for block in blocks(page) if block["kind"] == "csv"]
    [file] = set(re.findall(r"--csv (\S+)", page))
    text = table(shown.splitlines()[0])
    assert text.startswith(shown), f"the page shows other rows than\n{text[: len(shown)]}"
    (clone.root / file).parent.mkdir(exist_ok=True)
    (clone.root / file).write_text(text, encoding="utf-8")

    follow(clone, page)

    only_the_models_own_files_are_new(clone)
    the_champion_of_prod_was_trained_on_the_file(clone)
    the_data_are_in_no_release(clone)
    every_path_of_the_page_is_there(clone, page)


def only_the_models_own_files_are_new(clone: Clone) -> None:
    changed = clone.run("git", "diff", "--name-status", "HEAD~1", "HEAD").stdout.splitlines()

    assert clone.changes() == []
    assert len(changed) > 10
    assert [line for line in changed if not (line[0] == "A" and OURS.match(line.split("\t")[1]))] == []


def the_champion_of_prod_was_trained_on_the_file(clone: Clone) -> None:
    dev, prod = clone.status("local-dev", "local-prod")
    runs = clone.root / ".mlops/local-dev/runs"
    fetched = [json.loads(path.read_text())["facts"] for path in runs.glob("*/fetch_data.json")]
    registry = open_registry(f"sqlite:///{clone.root}/.mlops/local-prod/registry.db")
    champion = registry.alias(prod["pipeline"], "champion")

    assert champion
    assert {(facts["source"], facts["tables"][0]["rows"]) for facts in fetched} == {
        (f"file:{clone.root}/data", CUSTOMERS * MONTHS)
    }
    assert len(fetched) == 2  # by hand, and for the release
    assert champion.lineage["data_version"] == fetched[0]["data_version"] == fetched[1]["data_version"]
    assert champion.sha256 == prod["model"].split()[0] == dev["model"].split()[0]
    assert (prod["version"], prod["health"], prod["release"]) == ("v1.0.0", "ok", dev["release"])


def the_data_are_in_no_release(clone: Clone) -> None:
    [archive] = (clone.root / "build/releases").glob("*/code.tar")
    content = archive.read_bytes()

    assert b"models/churn" in content
    assert b"data/churn" not in content
    assert b"c0000,2024-01-01" not in content


def every_path_of_the_page_is_there(clone: Clone, page: str) -> None:
    paths = {
        path
        for path in re.findall(r"`([\w./-]+/[\w./-]*)`", page)
        if path.split("/")[0] in ("models", "pipelines", "tests", "environments")
    }
    links = {f"docs/{link}" for link in re.findall(r"\]\(([\w./-]+)\)", page)}

    assert [path for path in sorted(paths | links) if not (clone.root / path).exists()] == []


def test_every_command_of_the_page_is_one_of_ours_or_of_any_shell() -> None:
    lines = [line for block in blocks(PAGE.read_text()) if block["kind"] == "sh" for line in block["text"].splitlines()]

    assert {shlex.split(line, comments=True)[0] for line in lines} == {
        "mkdir",
        "echo",
        "git",
        "mlops",
        "pytest",
        "ruff",
    }
