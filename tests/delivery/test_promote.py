"""`mlops promote`: what one environment proved, and nothing else, is put to work in another.

Each refusal has its accepting twin in it, or in the first test.
"""

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from delivery import promote as promoting
from delivery import prove as proving
from delivery import release as releases
from delivery.errors import WrongUse
from delivery.ledger import Ledger
from storage import objects
from storage.objects import StorageError
from storage.registry import open_registry
from tests.delivery.delivered import Project, Site

PROMOTE = ("--from", "local-dev", "--to", "local-prod")


def refused(project: Project, *words: str, code: int = 3) -> str:
    """What it says; and nothing of it is to be seen in local-prod."""
    outcome = project.mlops("promote", "v1", *PROMOTE, *words)
    assert outcome.exit_code == code, outcome.err or outcome.out
    assert project.is_empty("local-prod")
    assert project.champion("local-prod") == ""
    assert not (project.root / ".mlops/local-prod/releases").exists()
    return str(outcome.err)


def test_the_first_promotion_of_all_takes_the_bytes_and_the_model_over(proved: Project) -> None:
    said = proved.mlops("promote", "v1", *PROMOTE, "--by", "Ada", "--why", "go").ok

    here, there = proved.current("local-dev"), proved.current("local-prod")
    for part in ("release", "model", "evidence", "run_id"):
        assert getattr(there, part) == getattr(here, part)
    assert (there.version, there.verb, there.by, there.why) == ("v1", "promote", "Ada", "go")
    assert proved.champion("local-prod") == "first on week 1"
    for file in ("manifest.json", "packages/answer.yaml", "code.tar", f"evidence/{there.evidence}"):
        same = [proved.file(name, f"releases/*/{file}").read_bytes() for name in ("local-dev", "local-prod")]
        assert same[0] == same[1]
    assert f"answer v1 (release {there.release[:12]}) is current in local-prod: package uploaded" in said
    dev, prod = (proved.environment(name) for name in ("local-dev", "local-prod"))
    theirs, ours = (open_registry(each.registry).alias("answer", "champion") for each in (dev, prod))
    assert theirs
    assert ours
    assert (ours.metrics, ours.lineage) == (theirs.metrics, theirs.lineage)
    assert ours.url.startswith(prod.store)
    release = releases.find(there.release, prod)
    assert (proving.proved(prod, release, "answer"), bool(proving.proved(dev, release, "answer"))) == (None, True)


def test_from_one_bucket_to_another_and_back(delivery: Project, s3: Any) -> None:
    for name in ("local-dev", "local-prod"):
        path = delivery.root / f"environments/{name}.yaml"
        path.write_text(path.read_text().replace(f"file:.mlops/{name}", s3.bucket(name) + "/store"))
    delivery.delivered("first", 0.6, "v1")
    second = delivery.delivered("second", 0.7, "v2")
    for tag in ("v1", "v2"):
        assert delivery.mlops("promote", tag, *PROMOTE).ok
    assert delivery.current("local-prod").release == second

    assert "v1" in delivery.mlops("rollback", "--env", "local-prod").ok

    rows = json.loads(delivery.mlops("status", "--json").ok)
    assert [(row["environment"], row["health"]) for row in rows] == [("local-dev", "ok"), ("local-prod", "ok")]
    assert rows[1]["version"] == "v1"


def test_promoted_again_it_changes_nothing(proved: Project) -> None:
    proved.mlops("promote", "v1", *PROMOTE).ok  # noqa: B018  # it must have gone well
    before = proved.current("local-prod")

    assert "nothing to do" in proved.mlops("promote", "v1", *PROMOTE).ok
    assert proved.current("local-prod") == before
    proved.schedule("local-prod", "0 0 5 * * *")
    assert "scheduled at `0 0 5 * * *`" in proved.mlops("promote", "v1", *PROMOTE).ok


def test_what_runs_there_is_the_released_code(proved: Project) -> None:
    proved.code("changed since", 0.9)
    assert proved.mlops("promote", "v1", *PROMOTE).ok

    assert proved.mlops("trigger", "data", "--env", "local-prod", "-p", "source=week 2").ok

    log = next((proved.root / ".mlops/local-prod/logs").rglob("run.log")).read_text()
    assert "trained by the code of first" in log


def test_a_tag_that_nobody_proved_is_refused(proved: Project) -> None:
    proved.code("not deployed", 0.9)
    proved.git("tag", "v2")

    outcome = proved.mlops("promote", "v2", *PROMOTE)

    assert outcome.exit_code == 3
    commit = proved.git("rev-parse", "--short=12", "HEAD")
    assert f"tag v2 (commit {commit}) may not be promoted: local-dev has no evidence" in outcome.err
    assert "mlops deploy RELEASE --env local-dev" in outcome.err
    assert proved.is_empty("local-prod")
    assert proved.mlops("promote", "v1", *PROMOTE).ok


def test_a_release_that_the_gates_blocked_is_refused(proved: Project) -> None:
    blocked = proved.release("worse", 0.55)
    assert proved.mlops("deploy", blocked).exit_code == 3
    proved.git("tag", "v2")

    for name in ("v2", blocked):
        outcome = proved.mlops("promote", name, *PROMOTE)
        assert outcome.exit_code == 3
        assert "has no evidence" in outcome.err
    assert proved.is_empty("local-prod")


def test_a_word_that_is_neither_tag_nor_release_is_a_wrong_use(proved: Project) -> None:
    outcome = proved.mlops("promote", "v7", *PROMOTE)

    assert outcome.exit_code == 2
    assert "there is no tag `v7`" in outcome.err


def test_what_was_begun_and_not_finished_proves_nothing(proved: Project) -> None:
    proved.file("local-dev", "ledger/answer/000001.done.json").unlink()

    assert "has no evidence" in refused(proved)


def test_a_release_is_promoted_by_its_id_and_then_it_has_no_version(promoted: Project) -> None:
    for entry in Ledger(promoted.environment("local-prod").store, "answer").entries():
        assert promoted.mlops("promote", entry.release[:8], *PROMOTE).ok

        current = promoted.current("local-prod")
        assert (current.release, current.version) == (entry.release, "")


@pytest.mark.parametrize("file", ["manifest.json", "packages/answer.yaml", "code.tar"])
def test_a_release_changed_by_one_byte_is_refused(proved: Project, file: str) -> None:
    path = proved.file("local-dev", f"releases/*/{file}")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    assert file in refused(proved)

    path.write_bytes(content)
    assert proved.mlops("promote", "v1", *PROMOTE).ok


@pytest.mark.parametrize("file", ["model.onnx", "classes.json"])
def test_a_model_changed_by_one_byte_is_refused(proved: Project, file: str) -> None:
    path = proved.file("local-dev", f"models/answer/*/{file}")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    assert f"{file} of the model answer is not the one that was validated" in refused(proved)

    path.write_bytes(content)
    assert proved.mlops("promote", "v1", *PROMOTE).ok


def test_gates_that_were_loosened_after_the_validation_are_another_release(proved: Project) -> None:
    path = proved.root / "answer_pipelines/gates.yaml"
    path.write_text(path.read_text().replace("time.top_1: 0.5", "time.top_1: 0.1"))
    proved.commit("loosen the gates")
    proved.git("tag", "--force", "v1")
    proved.mlops("release").ok  # noqa: B018  # it must have gone well

    assert "has no evidence" in refused(proved)


def forged(project: Project, **changes: Any) -> None:
    """Other words in the evidence, which nobody signed."""
    path = project.file("local-dev", "releases/*/evidence/*.json")
    from base64 import b64decode, b64encode

    envelope = json.loads(path.read_text())
    statement = json.loads(b64decode(envelope["payload"]))
    if digest := changes.pop("digest", ""):
        statement["subject"][0]["digest"]["sha256"] = digest
    statement["predicate"].update(changes)
    envelope["payload"] = b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps(envelope))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gates": "0" * 64}, "the gates of release"),
        ({"package": "0" * 64}, "contradicts itself"),
        ({"package": "0" * 64, "digest": "0" * 64}, "the package that was validated is"),
        ({"image": "registry.example/other"}, "the evidence is of"),
        ({"commit": "0" * 40}, "the evidence is of commit"),
        ({"environment": "laptop"}, "was given by the environment laptop"),
        ({"namespace": "scratch"}, "was given by the environment local-dev scratch"),
    ],
)
def test_evidence_of_something_else_is_refused(proved: Project, changes: dict[str, str], said: str) -> None:
    forged(proved, **changes)

    assert said in refused(proved)


def test_a_release_of_a_dirty_tree_is_refused_though_it_was_proved(proved: Project) -> None:
    clean = proved.current("local-dev").release
    proved.write("models/answer.py", 'NAME = "uncommitted"\nQUALITY = 0.6\n')
    release = proved.mlops("release", "--allow-dirty").ok.split()[0]
    assert proved.mlops("deploy", release).ok

    assert proved.current("local-dev").arguments["git_commit"].endswith("-dirty")
    assert "no commit holds" in refused(proved)
    assert proved.mlops("promote", "v1", *PROMOTE, "--release", clean[:8]).ok


def test_a_tag_of_another_commit_than_the_release_is_refused(proved: Project) -> None:
    current = proved.current("local-dev")
    proved.delivered("second", 0.7, "v2")

    outcome = proved.mlops("promote", "v2", *PROMOTE, "--release", current.release)

    assert outcome.exit_code == 3
    first, second = (proved.git("rev-parse", "--short=12", tag) for tag in ("v1", "v2"))
    assert f"tag v2 is commit {second}, and release {current.release[:12]} was built from {first}" in outcome.err
    assert proved.mlops("promote", "v1", *PROMOTE, "--release", current.release).ok
    assert proved.mlops("deploy", current.release).ok  # what was proved once needs no other run
    assert proved.champion("local-dev") == "first on week 1"


def test_a_version_never_changes(proved: Project) -> None:
    proved.mlops("promote", "v1", *PROMOTE).ok  # noqa: B018  # it must have gone well
    proved.delivered("second", 0.7)
    proved.git("tag", "--force", "v1")

    outcome = proved.mlops("promote", "v1", *PROMOTE)

    assert outcome.exit_code == 3
    assert "a version never changes" in outcome.err
    assert proved.champion("local-prod") == "first on week 1"


def key(folder: Path, name: str) -> Path:
    """A new pair: the private one in `<name>.pem`, the public one in `<name>.pub.pem`."""
    private, new = folder / f"{name}.pem", Ed25519PrivateKey.generate()
    private.write_bytes(new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = new.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub.pem").write_bytes(public)
    return private


def test_unsigned_evidence_is_refused_where_signatures_are_wanted(proved: Project, tmp_path: Path) -> None:
    key(tmp_path, "ours")
    proved.configure("local-prod", require_signature=True, trusted_keys=[str(tmp_path / "ours.pub.pem")])

    assert "signed" in refused(proved)


@pytest.mark.parametrize(("signs", "code"), [("ours", 0), ("other", 3)])
def test_evidence_is_believed_by_the_keys_that_are_trusted(
    delivery: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signs: str, code: int
) -> None:
    keys = {name: key(tmp_path, name) for name in ("ours", "other")}
    monkeypatch.setenv("EVIDENCE_KEY", keys[signs].read_text())
    delivery.configure("local-dev", signing_key={"env": "EVIDENCE_KEY"})
    delivery.configure("local-prod", require_signature=True, trusted_keys=[str(tmp_path / "ours.pub.pem")])
    delivery.delivered("first", 0.6, "v1")

    assert delivery.mlops("promote", "v1", *PROMOTE).exit_code == code
    assert delivery.mlops("evidence", "v1", "--to", "local-prod").exit_code == code
    assert "not verified" in delivery.mlops("evidence", "v1").ok


def test_of_two_promotions_at_once_one_wins_and_the_other_says_who_did(
    proved: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved.delivered("second", 0.7, "v2")

    met, begin = threading.Barrier(2), Ledger.begin
    outcomes: dict[str, object] = {}

    def begin_together(self: Ledger, **given: Any) -> Any:
        met.wait()
        return begin(self, **given)

    def promote(version: str) -> None:
        environments = proved.environment("local-dev"), proved.environment("local-prod")
        try:
            outcomes[version] = promoting.promote(version, *environments, None, by=f"who wants {version}")
        except Exception as error:
            outcomes[version] = error

    monkeypatch.setattr(Ledger, "begin", begin_together)
    both = [threading.Thread(target=promote, args=(version,)) for version in ("v1", "v2")]
    for each in both:
        each.start()
    for each in both:
        each.join()

    lost = [version for version, outcome in outcomes.items() if isinstance(outcome, Exception)]
    current = proved.current("local-prod")
    assert lost == [{"v1": "v2", "v2": "v1"}[current.version]], outcomes
    assert f"who wants {current.version}" in str(outcomes[lost[0]])
    assert [entry.version for entry in Ledger(proved.environment("local-prod").store, "answer").entries()] == [
        current.version
    ]
    assert proved.file("local-prod", "releases/*").name == current.release  # of who lost nothing came there
    assert proved.champion("local-prod").startswith({"v1": "first", "v2": "second"}[current.version])


@pytest.mark.parametrize("writes", range(1, 8))
def test_a_store_that_goes_away_half_way_is_repeated_to_the_end(
    proved: Project, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    left = [writes]

    def failing(real: Callable[..., bool]) -> Callable[..., bool]:
        def write(url: str, data: bytes) -> bool:
            left[0] -= 1
            if left[0] < 0:
                raise StorageError(what="the store does not answer", where=url, do="try again")
            return real(url, data)

        return write

    with monkeypatch.context() as patch:
        for name in ("write_once", "create"):
            patch.setattr(objects, name, failing(getattr(objects, name)))
        outcome = proved.mlops("promote", "v1", *PROMOTE)
    assert outcome.exit_code == 1
    assert "the store does not answer" in outcome.err
    assert proved.is_empty("local-prod")

    assert proved.mlops("promote", "v1", *PROMOTE).ok

    assert proved.champion("local-prod") == "first on week 1"
    current = proved.current("local-prod")
    assert current.number == 1
    assert json.loads(proved.mlops("status", "--env", "local-prod", "--json").ok)[0]["health"] == "ok"


@pytest.mark.parametrize(
    ("status", "said"), [(401, "token"), (403, "namespace `team-prod`")], ids=["expired token", "wrong namespace"]
)
def test_an_endpoint_that_does_not_let_us_in_changes_nothing(
    proved: Project, answering: Any, status: int, said: str
) -> None:
    def answer(method: str, path: str, headers: Any) -> tuple[int, str]:
        return (200, '{"multi_user": true}') if "healthz" in path else (status, '{"message": "no"}')

    image = f"registry.example/steps@sha256:{'1' * 64}"
    endpoint = answering(answer)
    path = proved.root / "environments/local-prod.yaml"
    path.write_text(path.read_text().replace("endpoint: local", f"endpoint: {endpoint}\nnamespace: team-prod"))
    proved.commit("a cluster")
    release = proved.mlops("release", "--image", image).ok.split()[0]

    outcome = proved.mlops("deploy", release, "--env", "local-prod")

    assert outcome.exit_code == 1
    assert said in outcome.err
    assert proved.is_empty("local-prod")


def test_what_was_trained_there_since_is_not_undone_by_a_repeated_promotion(proved: Project) -> None:
    assert proved.mlops("promote", "v1", *PROMOTE).ok
    assert proved.mlops("trigger", "data", "--env", "local-prod", "-p", "source=rich week").ok

    assert "nothing to do" in proved.mlops("promote", "v1", *PROMOTE).ok

    assert proved.champion("local-prod") == "first on rich week"


def test_a_cut_off_promotion_is_repeated_with_the_settings_of_now(proved: Project) -> None:
    ledger, here = Ledger(proved.environment("local-prod").store, "answer"), proved.current("local-dev")
    ledger.begin(
        verb="promote", by="Bob", why="", state={**here.state, "version": "v1", "schedule": "cut off"}, after=0
    )
    refused_meanwhile = Ledger(proved.environment("local-prod").store, "answer").current()
    proved.schedule("local-prod", "0 0 4 * * *")

    assert proved.mlops("promote", "v1", *PROMOTE).ok

    assert refused_meanwhile is None
    assert proved.current("local-prod").schedule == "0 0 4 * * *"


def test_a_release_that_is_gone_does_not_stand_in_the_way_of_others(proved: Project) -> None:
    first = proved.current("local-dev").release
    proved.delivered("second", 0.7, "v2")
    shutil.rmtree(proved.root / ".mlops/local-dev/releases" / first)

    assert proved.mlops("promote", "v2", *PROMOTE).ok
    assert proved.mlops("promote", "v1", *PROMOTE).exit_code == 3


def test_a_commit_that_was_built_twice_stays_the_release_that_was_promoted(
    proved: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert proved.mlops("promote", "v1", *PROMOTE).ok
    first = proved.current("local-prod").release
    (proved.root / "requirements").mkdir()
    proved.write("requirements/run.txt", "another lock, ignored by git")
    proved.write(".git/info/exclude", "requirements/")
    second = proved.mlops("release").ok.split()[0]
    assert proved.mlops("deploy", second).ok

    assert "nothing to do" in proved.mlops("promote", "v1", *PROMOTE).ok

    assert first != second
    assert proved.current("local-prod").release == first


def test_a_model_that_is_gone_is_brought_again(proved: Project) -> None:
    assert proved.mlops("promote", "v1", *PROMOTE).ok
    proved.file("local-prod", "models/answer/*/model.onnx").unlink()
    status = proved.mlops("status", "--env", "local-prod", "--json")
    (row,) = json.loads(status.out)

    assert status.exit_code == 1
    assert "model.onnx of the model answer" in row["health"]
    assert proved.mlops("promote", "v1", *PROMOTE).ok
    assert proved.champion("local-prod") == "first on week 1"


def test_where_only_signed_evidence_counts_nothing_is_deployed_past_it(proved: Project) -> None:
    release = proved.current("local-dev").release
    proved.configure("local-prod", require_signature=True, trusted_keys=["environments/keys/dev.pub.pem"])

    outcome = proved.mlops("deploy", release, "--env", "local-prod")

    assert outcome.exit_code == 3
    assert "mlops promote VERSION" in outcome.err
    assert proved.is_empty("local-prod")


@pytest.mark.parametrize("at", ["the copy", "the registry"])
def test_the_champion_moves_for_who_is_first_and_before_anything_is_current(
    promoted: Project, delivery_site: Site, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    ledger, copy = Ledger(promoted.environment("local-prod").store, "answer"), releases.copy
    _, second = ledger.entries()

    def meanwhile(*given: Any) -> Any:
        ledger.finish(ledger.begin(verb="rollback", by="Bob", why="", state=second.state, after=3, supersede=True))
        return copy(*given)

    if at == "the copy":
        monkeypatch.setattr(releases, "copy", meanwhile)
    else:
        refuse = lambda method, path: None if method == "GET" else 403  # noqa: E731
        monkeypatch.setattr(delivery_site.registries["local-prod"], "meanwhile", refuse)
    assert promoted.mlops("promote", "v1", *PROMOTE).exit_code == 1

    assert promoted.champion("local-prod") == "v2 on week 1"
    assert promoted.current("local-prod").release == second.release


def test_two_environments_that_share_a_store_are_a_wrong_use(proved: Project) -> None:
    outcome = proved.mlops("promote", "v1", "--from", "local-dev", "--to", "local-dev")

    assert outcome.exit_code == 2
    assert "the same store" in outcome.err
    dev, prod = (proved.environment(name) for name in ("local-dev", "local-prod"))
    with pytest.raises(WrongUse, match="the same registry"):
        promoting.promote("v1", dev, replace(prod, registry=dev.registry), None, by="Ada")
    with pytest.raises(WrongUse, match="which no cluster can pull"):
        promoting.promote("v1", dev, replace(prod, endpoint="https://kfp.example"), None, by="Ada")
    assert promoting.promote("v1", dev, replace(prod, default_pipeline=""), None, by="Ada").done


def test_a_registry_is_the_same_with_a_slash_at_its_end(proved: Project) -> None:
    path = proved.root / "environments/local-prod.yaml"
    registry = proved.environment("local-dev").registry
    path.write_text(path.read_text().replace(proved.environment("local-prod").registry, f"{registry}/"))

    outcome = proved.mlops("promote", "v1", *PROMOTE)

    assert outcome.exit_code == 2
    assert "the same registry" in outcome.err


def test_evidence_is_shown_to_who_reviews_it(proved: Project) -> None:
    current = proved.current("local-dev")

    page = proved.mlops("evidence", "v1").ok

    for word in (current.release, current.model["sha256"], "time.top_1", "promote", proved.git("rev-parse", "v1")):
        assert word in page
    record = json.loads(proved.mlops("evidence", "v1", "--json").ok)
    assert record["verdict"] == "promote"
