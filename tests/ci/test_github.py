"""GitHub's workflows speak words of tox.ini, and what did not succeed does not pass. Each rule is shown red, too."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci.conftest import ROOT, Rule, each_is_one_word, pairs

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
OURS = ("pull-request.yaml", "template.yaml")  # whose form is known whole; others may be added
TEXT = (ROOT / ".github/workflows/pull-request.yaml").read_text(encoding="utf-8")
TRIGGERS = {"pull_request": None, "push": {"branches": ["main"]}}
INPUTS = {"actions/checkout": {"persist-credentials"}, "actions/setup-python": {"python-version"}}
OTHERWISE = ("failure", "cancelled", "skipped")  # how a job ends for GitHub, if not in success


def spoken(text: str) -> dict[str, list[str]]:
    """What each job but the last runs, in the order of the file: the last is the closing one."""
    jobs = list(yaml.safe_load(text)["jobs"].items())[:-1]
    return {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs}


def every_job_speaks_one_word(text: str) -> Iterator[str]:
    yield from each_is_one_word(spoken(text))


def actions_are_pinned(text: str) -> Iterator[str]:
    for key, used in pairs(yaml.safe_load(text)):
        pinned = rf"uses: {re.escape(str(used))} # v\d+(\.\d+)*$"
        if key == "uses" and not (re.search(r"@[0-9a-f]{40}$", used) and re.search(pinned, text, re.MULTILINE)):
            yield f"{used} is not pinned: 40 hexadecimal digits, and the version in a comment"


def the_token_goes_no_further(text: str) -> Iterator[str]:
    top = yaml.safe_load(text)
    if top.get("permissions") != {}:
        yield "permissions at the top are not {}"
    for name, job in top["jobs"].items():
        if job.get("permissions") not in ({}, {"contents": "read"}):
            yield f"{name} has the permissions {job.get('permissions')}"
        for step in job["steps"]:
            checkout = step.get("uses", "").startswith("actions/checkout@")
            if checkout and step.get("with", {}).get("persist-credentials") is not False:
                yield f"{name} leaves the token in the checkout"


def nothing_else_is_set(text: str) -> Iterator[str]:
    """What a word runs under can make it mean nothing: `MAKEFLAGS: -n`, `shell: "true {0}"`, `ref: main`."""
    top = yaml.safe_load(text)
    *_, last = top["jobs"]
    places: list[tuple[str, Any, set[Any]]] = [("the top", top, {"name", True, "permissions", "concurrency", "jobs"})]
    for name, job in top["jobs"].items():
        closing = {"if", "needs", "env"} if name == last else set()
        places.append((name, job, {"runs-on", "timeout-minutes", "permissions", "steps", *closing}))
        for step in job["steps"]:
            kind = step.get("uses", "").partition("@")[0]
            places.append((f"a step of {name}", step, {"uses", "with"} if kind else {"run"}))
            places.append((f"{kind} of {name}", step.get("with", {}), INPUTS.get(kind, set())))
    for where, found, known in places:
        yield from (f"{where} sets `{key}`" for key in found if key not in known)


def nothing_is_forgiven(text: str) -> Iterator[str]:
    top = yaml.safe_load(text)
    conditions = [value for key, value in pairs(top) if key == "if"]
    if conditions != ["always()"] or list(top["jobs"].values())[-1].get("if") != "always()":
        yield f"conditions are {conditions}: only the closing job has one, always()"
    for forgiving in ("continue-on-error", "|| true"):  # looked for to be refused, in comments and in any script
        if forgiving in text:
            yield f"`{forgiving}` is there"


def nothing_is_pasted_into_a_script(text: str) -> Iterator[str]:
    for key, script in pairs(yaml.safe_load(text)):
        if key == "run" and "${{" in str(script):
            yield f"`{script}` is put together by GitHub: hand it over by env"


def every_change_is_asked_in_time(text: str) -> Iterator[str]:
    top = yaml.safe_load(text)
    if top[True] != TRIGGERS:  # to YAML, `on` is a truth
        yield f"runs on {top[True]}, wanted: {TRIGGERS}"
    if "pull_request.number" not in top["concurrency"]["group"] or top["concurrency"]["cancel-in-progress"] is not True:
        yield "an older push to a pull request runs on"
    yield from (f"{name} has no timeout-minutes" for name, job in top["jobs"].items() if "timeout-minutes" not in job)


def only_success_passes(text: str) -> Iterator[str]:
    """Its script is run: with success alone, and with each other outcome first and last."""
    *names, last = yaml.safe_load(text)["jobs"]
    closing = yaml.safe_load(text)["jobs"][last]
    if closing.get("needs") != names:
        yield f"{last} needs {closing.get('needs')}, wanted: {names}"
    if closing["env"] != {"RESULTS": "${{ join(needs.*.result, ' ') }}"}:
        yield f"{last} is told {closing['env']}"
    good = " ".join(["success"] * len(names))
    bad = [good.replace("success", word, 1) for word in OTHERWISE] + [f"{good} {word}" for word in OTHERWISE]
    for results in (good, *bad, "", good.upper(), f"un{good}"):
        script, env = closing["steps"][0]["run"], {"PATH": os.environ["PATH"], "RESULTS": results}
        code = subprocess.run(["bash", "-e", "-c", script], env=env, capture_output=True, timeout=60).returncode
        if (code == 0) != (results == good):
            yield f"{last} ends {code} after `{results}`"


UP, DOWN = "      - run: make test\n", '[[ "$RESULTS" =~ ^success( success)*$ ]]\''
# rule, what of pull-request.yaml is replaced, and by what, a word of the sentence
CASES: list[tuple[Rule, str, str, str]] = [
    (every_job_speaks_one_word, "make test", "make tets", "make tets"),
    (every_job_speaks_one_word, "make test", "pytest", "pytest"),
    (every_job_speaks_one_word, "make test", "make test -k", "-k"),
    (every_job_speaks_one_word, UP, UP * 2, "wanted is one"),
    (every_job_speaks_one_word, UP, "", "test runs []"),
    (actions_are_pinned, "3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1", "@v7.0.1"),
    (actions_are_pinned, "checkout@3d3c42e5", "checkout@3d3c", "40"),
    (actions_are_pinned, " # v7.0.1", "", "comment"),
    (the_token_goes_no_further, "permissions: {}\nc", "permissions: {contents: read}\nc", "top"),
    (the_token_goes_no_further, "permissions: {}\nc", "c", "top"),
    (the_token_goes_no_further, "    permissions: {contents: read}\n", "", "None"),
    (the_token_goes_no_further, "contents: read", "contents: write", "write"),
    (the_token_goes_no_further, "        with: {persist-credentials: false}\n", "", "leaves the token"),
    (nothing_else_is_set, "permissions: {}\nc", "permissions: {}\nenv: {MAKEFLAGS: -n}\nc", "the top sets `env`"),
    (nothing_else_is_set, "    steps:\n", "    env: {MAKEFLAGS: -n}\n    steps:\n", "test sets `env`"),
    (nothing_else_is_set, "    steps:\n", "    defaults: {run: {shell: 'true {0}'}}\n    steps:\n", "sets `defaults`"),
    (nothing_else_is_set, UP, UP + "        shell: 'true {0}'\n", "a step of test sets `shell`"),
    (nothing_else_is_set, "{persist-credentials: false}", "{persist-credentials: false, ref: main}", "sets `ref`"),
    # Bad examples: the rule must refuse each of these three, and none of them is in a workflow
    (nothing_is_forgiven, UP, UP + "        continue-on-error: true\n", "continue-on-error"),  # a red step, passed over
    (nothing_is_forgiven, "make test", "make test || true", "|| true"),  # a red word that ends 0
    (nothing_is_forgiven, UP, UP + "        if: false\n", "False"),  # a step that is never run
    (nothing_is_forgiven, "if: always()", "if: ${{ !cancelled() }}", "cancelled"),
    (nothing_is_pasted_into_a_script, '"$RESULTS" =~', '"${{ needs.test.result }}" =~', "needs.test"),
    (nothing_is_pasted_into_a_script, "make test", "make ${{ github.head_ref }}", "head_ref"),
    (every_change_is_asked_in_time, "  pull_request:", "  pull_request_target:", "target"),
    (every_change_is_asked_in_time, "cancel-in-progress: true", "cancel-in-progress: false", "older"),
    (every_change_is_asked_in_time, "    timeout-minutes: 45\n", "", "test has no"),
    (only_success_passes, "needs: [test, lifecycle]", "needs: [test]", "wanted"),
    (only_success_passes, "needs.*.result", "needs.test.result", "is told"),
    (only_success_passes, DOWN, '[[ "$RESULTS" == *success* ]]\'', "success failure"),
    (only_success_passes, DOWN, '[[ "$RESULTS" != *failure* ]]\'', "skipped success"),
    (only_success_passes, DOWN, '[[ "$RESULTS" =~ ^(success|skipped|\\ )*$ ]]\'', "after ``"),
    (only_success_passes, DOWN, "false'", "ends 1"),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, *_ in CASES), ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", [path for path in WORKFLOWS if path.name in OURS], ids=lambda path: path.name)
def test_a_workflow_keeps_the_rules(rule: Rule, path: Path) -> None:
    assert list(rule(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("rule", [actions_are_pinned, nothing_is_pasted_into_a_script], ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_any_workflow_is_safe(rule: Rule, path: Path) -> None:
    assert list(rule(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(("rule", "good", "bad", "said"), CASES)
def test_a_rule_says_where_it_is_broken(rule: Rule, good: str, bad: str, said: str) -> None:
    assert good in TEXT

    assert said in " ".join(rule(TEXT.replace(good, bad)))


def test_no_two_jobs_share_a_name() -> None:
    """Branch protection knows a check by its job's name, and takes two of one name for one."""
    names = [name for path in WORKFLOWS for name in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]]

    assert sorted(names) == sorted(set(names))
