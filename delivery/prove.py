"""A released package, run in an environment and judged by its gates; what proves it stands beside the release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console

from delivery import evidence as evidences
from delivery import parameters, running, verdicts
from delivery.compile import graph_of, read_spec
from delivery.environments import Environment
from delivery.errors import GateRefused, WrongUse, meant
from delivery.evidence import Evidence, Signed
from delivery.kubeflow import ENDED, Kubeflow, Version
from delivery.ledger import pipelines_in
from delivery.progress import plain
from delivery.release import Release
from delivery.runs import Plan
from delivery.secrets import read as read_secret
from delivery.settling import version_name
from delivery.signatures import signer
from delivery.uploading import upload
from storage.registry import open_registry


def arguments_of(
    release: Release, environment: Environment, pipeline: str, given: Sequence[str] = ()
) -> dict[str, Any]:
    """What the environment gives a released package to run with; the commit is the release's, whatever is checked out."""
    values = parameters.arguments(read_spec(release.package(pipeline)), environment, pipeline, given)
    commit = f"{release.commit}-dirty" if release.dirty else release.commit
    values = {name: commit if name == "git_commit" else value for name, value in values.items()}
    try:
        same = bool(json.loads(json.dumps(values, allow_nan=False)) == values)
    except (TypeError, ValueError):
        same = False
    if not same:  # YAML has dates, and numbers as keys
        where = f"environments/{environment.name}.yaml, parameters.{pipeline}"
        do = "write dates and keys as text, in quotes, and no NaN or infinity"
        raise WrongUse("a parameter is something that JSON, and so the KFP API, cannot hold", where=where, do=do)
    return values


def pipeline_of(environment: Environment, pipeline: str | None) -> str:
    """The one that is named, else the environment's default."""
    if name := pipeline or environment.default_pipeline:
        return name
    where = f"environments/{environment.name}.yaml"
    raise WrongUse("no pipeline is named, and there is no default", where=where, do="name it: `--pipeline NAME`")


def known_pipeline(environment: Environment, pipeline: str | None) -> str:
    """The same; where something is current, it must be one of which anything ever was."""
    name, known = pipeline_of(environment, pipeline), pipelines_in(environment.store)
    if known and name not in known:
        raise WrongUse(f"no `{name}` was ever put into {environment.name}", where="--pipeline", do=meant(name, known))
    return name


def proved(environment: Environment, release: Release, pipeline: str) -> Signed | None:
    """The newest evidence that this environment gave."""
    given = evidences.for_release(environment.store, release.id, pipeline)
    return next((one for one in reversed(given) if one.evidence.environment == environment.name), None)


def prove(
    environment: Environment,
    kfp: Kubeflow,
    release: Release,
    pipeline: str,
    arguments: dict[str, Any],
    talk: Console,
    *,
    name: str = "",
    again: bool = False,
) -> Signed:
    """Run it, or take up the run that was begun, and write the evidence; a run that ended badly is tried anew.

    The run is called like the version, or `name`, and numbered: by that a repeat finds it.
    """
    key = environment.signing_key  # read first: nothing is trained that could not be signed afterwards
    sign = signer(read_secret(key, environment.root), f"{environment.name}: signing_key") if key else None
    content = release.package(pipeline)
    version = upload(kfp, pipeline, version_name(pipeline, release), content)
    while True:
        run_name, begun = _attempt(kfp, name or version.name, version, arguments, again=again)
        for given in evidences.for_release(environment.store, release.id, pipeline) if begun else []:
            if given.evidence.run_id == begun:
                return given  # what it proved then stays proved, whatever is the champion by now
        plan = Plan(
            run_name=run_name,
            pipeline=pipeline,
            package=content,
            arguments=arguments,
            graph=graph_of(read_spec(content)),
            store=arguments.get("store", environment.store),
            folder=environment.logs / run_name,
        )
        start = partial(str, begun) if begun else partial(kfp.start, version, pipeline, run_name, arguments)
        result = running.watched(kfp, plan, talk, start=start, stall_seconds=environment.stall_minutes * 60)
        for what, where in verdicts.places(result, environment).items():
            plain(talk, f"{what}: {where}")
        failed = verdicts.failure(result)
        if failed is None:
            break
        if not begun or isinstance(failed, GateRefused):
            raise failed
        # It may have died with the server or the machine of whoever began it: this command has not had its own try.
        plain(talk, f"the run that was going on ended badly ({failed.what}): once more")
        again = True
    for sentence in verdicts.sentences(result.records):
        plain(talk, sentence)
    registry = open_registry(environment.registry)
    evidence: Evidence = evidences.gathered(release, pipeline, environment, result, registry, arguments)
    file = evidences.write(evidence, environment.store, sign)
    return evidences.read(environment.store, release.id, file)


def _attempt(
    kfp: Kubeflow, name: str, version: Version, arguments: Mapping[str, Any], *, again: bool
) -> tuple[str, str]:
    """The name of the run to be, and its id when it was begun already: of this very version, with these very arguments."""
    number = 1
    while found := kfp.runs_named(f"{name}-{number}"):
        for run in found:
            of = run.get("pipeline_version_reference", {}).get("pipeline_version_id")
            own = (of, run.get("runtime_config", {}).get("parameters", {})) == (version.version_id, arguments)
            if own and (run.get("state") not in ENDED or (run.get("state") == "SUCCEEDED" and not again)):
                return f"{name}-{number}", str(run["run_id"])
        number += 1
    return f"{name}-{number}", ""
