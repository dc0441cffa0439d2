from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.publish_model.step import publish
from delivery import evidence as evidences
from delivery import signatures
from delivery.environments import Environment
from delivery.errors import BytesDiffer, Failed, GatesDiffer, MlopsError, NotValidated
from delivery.evidence import Evidence, gathered
from delivery.release import Package, Release
from delivery.runs import Progress, RunResult, State
from storage import objects
from storage.registry import Registry, open_registry

RELEASE, PACKAGE, GATES, CONTRACT = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
ROW = {"name": "parity", "value": 1e-6, "condition": "<=", "limit": 1e-5, "passed": True, "sentence": "s"}
PEM = Ed25519PrivateKey.generate().private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return open_registry(f"sqlite:///{tmp_path_factory.mktemp('registry')}/registry.db")  # its tables take seconds


@dataclass(kw_only=True)
class World:
    """An environment in which a pipeline runs: it really publishes, and its records are made as the steps write them."""

    environment: Environment
    registry: Registry
    model: str
    champion: dict[str, str] | None = None
    release: Release = field(
        default_factory=lambda: Release(
            id=RELEASE, image="img@sha256:" + "e" * 64, commit="f" * 40, dirty=False, lock="", files={}, url="-",
            packages={
                "toy": Package(sha256=PACKAGE, model="toy", contract=CONTRACT, gates=GATES),
                "greet": Package(sha256=PACKAGE, model="", contract="", gates=""),
            },
        )
    )  # fmt: skip

    def run(self, content: bytes, verdict: str = "promote", run_id: str = "r1", **lineage: str) -> RunResult:
        """A run that trained these bytes, and came to this verdict."""
        done = publish(
            {"model.onnx": content, "classes.json": b"[]"}, name=self.model, verdict=verdict,
            judged_sha256=sha256(content).hexdigest(), judged_against=(self.champion or {}).get("version"),
            store=self.environment.store, registry=self.registry, metrics={"time.top_1": 0.9},
            lineage={"run": run_id, "gates": GATES, "contract": CONTRACT, **lineage},
        )  # fmt: skip
        facts: dict[str, dict[str, Any]] = {
            "report": {},
            "validate_onnx": {"gates": [ROW]},
            "evaluate_model": {"sets": {"time": {"rows": 100, "top_1": 0.9, "log_loss": "NaN"}}},
            "decide": {"verdict": verdict, "champion": self.champion, "gates": [{**ROW, "name": "time.top_1"}]},
            "publish_model": done.facts(),
        }
        if verdict == "promote":
            self.champion = {"version": done.version, "sha256": done.sha256, "url": done.url}
        return result_of({step: {**said, "data_version": "d4ta"} for step, said in facts.items()}, run_id)

    def gathered(self, result: RunResult, pipeline: str = "toy") -> Evidence:
        return gathered(self.release, pipeline, self.environment, result, self.registry, {"source": "week|1"})


def result_of(facts: dict[str, dict[str, Any]], run_id: str) -> RunResult:
    """Steps that ended well, one a second; the exit handler is listed first and ends last."""
    records = {
        step: {
            "step": step, "state": "SUCCEEDED", "started": f"2026-11-21T10:00:{99 - number}.000+00:00",
            "finished": f"2026-11-21T10:00:{99 - number}.500+00:00", "facts": said,
        }
        for number, (step, said) in enumerate(facts.items())
    }  # fmt: skip
    steps = [Progress(step=step, state=State.SUCCEEDED) for step in facts]
    return RunResult(
        run_name=f"toy-{run_id}", run_id=run_id, state="SUCCEEDED", records=records, progress=steps, report_url=None,
        log=Path("run.log"),
    )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, registry: Registry) -> World:
    environment = Environment(
        name="dev", root=tmp_path, endpoint="local", store=f"file:{tmp_path}/store", registry="sqlite:///r.db"
    )
    return World(environment=environment, registry=registry, model=tmp_path.name)


@pytest.fixture
def written(world: World) -> Callable[[Callable[[Any, Any], Any]], MlopsError]:
    """Write evidence, change its envelope or statement, and read it again: the error."""
    file = evidences.write(world.gathered(world.run(b"one")), world.environment.store, None)
    url = evidences.url_of(world.environment.store, RELEASE, file)
    assert evidences.read(world.environment.store, RELEASE, file).evidence.run_id == "r1"  # the twin

    def change(by: Callable[[Any, Any], Any]) -> MlopsError:
        envelope = objects.read_json(url)
        statement = json.loads(base64.b64decode(envelope["payload"]))
        by(envelope, statement)
        if statement:
            envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        objects.write_json(url, envelope)
        with pytest.raises(MlopsError) as refused:
            evidences.read(world.environment.store, RELEASE, file)
        assert refused.value.where == url
        return refused.value

    return change


def test_evidence_says_what_ran_how_it_was_judged_and_what_serves(world):
    result = world.run(b"one")

    it = world.gathered(result)

    assert (it.release, it.pipeline, it.package, it.image, it.commit) == (
        RELEASE, "toy", PACKAGE, world.release.image, world.release.commit
    )  # fmt: skip
    assert (it.environment, it.run_id, it.run_name, it.verdict, it.gates, it.contract, it.data_version) == (
        "dev", "r1", "toy-r1", "promote", GATES, CONTRACT, "d4ta"
    )  # fmt: skip
    assert it.finished == "2026-11-21T10:00:98.500+00:00"  # of the last step; the exit handler does not count
    assert [row["name"] for row in it.checks] == ["time.top_1", "parity"]  # as the steps began
    assert it.metrics == {"time": {"rows": 100, "top_1": 0.9, "log_loss": "NaN"}}
    hashes = {"model.onnx": sha256(b"one").hexdigest(), "classes.json": sha256(b"[]").hexdigest()}
    assert it.model is not None
    assert (it.model.name, it.model.files, it.model.sha256) == (world.model, hashes, it.candidate)
    assert (it.model.metrics, it.model.lineage["run"]) == ({"time.top_1": 0.9}, "r1")


def test_the_champion_that_stayed_serves_and_the_candidate_is_named(world):
    world.run(b"one")

    it = world.gathered(world.run(b"two", verdict="keep", run_id="r2"))

    assert it.model is not None
    assert (it.verdict, it.candidate) == ("keep", sha256(b"two").hexdigest())
    assert it.model.sha256 == sha256(b"one").hexdigest()
    assert "trained, and no better" in markdown_of(world, it)


def test_a_pipeline_without_gates_and_model_is_evidence_too(world):
    it = world.gathered(result_of({"greet": {}}, "r1"), "greet")

    assert (it.model, it.verdict, it.candidate, it.checks, it.metrics, it.data_version) == (None, "", "", [], {}, "")


@pytest.mark.parametrize("verdict", ["promote", "keep"])
def test_a_champion_that_was_moved_since_is_told(world, verdict):
    world.run(b"zero")
    result = world.run(b"one", verdict=verdict)
    world.run(b"two", run_id="r2")

    with pytest.raises(
        Failed, match=f"run toy-r1 left .* as the champion of {world.model}, and by now it is version 3"
    ):
        world.gathered(result)
    with pytest.raises(Failed, match="as the champion of nobody, and by now it is none"):
        world.gathered(facts_with(result, "publish_model", name="nobody"))


def progress_with(result: RunResult, state: State, step: str) -> RunResult:
    return replace(
        result, progress=[Progress(step=step, state=state) if p.step == step else p for p in result.progress]
    )


def facts_with(result: RunResult, step: str, **facts: Any) -> RunResult:
    record = result.records[step]
    return replace(result, records={**result.records, step: {**record, "facts": {**record["facts"], **facts}}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: replace(run, state="CANCELED"), "it ended as CANCELED"),
        (lambda run: progress_with(run, State.LOST, "decide"), "decide is lost, not succeeded"),
        (lambda run: progress_with(run, State.WAITING, "validate_onnx"), "validate_onnx is waiting, not succeeded"),
        (lambda run: facts_with(run, "decide", gates=[ROW, {**ROW, "passed": False}]), "the gate parity did not let"),
        (lambda run: facts_with(run, "decide", gates=[{**ROW, "passed": "yes"}]), "the gate parity did not let"),
        (lambda run: facts_with(run, "decide", verdict="block"), "the verdict is block"),
        (lambda run: facts_with(run, "decide", data_version="other"), "its steps saw different data: d4ta, other"),
        (lambda run: facts_with(run, "publish_model", lineage=None), "publish_model does not say what"),
        (lambda run: replace(run, records={**run.records, "publish_model": {}}), "publish_model left no record"),
    ],
    ids=["canceled", "lost", "waiting", "refused", "not true", "block", "data", "lineage", "no record"],
)  # fmt: skip
def test_a_run_that_was_not_let_pass_proves_nothing(world, change, said):
    result = world.run(b"one")
    world.gathered(progress_with(result, State.FAILED, "report"))  # the twin: the page is no part of the proof

    with pytest.raises(NotValidated, match=f"run toy-r1 proves nothing: {said}"):
        world.gathered(change(result))


@pytest.mark.parametrize(("key", "error"), [("gates", GatesDiffer), ("contract", BytesDiffer)])
def test_a_model_that_was_judged_otherwise_than_the_release_says_is_refused(world, key, error):
    result = world.run(b"one", **{key: "9" * 64})

    with pytest.raises(error, match=f"the {key} of the model that was published is 9{{12}}, the release's is {'c|d'}"):
        world.gathered(result)


def test_a_model_that_an_earlier_run_registered_is_judged_by_this_run(world):
    world.run(b"one", gates="9" * 64)

    assert world.gathered(world.run(b"one", run_id="r2")).gates == GATES


def test_a_model_changed_by_one_byte_since_it_was_registered_is_refused(world):
    result = world.run(b"one")
    objects.write_bytes(result.records["publish_model"]["facts"]["url"], b"ond")

    with pytest.raises(BytesDiffer, match=r"the champion's file is .*, and 7692c3ad3540 was registered"):
        world.gathered(result)


def backwards(value: Any) -> Any:
    """The same, with the keys of every mapping the other way round."""
    return {key: backwards(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def test_the_same_run_gives_the_same_bytes_and_is_written_once(world):
    result, store, signer = world.run(b"one"), world.environment.store, signatures.signer(PEM.decode(), "-")

    file = evidences.write(world.gathered(result), store, signer)
    first = evidences.read(store, RELEASE, file)
    again = evidences.write(world.gathered(replace(result, records=backwards(result.records))), store, None)

    assert (file, again, first.file) == ("toy-r1.json", "toy-r1.json", "toy-r1.json")
    assert evidences.read(store, RELEASE, file).content == first.content == objects.read_bytes(first.url)
    assert first.evidence == world.gathered(result)
    assert json.loads(first.envelope.payload)["subject"] == [
        {"name": "toy", "digest": {"sha256": PACKAGE}},
        {"name": "release", "digest": {"sha256": RELEASE}},
    ]
    signatures.require(first.envelope, [signer.public_key], first.url)


def test_evidence_of_the_same_run_that_says_otherwise_is_refused(world):
    it, store = world.gathered(world.run(b"one")), world.environment.store
    evidences.write(it, store, None)

    with pytest.raises(BytesDiffer, match=r"toy-r1\.json is there already, and says otherwise"):
        evidences.write(replace(it, verdict="keep"), store, None)


def test_evidence_of_a_release_is_listed_as_the_runs_ended(world):
    it, store = world.gathered(world.run(b"one")), world.environment.store
    for run_id, finished in (("r1", "2026-03"), ("r2", "2026-01"), ("r3", "2026-02")):
        evidences.write(replace(it, run_id=run_id, finished=finished), store, None)
    evidences.write(replace(it, pipeline="toy_2"), store, None)

    assert [signed.evidence.run_id for signed in evidences.for_release(store, RELEASE, "toy")] == ["r2", "r3", "r1"]
    assert evidences.for_release(store, "0" * 64, "toy") == []


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda envelope, it: envelope.update(payload="!") or it.clear(), NotValidated, "cannot be read as evidence"),
        (lambda envelope, it: envelope.pop("signatures"), NotValidated, "cannot be read as evidence"),
        (lambda envelope, it: envelope.update(signatures=[{"keyid": "k"}]), NotValidated, "cannot be read"),
        (lambda envelope, it: it["predicate"].pop("commit"), NotValidated, "cannot be read as evidence"),
        (lambda envelope, it: it["predicate"].update(checks="all"), NotValidated, "cannot be read as evidence"),
        (lambda envelope, it: envelope.update(payloadType="text/plain"), BytesDiffer, "contradicts itself"),
        (lambda envelope, it: it.update(predicateType="urn:other"), BytesDiffer, "contradicts itself"),
        (lambda envelope, it: it["predicate"].update(package="9" * 64), BytesDiffer, "contradicts itself"),
        (lambda envelope, it: it["predicate"].update(mood="good"), BytesDiffer, "contradicts itself"),
        (lambda envelope, it: it["predicate"].update(run_id="r9"), NotValidated, "is evidence of toy, run r9"),
        (lambda envelope, it: it["predicate"]["checks"][0].update(passed=False), NotValidated, "says itself that a gate"),
        (lambda envelope, it: it["predicate"].update(verdict="block"), NotValidated, "says itself that a gate"),
    ],
    ids=[
        "no base64", "no signatures", "half a signature", "missing", "type", "payload type", "predicate type", "subject",
        "unknown", "run", "check", "verdict",
    ],
)  # fmt: skip
def test_damaged_evidence_is_refused_by_its_place(written, change, error, said):
    refused = written(change)

    assert type(refused) is error
    assert said in refused.what


def test_evidence_that_is_not_there_or_of_another_release_is_refused(world):
    it, store = world.gathered(world.run(b"one")), world.environment.store
    content = evidences.read(store, RELEASE, evidences.write(it, store, None)).content
    other = "0" * 64

    with pytest.raises(NotValidated, match=r"release 000000000000 has no evidence toy-r1\.json"):
        evidences.read(store, other, "toy-r1.json")
    objects.write_bytes(evidences.url_of(store, other, "toy-r1.json"), content)
    with pytest.raises(NotValidated, match="is evidence of toy, run r1, release aaaaaaaaaaaa"):
        evidences.for_release(store, other, "toy")


def markdown_of(world: World, it: Evidence) -> str:
    store = world.environment.store
    return evidences.as_markdown(evidences.read(store, RELEASE, evidences.write(it, store, None)), "nobody asked")


def test_a_reviewer_reads_tables_that_no_name_can_break(world):
    it = world.gathered(world.run(b"one"))
    it = replace(it, checks=[{**ROW, "name": "a|b\n<c>"}], environment="dev|el")

    text = markdown_of(world, it)

    assert f"| release | `{RELEASE}` |" in text
    assert "| environment | dev\\|el |" in text
    assert "| signature | unsigned, nobody asked |" in text
    assert "| a\\|b &lt;c> | 1e-06 | <= | 1e-05 |" in text
    assert "| test set | rows | top_1 | log_loss |\n| --- | --- | --- | --- |\n| time | 100 | 0.9 | NaN |" in text
    assert "trained, and no better" not in text


def test_a_script_reads_the_same(world):
    it, store = world.gathered(world.run(b"one")), world.environment.store
    file = evidences.write(it, store, signatures.signer(PEM.decode(), "-"))

    said = json.loads(evidences.as_json(evidences.read(store, RELEASE, file)))

    assert (said["release"], said["model"]["sha256"], len(said["signed_by"])) == (RELEASE, it.candidate, 1)
