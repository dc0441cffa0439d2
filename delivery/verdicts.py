"""What came out of a run, from its records: gates, metrics, verdict, where to look, and the error if there was one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from delivery.environments import Environment
from delivery.errors import GateRefused, MlopsError, RunCanceled, RunFailed
from delivery.progress import plain
from delivery.running import path_or_url
from delivery.runs import Progress, Records, RunResult, State

METRICS = ("rows", "top_1", "top_5", "macro_f1", "log_loss", "calibration_error")


def failure(result: RunResult) -> MlopsError | None:
    """Why the run failed, by the step that failed first; None when it did not fail."""
    if result.state == "SUCCEEDED":
        return None
    if result.state == "CANCELED":
        return _canceled(result)
    failed = [name for name, record in result.records.items() if record.get("state") == "FAILED"]
    if failed:
        first = min(failed, key=lambda name: result.records[name].get("finished") or "")
        return _told_by(first, result)
    ended = [step for step in result.progress if step.state in (State.FAILED, State.LOST)]
    return _untold(ended[0] if ended else None, result)


def gates(records: Records) -> list[dict[str, Any]]:
    """Every gate that was judged, in the order in which the steps began."""
    rows = [row for _, facts in _facts(records) for row in facts.get("gates") or []]
    return [row for row in rows if isinstance(row, dict)]


def metrics(records: Records) -> dict[str, dict[str, Any]]:
    """Test set -> metric -> value, of the candidate."""
    found: dict[str, dict[str, Any]] = {}
    for _, facts in _facts(records):
        found.update({name: values for name, values in (facts.get("sets") or {}).items() if isinstance(values, dict)})
    return found


def sentences(records: Records) -> list[str]:
    """The verdict on the candidate and its reasons, then what was published."""
    said: list[str] = []
    for _, facts in _facts(records):
        if "verdict" in facts:
            said += [f"verdict: {facts['verdict']}", *(str(reason) for reason in facts.get("reasons") or [])]
        if "aliases" in facts and "version" in facts:
            known = " (it was published before; nothing changed)" if facts.get("already_published") else ""
            aliases = ", ".join(facts["aliases"]) or "no alias"
            said.append(f"published: {facts.get('name', 'model')} version {facts['version']}, {aliases}{known}")
    return said


def show(result: RunResult, environment: Environment, console: Console) -> None:
    """The verdicts as tables, and where to look."""
    judged, measured = gates(result.records), metrics(result.records)
    if judged:
        console.print(_gate_table(judged))
    if measured:
        console.print(_metric_table(measured))
    for sentence in sentences(result.records):
        plain(console, sentence)
    for what, where in places(result, environment).items():
        plain(console, f"{what}: {where}")


def places(result: RunResult, environment: Environment) -> dict[str, str]:
    """Where to look; a file by its path, anything else by its URL."""
    published = [facts["url"] for _, facts in _facts(result.records) if "aliases" in facts and "url" in facts]
    return {
        **({"page": path_or_url(result.report_url)} if result.report_url else {}),
        **({"model": path_or_url(str(published[0]))} if published else {}),
        "log": str(result.log),
        "registry": environment.registry,
    }


def as_json(result: RunResult, environment: Environment) -> dict[str, Any]:
    """The same for a script; numbers are not rounded."""
    error = failure(result)
    steps = [{"step": step.step, "state": step.state.value, "seconds": step.seconds} for step in result.progress]
    return {
        "run_id": result.run_id,
        "run_name": result.run_name,
        "state": result.state,
        "environment": environment.name,
        "steps": steps,
        "gates": gates(result.records),
        "metrics": metrics(result.records),
        "verdict": sentences(result.records),
        "places": places(result, environment),
        "error": {"what": error.what, "where": error.where, "do": error.do} if error else None,
    }


def _canceled(result: RunResult) -> RunCanceled:
    """Someone stopped it: a step that was killed writes no record of that, so the last that it printed is quoted."""
    what = f"run {result.run_name} was stopped at the endpoint"
    ended = [step for state in (State.LOST, State.FAILED) for step in result.progress if step.state is state]
    if ended:
        told = ended[0].told if ended[0].state is State.FAILED else ""
        said = told or _last_words(result.printed.get(ended[0].step, [])) or result.error or "it printed nothing"
        what = f"{what} while {ended[0].step} was running: {said}"
    do = f"`mlops report {result.run_name}` shows how far it came; the same command starts anew"
    return RunCanceled(what, where=result.log, do=do)


def _last_words(printed: list[str]) -> str:
    """The last line of the step's own: before these, KFP prints what it was given, as JSON."""
    is_given = "}" in printed and printed[0].startswith("[KFP Executor ")
    own = printed[printed.index("}") + 1 :] if is_given else printed
    return own[-1].strip() if own else ""


def _told_by(step: str, result: RunResult) -> MlopsError:
    error = result.records[step].get("error") or {}
    what, do = str(error.get("what") or "it failed without a word"), str(error.get("do") or "")
    kind = GateRefused if error.get("kind") == "gate" else RunFailed
    if do:
        return kind(f"{step}: {what}", where=error.get("where") or step, do=do)
    last = (str(error.get("traceback") or "").strip().splitlines() or [what])[-1].strip()
    return kind(f"{step}: {last}", where=result.log, do="the traceback stands in that log")


def _untold(step: Progress | None, result: RunResult) -> MlopsError:
    """A run that failed without a record of it: what the step printed is all there is, or what the endpoint says."""
    name = step.step if step else ""
    section = result.printed.get(name, [])
    said = _last_words(section) or result.error or "nothing was printed"
    if len(section) > 2 and said.startswith("to do: ") and section[-2].strip().startswith("where: "):
        # a step that could not even write its record: its error has our three lines, after the name of its class
        what = section[-3].strip().partition(": ")[2]
        where, do = (line.strip().partition(": ")[2] for line in section[-2:])
        return RunFailed(f"{name or 'the run'}: {what}", where=where, do=do)
    if step and step.state is State.LOST:
        what = f"{name} ended without writing a result (killed, or out of memory); the log's last line: {said}"
        return RunFailed(what, where=result.log, do="read that log; `mlops doctor` shows this machine's memory")
    return RunFailed(f"{name or 'the run'} failed: {said}", where=result.log, do="the traceback stands in that log")


def _facts(records: Records) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, record in sorted(records.items(), key=lambda item: str(item[1].get("started"))):
        facts = record.get("facts")
        if isinstance(facts, dict):
            yield name, facts


def _gate_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Gates", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, side in (("gate", "left"), ("value", "right"), ("must be", "left"), ("", "left")):
        table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        passed = row.get("passed") is True
        word = Text("passed", style="green") if passed else Text("refused", style="bold red")
        table.add_row(Text(str(row.get("name"))), _number(row.get("value")), _condition(row), word)
    return table


def _metric_table(sets: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Metrics", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown = [name for name in METRICS if any(name in values for values in sets.values())]
    table.add_column("test set")
    for name in shown:
        table.add_column(name, justify="right")
    for name, values in sets.items():
        table.add_row(Text(name), *(_number(values.get(metric)) for metric in shown))
    return table


def _condition(row: dict[str, Any]) -> Text:
    return Text(f"{row.get('condition', '')} {_number(row.get('limit'))}".strip())


def _number(value: object) -> Text:
    if isinstance(value, float):
        return Text(f"{value:.0f}" if value.is_integer() else f"{value:.4g}")
    return Text("-" if value is None else str(value))
