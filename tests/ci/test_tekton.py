"""Tekton's pull request speaks words of tox.ini, one after the other in one checkout. Each rule is shown red, too."""

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its types are no part of the lock

from tests.ci.conftest import ROOT, Rule, each_is_one_word, pairs

RUNS = sorted((ROOT / ".tekton").rglob("*.y*ml"))  # Pipelines-as-Code reads subfolders too, and one bad file stops all
TEXT = (ROOT / ".tekton/pull-request.yaml").read_text(encoding="utf-8")
KNOWN = {"REPO_URL", "REVISION", "CREDENTIALS", "HOME", "UV_CACHE_DIR"}  # variables that change no word's meaning
PLACES = ("$(workspaces.source.path)", "$(workspaces.source.path)/checkout")
ASKED = {"on-event": "[pull_request]", "on-target-branch": "[main]", "max-keep-runs": "5", "cancel-in-progress": "true"}


def tasks(text: str) -> list[dict]:
    return yaml.safe_load(text)["spec"]["pipelineSpec"]["tasks"]


def spoken(text: str) -> dict[str, list[str]]:
    """What each task but the first runs, in the order of the file: the first one fetches."""
    return {task["name"]: [step.get("script", "") for step in task["taskSpec"]["steps"]] for task in tasks(text)[1:]}


def pull_requests_are_asked(text: str) -> Iterator[str]:
    annotations = yaml.safe_load(text)["metadata"].get("annotations")
    if annotations != {f"pipelinesascode.tekton.dev/{name}": value for name, value in ASKED.items()}:
        yield f"metadata.annotations are {annotations}"


def a_change_gets_no_token_of_the_cluster(text: str) -> Iterator[str]:
    template = yaml.safe_load(text)["spec"].get("taskRunTemplate", {}).get("podTemplate", {})
    if template.get("automountServiceAccountToken") is not False:
        yield f"the pods are made by {template}, wanted: automountServiceAccountToken: false"


def every_task_speaks_one_word(text: str) -> Iterator[str]:
    yield from each_is_one_word(spoken(text))


def one_task_follows_the_other(text: str) -> Iterator[str]:
    before: list[str] = []
    for task in tasks(text):
        if task.get("runAfter", []) != before or "timeout" not in task:
            yield f"{task['name']} runs after {task.get('runAfter')}, wanted: {before}, and a timeout"
        before = [task["name"]]


def every_step_is_plain(text: str) -> Iterator[str]:
    """It forgives nothing, Tekton and Pipelines-as-Code paste nothing into it, and its image is of one version."""
    for key, value in pairs(tasks(text)):
        forgiving = key == "script" and "|| true" in value  # looked for to be refused: fetch's script is no `make` word
        if forgiving or key in {"onError", "retries", "when", "command", "args"}:
            yield f"`{key}: {value}` is there"
        if key == "script" and re.search(r"\$\(|\{\{", value):
            yield f"`{value}` is put together elsewhere: hand it over by env"
        if key == "env":  # with `MAKEFLAGS: -n`, a word runs nothing
            yield from (f"{one['name']} is set" for one in value if one["name"] not in KNOWN)
        if key == "workingDir" and value not in PLACES:
            yield f"{value} is not where the commit is"
        if key == "image" and not re.search(r":\d+\.\d[\w.-]*$|@sha256:[0-9a-f]{64}$", value):
            yield f"{value} names no version"


def what_is_used_comes_down(text: str) -> Iterator[str]:
    run = yaml.safe_load(text)["spec"]
    for task in tasks(text):
        for kind, name in sorted(set(re.findall(r"\$\((params|workspaces)\.(\w+)", str(task)))):
            holders = [run, run["pipelineSpec"], *([task, task["taskSpec"]] if kind == "workspaces" else [])]
            if not all(name in [given["name"] for given in holder.get(kind, [])] for holder in holders):
                yield f"{task['name']} uses {kind}.{name}, which does not come down to it"
    wanted = run["pipelineSpec"]["params"]
    yield from (f"{it['name']} is not described" for it in wanted if not {"type", "description"} <= it.keys())


def closed(node: object) -> object:
    """The schema, with every field refused that it does not know."""
    if not isinstance(node, dict):
        return node
    known = isinstance(node.get("properties"), dict) and not node.get("x-kubernetes-preserve-unknown-fields")
    return {**({"additionalProperties": False} if known else {}), **{key: closed(value) for key, value in node.items()}}


@cache
def validator(kind: str) -> Draft202012Validator:
    if "CRD_SCHEMAS" not in os.environ:
        pytest.skip("CRD_SCHEMAS names no folder that holds Tekton's CRDs")
    [path] = Path(os.environ["CRD_SCHEMAS"]).glob(f"tekton-pipeline-*-{kind}.yaml")
    versions = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["versions"]
    [schema] = (version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1")
    return Draft202012Validator(closed(schema))


def tekton_knows_every_field(text: str) -> Iterator[str]:
    """To a PipelineRun's CRD anything is a pipelineSpec, and to a Pipeline's a taskSpec: each is held against its own."""
    run = yaml.safe_load(text)
    parts = [("pipelinerun", run), ("pipeline", {"spec": run["spec"]["pipelineSpec"]})]
    for kind, part in parts + [("task", {"spec": task["taskSpec"]}) for task in tasks(text)]:
        yield from (f"{kind} {error.json_path}: {error.message}" for error in validator(kind).iter_errors(part))


WORD = "              script: make test\n"
# rule, what of pull-request.yaml is replaced, and by what, a word of the sentence
CASES: list[tuple[Rule, str, str, str]] = [
    (pull_requests_are_asked, "  annotations:", "annotations:", "None"),
    (pull_requests_are_asked, "[pull_request]", "[push]", "push"),
    (a_change_gets_no_token_of_the_cluster, "Token: false", "Token: true", "True"),
    (a_change_gets_no_token_of_the_cluster, "taskRunTemplate:", "taskRunSpecs:", "made by {}"),
    (every_task_speaks_one_word, "make test", "make tets", "make tets"),
    (every_task_speaks_one_word, "script: make test", 'script: "make test\\nid"', "test\\nid"),
    (every_task_speaks_one_word, WORD, f"{WORD}            - {{name: more, script: make lint}}\n", "make lint"),
    (one_task_follows_the_other, "runAfter: [test]", "runAfter: [fetch]", "wanted: ['test']"),
    (one_task_follows_the_other, "        timeout: 45m\n", "", "test runs after"),
    (every_step_is_plain, WORD, WORD + "              onError: continue\n", "onError"),
    (every_step_is_plain, "        runAfter: [test]\n", "        retries: 2\n", "retries"),
    (every_step_is_plain, WORD, "              args: [make, test]\n", "args"),
    (every_step_is_plain, "make test", "make test || true", "|| true"),  # a bad example, which the rule must refuse
    (every_step_is_plain, '"$REVISION"', "$(params.revision)", "params.revision"),
    (every_step_is_plain, '"$REPO_URL"', "{{ repo_url }}", "repo_url"),
    (every_step_is_plain, "python:3.12", "python:latest", "latest"),
    (
        every_step_is_plain,
        "{name: UV_CACHE_DIR",
        "{name: MAKEFLAGS, value: -n}, {name: UV_CACHE_DIR",
        "MAKEFLAGS is set",
    ),
    (every_step_is_plain, "path)/checkout", "path)/other", "is not where"),
    (what_is_used_comes_down, 'description: "Which', 'default: "Which', "revision is not described"),
    (what_is_used_comes_down, "{name: revision, value", "{name: revison, value", "fetch uses params.revision"),
    (what_is_used_comes_down, "        workspaces: [{name: source}]\n", "", "test uses workspaces.source"),
    (tekton_knows_every_field, "runAfter: [test]", "runsAfter: [test]", "runsAfter"),
    (tekton_knows_every_field, "script: make test", "scripts: make test", "scripts"),
    (tekton_knows_every_field, 'value: "{{ revision }}"', "values: 1", "values"),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, *_ in CASES), ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_a_run_keeps_the_rules(rule: Rule, path: Path) -> None:
    assert list(rule(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(("rule", "good", "bad", "said"), CASES)
def test_a_rule_says_where_it_is_broken(rule: Rule, good: str, bad: str, said: str) -> None:
    assert good in TEXT

    assert said in " ".join(rule(TEXT.replace(good, bad)))


@pytest.mark.parametrize("more", ["", "; touch told", "$(touch told)"])
def test_fetch_checks_out_that_commit_and_obeys_nothing_else(more: str, tmp_path: Path, home: Path) -> None:
    [step] = tasks(TEXT)[0]["taskSpec"]["steps"]
    made = "touch .gitconfig .git-credentials; git init -q origin; cd origin; touch it; git add it; "
    made += "git -c user.name=A -c user.email=a@b.c commit -qm 1; git rev-parse HEAD"
    commit = subprocess.run(["sh", "-c", made], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    given = {"params.repo_url": f"file://{tmp_path}/origin", "params.revision": commit.strip() + more}
    given |= {"workspaces.source.path": str(tmp_path), "workspaces.credentials.path": str(tmp_path)}
    told = {env["name"]: given[env["value"].strip("$()")] for env in step["env"] if env["name"] != "HOME"}

    done = subprocess.run(["sh", "-e", "-c", step["script"]], cwd=tmp_path, env={**os.environ, **told})

    assert [done.returncode == 0, (tmp_path / "checkout/it").exists()] == [not more, not more]
    assert (home / ".git-credentials").exists()
    assert not list(tmp_path.rglob("told"))
