"""`mlops status`: what is current where, and whether it is still so."""

import json
from pathlib import Path

from storage.registry import open_registry
from tests.delivery.delivered import Project


def rows(project: Project) -> dict[str, dict[str, str]]:
    return {row["environment"]: row for row in json.loads(project.mlops("status", "--json").ok)}


def test_what_was_promoted_has_the_same_hashes_in_both_environments(proved: Project) -> None:
    assert proved.mlops("promote", "v1", "--from", "local-dev", "--to", "local-prod").ok

    dev, prod = rows(proved)["local-dev"], rows(proved)["local-prod"]

    for part in ("release", "package", "image", "model"):
        assert dev[part] == prod[part] != ""
    assert (dev["version"], prod["version"]) == ("", "v1")
    assert (dev["health"], prod["health"]) == ("ok", "ok")
    table = proved.mlops("status").ok
    assert table.count(prod["package"][:12]) == 2


def test_an_environment_without_a_release_has_a_row_too(proved: Project) -> None:
    assert rows(proved)["local-prod"]["release"] == ""
    assert "nothing deployed" in proved.mlops("status").ok


def test_what_is_no_longer_as_the_ledger_says_is_named(proved: Project) -> None:
    registry = open_registry(proved.environment("local-dev").registry)
    other, _ = registry.register("answer", url="file:/x", sha256="0" * 64, metrics={}, lineage={"run": "r7"})
    registry.set_alias("answer", "champion", other.version)
    assert "of run r7" in rows(proved)["local-dev"]["health"]

    path: Path = proved.file("local-dev", "releases/*/packages/answer.yaml")
    path.write_text(path.read_text() + "#")
    assert "packages/answer.yaml" in rows(proved)["local-dev"]["health"]


def test_an_environment_that_cannot_be_asked_hides_no_other(proved: Project) -> None:
    (proved.root / ".mlops/local-prod/ledger/answer").mkdir(parents=True)
    (proved.root / ".mlops/local-prod/ledger/answer/notes.txt").write_text("mine")

    found = rows(proved)

    assert found["local-dev"]["health"] == "ok"
    assert "notes.txt" in found["local-prod"]["health"]
    proved.write("environments/local-prod.yaml", "endpoint: [")
    assert rows(proved)["local-dev"]["health"] == "ok"
    assert "YAML" in rows(proved)["local-prod"]["health"]
