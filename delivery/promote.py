"""`mlops promote` in full: the bytes and the model that one environment proved are put to work in another.

Whatever can refuse is asked before anything is written. Then the ledger is begun, which only one can do; everything after that can
be repeated until the entry is done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from delivery import evidence as evidences
from delivery import git, signatures
from delivery import release as releases
from delivery.compile import read_spec
from delivery.deploy import model_of, settings
from delivery.environments import Environment
from delivery.errors import BytesDiffer, DirtyTree, GatesDiffer, MlopsError, NotValidated, WrongCommit, WrongUse
from delivery.evidence import Signed
from delivery.kubeflow import connected
from delivery.ledger import Entry, Ledger
from delivery.pin import gates_of
from delivery.prove import arguments_of, known_pipeline, pipeline_of
from delivery.release import Release
from delivery.settling import (
    Change,
    check_model,
    copy_model,
    keep_up,
    model_folder,
    put_to_work,
    require_not_taken_back,
    require_runnable,
)
from storage import objects


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What may be promoted: a release and what proves it."""

    release: Release
    signed: Signed
    version: str


def promote(
    version: str,
    source: Environment,
    target: Environment,
    pipeline: str | None,
    *,
    by: str,
    why: str = "",
    release_id: str = "",
    again: bool = False,
) -> Change:
    """Afterwards the version, a tag or a release, is current in `target`, with the model that `source` proved with it.

    What was taken back there last comes back `again` only.
    """
    _require_apart(source, target)
    pipeline = pipeline_of(target, pipeline or source.default_pipeline)
    ledger = Ledger(target.store, pipeline)
    seen, current, before = ledger.newest(), ledger.current(), [entry for entry in ledger.entries() if entry.done]
    bound = {entry.version: entry.release for entry in before if entry.version}
    candidate = find(version, source, pipeline, release_id, bound.get(version, ""))
    release, evidence = candidate.release, candidate.signed.evidence
    _check(candidate, source, target, pipeline)
    require_runnable(release, target)
    _require_same_release(candidate, before, target)
    if not again:
        require_not_taken_back(Ledger(source.store, pipeline), release, source)
        require_not_taken_back(ledger, release, target)
    state = {
        "release": release.id,
        "version": candidate.version,
        "evidence": candidate.signed.file,
        "model": model_of(evidence),
        **settings(target, pipeline, arguments_of(release, target, pipeline)),
    }
    known = ("release", "version", "evidence")
    repeated = any(all(entry.state[key] == state[key] for key in known) for entry in before)
    if repeated and current and current.verb == "trigger" and current.release == release.id:
        # It was trained again there since, and that stays.
        state = {**current.state, **settings(target, pipeline, state["arguments"])}
    with connected(target, releases.unpacked(release, target.root)) as kfp:
        if current and current.state == state and ledger.unfinished() is None:
            _bring(candidate, source, target)
            return keep_up(target, kfp, current, release)
        entry = ledger.begin(verb="promote", by=by, why=why, state=state, run_id=evidence.run_id, after=seen)
        _bring(candidate, source, target)
        return put_to_work(target, kfp, ledger, entry, release)


def _bring(candidate: Candidate, source: Environment, target: Environment) -> None:
    """Release, evidence and model, byte for byte; what is there already stays."""
    release, signed = releases.copy(candidate.release, target.store), candidate.signed
    objects.write_once(evidences.url_of(target.store, release.id, signed.file), signed.content)
    if signed.evidence.model:
        copy_model(signed.evidence.model, source.store, target.store)


def find(version: str, source: Environment, pipeline: str, release_id: str = "", bound: str = "") -> Candidate:
    """What `source` proved under that tag, or as that release; the newest evidence, where there are several.

    A commit may have been built twice, with another image: then the release that is `bound` to the version goes before a newer one.
    """
    commit, pipeline = git.commit_of(source.root, version), known_pipeline(source, pipeline)
    proved = [entry for entry in reversed(Ledger(source.store, pipeline).entries()) if entry.done and entry.evidence]
    if release_id and not re.fullmatch(r"[0-9a-f]{6,64}", release_id):
        do = "6 or more of its hexadecimal digits, as `mlops release` printed them"
        raise WrongUse(f"`{release_id}` is no release", where="--release", do=do)
    if commit is None:
        if not re.fullmatch(r"[0-9a-f]{6,64}", version):
            do = f"`git tag {version}` on the commit that was released, or `git fetch --tags`; or name the release by its id"
            raise WrongUse(f"there is no tag `{version}`, and no release is called so", where=source.root, do=do)
        bound = releases.find(version, source).id  # an unknown name is told the known ones
        release_id = release_id or bound
    for entry in sorted(proved, key=lambda entry: entry.release != bound):
        if not entry.release.startswith(release_id):
            continue
        try:
            release = releases.in_store(source.store, entry.release)
        except WrongUse:  # somebody has deleted an old one: another may be meant
            continue
        if commit in (None, release.commit):
            signed = evidences.read(source.store, release.id, entry.evidence)
            return Candidate(release=release, signed=signed, version=version if commit else "")
        if release_id and commit:
            what = f"tag {version} is commit {commit[:12]}, and release {release.short} was built from {release.commit[:12]}"
            raise WrongCommit(what, where=release.url, do="name the tag of that commit, or the release of this one")
    raise _not_validated(version, commit, source, pipeline, proved)


def _not_validated(
    version: str, commit: str | None, source: Environment, pipeline: str, proved: list[Entry]
) -> MlopsError:
    said = f"tag {version} (commit {commit[:12]})" if commit else f"release {version}"
    what = f"{said} may not be promoted: {source.name} has no evidence of a run of {pipeline} that passed its gates"
    if proved:
        what += f"; what it proved last is release {proved[0].release[:12]}"
    do = f"build the release of that commit and `mlops deploy RELEASE --env {source.name}`, then promote again"
    return NotValidated(what, where=f"environment {source.name}, {source.store}", do=do)


def _check(candidate: Candidate, source: Environment, target: Environment, pipeline: str) -> None:
    """The release, the evidence and the model are whole, belong to each other, and are signed where that is wanted."""
    release, signed, evidence = candidate.release, candidate.signed, candidate.signed.evidence
    release.verify()
    if release.dirty:
        what = f"release {release.short} was built from a tree that no commit holds"
        raise DirtyTree(what, where=release.url, do="commit, build the release, deploy it, then promote that")
    if target.require_signature:
        signatures.require(signed.envelope, signatures.trusted(target.trusted_paths), signed.url)
    package = release.packages[pipeline]
    if (evidence.environment, evidence.namespace) != (source.name, source.namespace):
        what = f"the evidence was given by the environment {evidence.environment} {evidence.namespace}".rstrip()
        what += f", not by {source.name} {source.namespace}".rstrip()
        raise NotValidated(
            what, where=signed.url, do=f"promote it from where it was proved: --from {evidence.environment}"
        )
    if (evidence.commit, evidence.image) != (release.commit, release.image):
        what = f"the evidence is of commit {evidence.commit[:12]} in {evidence.image}, "
        what += f"the release of {release.commit[:12]} in {release.image}"
        raise WrongCommit(what, where=signed.url, do=f"`mlops deploy {release.short} --env {source.name} --again`")
    if evidence.package != package.sha256:
        what = f"the package that was validated is {evidence.package[:12]}, the release holds {package.sha256[:12]}"
        raise BytesDiffer(what, where=signed.url, do=f"`mlops deploy {release.short} --env {source.name} --again`")
    gates = {evidence.gates, package.gates, gates_of(read_spec(release.package(pipeline)))}
    if len(gates) > 1:
        what = f"the gates of release {release.short} are not those that it was validated with"
        do = "gates are changed by a commit: build its release, deploy it, then promote that"
        raise GatesDiffer(what, where=signed.url, do=do)
    if evidence.model:
        check_model(evidence.model, model_folder(source.store, evidence.model))


def _require_apart(source: Environment, target: Environment) -> None:
    same = [
        what for what in ("store", "registry") if getattr(source, what).rstrip("/") == getattr(target, what).rstrip("/")
    ]
    if same:
        what = f"{source.name} and {target.name} have the same {' and the same '.join(same)}"
        where = f"environments/{target.name}.yaml"
        raise WrongUse(what, where=where, do="give each environment its own, or name two that have")


def _require_same_release(candidate: Candidate, before: list[Entry], target: Environment) -> None:
    """A version, once it was put to work, names that release for ever."""
    for entry in before:
        if candidate.version and entry.version == candidate.version and entry.release != candidate.release.id:
            what = (
                f"{candidate.version} is release {entry.release[:12]} in {target.name} since {entry.at} ({entry.by}); "
                f"the tag names release {candidate.release.short} by now"
            )
            raise WrongCommit(what, where=target.store, do="take a new tag: a version never changes")
