"""What proves a release: a run that passed every gate, in its own words, as a DSSE envelope that may be signed.

The same run gives the same bytes, whoever gathers them and whenever. An envelope lies beside its release, at
`evidence/<pipeline>-<run id>.json`; its payload is an in-toto statement about the package and the release.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError
from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # its __init__ names it in no __all__

from delivery import signatures, verdicts
from delivery.environments import Environment
from delivery.errors import BytesDiffer, Failed, GatesDiffer, MlopsError, NotValidated
from delivery.release import Package, Release
from delivery.runs import RunResult, State
from storage import objects
from storage.registry import Registry

CHAMPION = "champion"
LETS_PASS = ("promote", "keep")  # verdicts of decide: it becomes the champion, or the champion stays
PAYLOAD_TYPE = "application/vnd.in-toto+json"
Facts = dict[str, Any]
_ANEW = "`mlops deploy RELEASE --env ENVIRONMENT --again` proves it anew"


@dataclass(frozen=True, kw_only=True)
class Model:
    """The champion after the run, with the hash of every file of its folder."""

    name: str
    version: str
    url: str
    sha256: str
    files: dict[str, str]
    metrics: dict[str, float]
    lineage: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was run, where, under which gates, and how it came out; empty where a pipeline has no such thing."""

    release: str
    pipeline: str
    package: str  # this and all other hashes are SHA-256
    image: str
    commit: str
    environment: str
    namespace: str
    run_id: str
    run_name: str
    finished: str
    verdict: str
    gates: str
    contract: str
    data_version: str
    arguments: dict[str, Any]  # of the run
    checks: list[dict[str, Any]]
    metrics: dict[str, Any]  # test set -> metric -> value, of the candidate
    candidate: str  # the model that the run trained
    model: Model | None  # the model that serves: the candidate, or the champion that stayed


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Evidence as it was found; whether to believe it says `signatures.require`."""

    evidence: Evidence
    envelope: Envelope
    url: str
    file: str
    content: bytes


def gathered(
    release: Release,
    pipeline: str,
    environment: Environment,
    result: RunResult,
    registry: Registry,
    arguments: Mapping[str, Any],
) -> Evidence:
    """What that run, with those arguments, proves, of a champion that is still the one it left.

    NotValidated when a step or a gate did not let it pass; GatesDiffer and BytesDiffer when its model is not of this release.
    """
    package, records = release.packages[pipeline], result.records
    checks = _passed(result)
    published, decided = (_facts(result, step) for step in ("publish_model", "decide"))
    versions = {str(facts["data_version"]) for step in records if "data_version" in (facts := _facts(result, step))}
    if len(versions) > 1:
        raise _nothing(result, f"its steps saw different data: {', '.join(sorted(versions))}")
    if published:
        _require_own(published, decided, package, result)
    return Evidence(
        release=release.id, pipeline=pipeline, package=package.sha256, image=release.image, commit=release.commit,
        environment=environment.name, namespace=environment.namespace, run_id=result.run_id, run_name=result.run_name,
        finished=max((str(record.get("finished") or "") for step, record in records.items() if step != "report"), default=""),
        verdict=str(decided.get("verdict", "")), gates=package.gates, contract=package.contract,
        data_version="".join(versions), arguments=dict(arguments), checks=checks, metrics=verdicts.metrics(records),
        candidate=str(published.get("sha256", "")),
        model=_champion(published, decided, result, registry, environment.registry) if published else None,
    )  # fmt: skip


def write(evidence: Evidence, store: str, signer: Signer | None) -> str:
    """The file's name. Evidence that says the same stays as it is, and so do its signatures."""
    payload = json.dumps(_statement(evidence), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    if signer:
        envelope.sign(signer)
    file = f"{evidence.pipeline}-{evidence.run_id}.json"
    content = json.dumps(envelope.to_dict(), indent=1, sort_keys=True).encode() + b"\n"
    if not objects.create(url_of(store, evidence.release, file), content):
        held = read(store, evidence.release, file)
        if held.envelope.payload != payload:
            raise _foreign(BytesDiffer, f"{file} is there already, and says otherwise", held.url)
    return file


def read(store: str, release_id: str, file: str) -> Signed:
    """That evidence, whole and of that release; its signatures are for the caller to judge."""
    url = url_of(store, release_id, file)
    if not objects.exists(url):
        raise NotValidated(f"release {release_id[:12]} has no evidence {file}", where=url, do=_ANEW)
    content = objects.read_bytes(url)
    try:
        envelope = Envelope.from_dict(json.loads(content))  # changes what it is given
        statement = json.loads(envelope.payload)
        evidence = TypeAdapter(Evidence).validate_json(json.dumps(statement["predicate"]), strict=True)
    except (ValueError, KeyError, TypeError, AttributeError, FormatError):
        raise _foreign(NotValidated, f"{file} cannot be read as evidence", url) from None
    if (envelope.payload_type, statement) != (PAYLOAD_TYPE, _statement(evidence)):
        raise _foreign(
            BytesDiffer, f"{file} contradicts itself: its predicate names another package, release or type", url
        )
    if (evidence.release, f"{evidence.pipeline}-{evidence.run_id}.json") != (release_id, file):
        said = f"{file} is evidence of {evidence.pipeline}, run {evidence.run_id}, release {evidence.release[:12]}"
        raise _foreign(NotValidated, said, url)
    if evidence.verdict not in ("", *LETS_PASS) or not all(row.get("passed") is True for row in evidence.checks):
        raise _foreign(NotValidated, f"{file} says itself that a gate did not let the run pass", url)
    return Signed(evidence=evidence, envelope=envelope, url=url, file=file, content=content)


def for_release(store: str, release_id: str, pipeline: str) -> list[Signed]:
    """The run that finished first comes first."""
    files = objects.names(objects.join(store, "releases", release_id, "evidence"))
    found = [read(store, release_id, file) for file in files if file.startswith(f"{pipeline}-")]
    return sorted(found, key=lambda signed: (signed.evidence.finished, signed.file))


def url_of(store: str, release_id: str, file: str) -> str:
    """Where evidence lies in any store."""
    return objects.join(store, "releases", release_id, "evidence", file)


def as_json(signed: Signed) -> str:
    """For a script; numbers are not rounded."""
    value = {**asdict(signed.evidence), "signed_by": sorted(signed.envelope.signatures), "url": signed.url}
    return json.dumps(value, indent=1, ensure_ascii=False)


def as_markdown(signed: Signed, trusted: str = "") -> str:
    """For who reviews a promotion; `trusted` is what is known of the signature, in words."""
    it, model = signed.evidence, signed.evidence.model
    about = {
        "release": f"`{it.release}`", "commit": f"`{it.commit}`", "image": f"`{it.image}`", "package": f"`{it.package}`",
        "run": f"{it.run_name}, {it.run_id}", "environment": f"{it.environment} {it.namespace}", "finished": it.finished,
        "verdict": it.verdict, "model": f"{model.name} version {model.version}, `{model.sha256}`" if model else "",
        "trained, and no better": f"`{it.candidate}`" if model and it.candidate != model.sha256 else "",
        "data version": f"`{it.data_version}`", "gates": f"`{it.gates}`",
        "signature": ", ".join(filter(None, [signatures.names(signed.envelope) or "unsigned", trusted])),
    }  # fmt: skip
    blocks = [f"# Evidence for {it.pipeline}, release {it.release[:12]}"]
    blocks.append(_table(["", ""], [[name, value] for name, value in about.items() if value.strip("`")]))
    if it.arguments:
        given = [[name, json.dumps(value, ensure_ascii=False)] for name, value in sorted(it.arguments.items())]
        blocks += ["## Arguments of the run", _table(["parameter", "value"], [*given])]
    if it.checks:
        rows = [[row.get(key) for key in ("name", "value", "condition", "limit")] for row in it.checks]
        blocks += ["## Gates, all passed", _table(["gate", "value", "", "limit"], rows)]
    if it.metrics:
        shown = [name for name in verdicts.METRICS if any(name in values for values in it.metrics.values())]
        rows = [[part, *map(values.get, shown)] for part, values in sorted(it.metrics.items())]
        blocks += ["## Metrics", _table(["test set", *shown], rows)]
    return "\n\n".join(blocks) + "\n"


def _foreign(kind: type[NotValidated] | type[BytesDiffer], what: str, url: str) -> MlopsError:
    return kind(what, where=url, do=f"find out who wrote it; {_ANEW}")


def _nothing(result: RunResult, why: str) -> NotValidated:
    return NotValidated(f"run {result.run_name} proves nothing: {why}", where=result.log, do=_ANEW)


def _passed(result: RunResult) -> list[dict[str, Any]]:
    """Every row of every gate, when every step and every gate let the run pass."""
    if result.state != "SUCCEEDED":
        raise _nothing(result, f"it ended as {result.state}")
    for step in result.progress:
        if step.step != "report" and step.state is not State.SUCCEEDED:
            raise _nothing(result, f"{step.step} is {step.state.value}, not succeeded")
        if step.step == "publish_model" and not _facts(result, step.step):
            raise _nothing(result, "publish_model left no record of what it published")
    checks = verdicts.gates(result.records)
    for row in checks:
        if row.get("passed") is not True:
            raise _nothing(result, f"the gate {row.get('name')} did not let it pass")
    return checks


def _require_own(published: Facts, decided: Facts, package: Package, result: RunResult) -> None:
    """The model was let pass by the release's own gates, and made under its contract."""
    lineage = published.get("lineage")
    if not (isinstance(lineage, dict) and published.get("name") and published.get("sha256")):
        raise _nothing(result, "publish_model does not say what it published")
    if decided.get("verdict") not in LETS_PASS:
        raise _nothing(result, f"the verdict is {decided.get('verdict')}")
    if published.get("already_published") is True:
        return  # its lineage is that of the run that made the same bytes first; this run has judged them anew
    for key, wanted, error in (("gates", package.gates, GatesDiffer), ("contract", package.contract, BytesDiffer)):
        if (found := str(lineage.get(key, ""))) != wanted:
            what = f"the {key} of the model that was published is {found[:12]}, the release's is {wanted[:12]}"
            raise error(what, where=result.log, do=f"run the release as it is: {_ANEW}")


def _champion(published: Facts, decided: Facts, result: RunResult, registry: Registry, where: str) -> Model:
    """What serves after the run: the candidate, or the champion that it was judged against."""
    stayed = published if decided["verdict"] == "promote" else decided.get("champion")
    left = str(stayed.get("sha256")) if isinstance(stayed, dict) else "none"
    held = registry.alias(published["name"], CHAMPION)
    if held is None or held.sha256 != left:
        now = f"version {held.version} ({held.sha256[:12]})" if held else "none"
        what = f"run {result.run_name} left {left[:12]} as the champion of {published['name']}, and by now it is {now}"
        raise Failed(what, where=where, do=f"another run, or a rollback, has moved it since; {_ANEW}")
    folder, own = posixpath.split(held.url)
    contents = {file: objects.read_bytes(objects.join(folder, file)) for file in objects.names(folder)}
    files = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    if (found := files.get(own, "nothing")) != held.sha256:
        what = f"the champion's file is {found[:12]}, and {held.sha256[:12]} was registered"
        raise BytesDiffer(what, where=held.url, do=f"put the registered file back; {_ANEW}")
    return Model(
        files=files,
        **{name: getattr(held, name) for name in ("name", "version", "url", "sha256", "metrics", "lineage")},
    )


def _facts(result: RunResult, step: str) -> Facts:
    facts = result.records.get(step, {}).get("facts")
    return facts if isinstance(facts, dict) else {}


def _statement(evidence: Evidence) -> dict[str, Any]:
    hashes = ((evidence.pipeline, evidence.package), ("release", evidence.release))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in hashes],
        "predicateType": "urn:mlops:validation:v1",
        "predicate": asdict(evidence),
    }


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([_shown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: object) -> str:
    """A value as a cell of a table can hold it."""
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", text.replace("|", "\\|")).split())
