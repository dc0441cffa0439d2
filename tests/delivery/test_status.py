"""`mlops status`: what is current where, and whether it is still so."""

import json
from pathlib import Path

from delivery.kubeflow import connected
from delivery.ledger import Ledger
from delivery.scheduling import scheduled
from storage.registry import open_registry
from tests.delivery.delivered import Project, Site


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
    parts = ("environment", "pipeline", "version", "release", "package")
    assert table.splitlines()[2].split()[:5] == [prod[part][:12] for part in parts]
    assert f"{prod['model'][:12]} (version {prod['model_version']})" in table
    assert prod["model_version"].isdigit()


def test_an_environment_without_a_release_has_a_row_too(proved: Project) -> None:
    assert rows(proved)["local-prod"]["release"] == ""
    assert "nothing deployed" in proved.mlops("status").ok
    ledger, state = Ledger(proved.environment("local-prod").store, "answer"), proved.current("local-dev").state
    ledger.begin(verb="promote", by="Bob", why="", state=state, after=0)
    assert "was begun by Bob" in rows(proved)["local-prod"]["health"]


def test_what_is_missing_is_named_and_the_same_promotion_brings_it_back(promoted: Project) -> None:
    before = promoted.current("local-prod")
    with connected(promoted.environment("local-prod")) as kfp:
        (schedule,) = scheduled(kfp, "answer")
        kfp.client.disable_recurring_run(schedule.id)
        kfp.client.delete_pipeline_version(kfp.client.get_pipeline_id("answer"), schedule.version_id)
    health = rows(promoted)["local-prod"]["health"]
    assert f"no version answer-{before.release[:12]}; what is scheduled is not this release at `0 0 2 * * *`" in health
    promoted.file("local-prod", f"releases/{before.release}/code.tar").unlink()
    assert "code.tar is missing" in rows(promoted)["local-prod"]["health"]
    assert rows(promoted)["local-prod"]["release"] == before.release

    assert promoted.mlops("promote", "v2", "--from", "local-dev", "--to", "local-prod").ok

    assert promoted.current("local-prod") == before
    assert rows(promoted)["local-prod"]["health"] == "ok"


def test_what_is_no_longer_as_the_ledger_says_is_named(proved: Project, delivery_site: Site) -> None:
    registry = open_registry(proved.environment("local-dev").registry)
    other, _ = registry.register("answer", url="file:/x", sha256="0" * 64, metrics={}, lineage={"run": "r7"})
    registry.set_alias("answer", "champion", other.version)
    assert "of run r7" in rows(proved)["local-dev"]["health"]

    delivery_site.registries["local-dev"].resources.clear()
    assert "there is no champion" in rows(proved)["local-dev"]["health"]

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
