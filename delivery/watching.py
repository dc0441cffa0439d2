"""A run at a KFP API, from its start to its end: shown while it runs, and ended when someone stops it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from delivery.errors import Failed, Interrupted, MlopsError, RunStalled
from delivery.interrupts import sigterm_as_ctrl_c
from delivery.kubeflow import ASK_REMOTE_SECONDS, ENDED, Kubeflow, Run, tasks_of
from delivery.runs import Plan, Progress, Records, RunResult, State, progress
from storage import objects

Watch = Callable[[list[Progress]], None]
STOP_SECONDS = 20.0  # between asking a run to end and not waiting for it any longer


def run_to_end(
    kfp: Kubeflow,
    plan: Plan,
    watch: Watch,
    begun: Callable[[str], None] = lambda _: None,
    *,
    stall_seconds: float | None = None,
    start: Callable[[], str] | None = None,
) -> RunResult:
    """Start it, tell `begun` its id, and `watch` how far it is; on Ctrl-C and SIGTERM it is ended there too.

    `start` says how, or gives the id of a run that goes on already, in place of a new run of the plan's package.
    """
    anew, then = f"`mlops run {plan.pipeline}`", f"`mlops report {plan.run_name}`"
    if start:
        anew, then = "the same command", "the same command takes the run up again"
    with _ended_by_ctrl_c(kfp, plan, f"{anew} starts anew"):
        run_id = start() if start else kfp.submit(plan)
        begun(run_id)
        return _followed(kfp, plan, run_id, watch, stall_seconds, then)


def _followed(
    kfp: Kubeflow, plan: Plan, run_id: str, watch: Watch, stall_seconds: float | None, then: str
) -> RunResult:
    seen = _Seen(plan, run_id)
    remote_store = "://" in plan.store and not plan.store.startswith("file:")  # each look is some requests
    pause = ASK_REMOTE_SECONDS if remote_store else kfp.seconds
    stood, since = None, time.monotonic()
    while (run := _asked(kfp, plan, run_id, then)).get("state") not in ENDED:
        steps = seen.now(run, over=False)
        watch(steps)
        if (stands := seen.stands(run)) != stood:
            stood, since = stands, time.monotonic()
        elif stall_seconds is not None and time.monotonic() - since > stall_seconds:
            run = _given_up(kfp, plan, run_id, steps, stall_seconds)
            break
        time.sleep(pause)
    steps = seen.now(run, over=True)
    watch(steps)
    state = str(run["state"])
    failed = state == "SUCCEEDED" and any(step.state in (State.FAILED, State.LOST) for step in steps)
    return RunResult(
        run_name=plan.run_name,
        run_id=run_id,
        state="FAILED" if failed else state,
        records=seen.records,
        progress=steps,
        report_url=seen.page(),
        log=plan.log,
        printed=_logged(kfp, plan, run),
        error=_error(run),
    )


def _asked(kfp: Kubeflow, plan: Plan, run_id: str, then: str) -> Run:
    """The run as the endpoint has it; one that gives no answer is asked again, as the run goes on without us."""
    try:
        return kfp.patiently(lambda: kfp.run(run_id))
    except Failed as error:
        what = f"{error.what}; run {plan.run_name} may go on there, and is watched no longer"
        raise type(error)(what, where=error.where, do=f"{error.do}; then {then}") from error


def _given_up(kfp: Kubeflow, plan: Plan, run_id: str, steps: list[Progress], stall_seconds: float) -> Run:
    """End a run that stands still, and raise that; or the run as it ended by itself meanwhile."""
    names = ", ".join(step.step for step in steps if step.state is State.RUNNING) or "no step"
    what = f"run {plan.run_name} made no progress for {stall_seconds / 60:g} minutes, with {names} running"
    try:
        run = _end(kfp, run_id)
        if run.get("state") in ENDED - {"CANCELED"}:
            return run
        _logged(kfp, plan, run)
        what += ", and was ended" if run.get("state") in ENDED else "; it was asked to stop, and has not ended yet"
    except MlopsError as error:
        what += f"; it could not be stopped, and goes on there: {error.what}"
    do = f"read that log; `stall_minutes` in environments/{kfp.environment.name}.yaml says how long a run may stand still"
    raise RunStalled(what, where=plan.log, do=do)


class _Seen:
    """What the run has told so far: its records, and of a step without one what the endpoint says of its task."""

    def __init__(self, plan: Plan, run_id: str) -> None:
        self.plan = plan
        self.records: Records = {}
        self.folder = objects.join(plan.store, "runs", run_id)

    def now(self, run: Run, *, over: bool) -> list[Progress]:
        with suppress(objects.StorageError):  # seen late is better than a run lost to one bad answer
            self._read_records()
        return progress(self.plan.graph, tasks_of(run), self.records, over=over)

    def stands(self, run: Run) -> list[Any]:
        """Whatever changes here is progress."""
        tasks = [(task.step, task.state, task.started) for task in tasks_of(run)]
        return [run.get("state"), tasks, {step: record.get("state") for step, record in self.records.items()}]

    def page(self) -> str | None:
        url = objects.join(self.folder, "report.html")
        with suppress(objects.StorageError):
            return url if objects.exists(url) else None
        return None

    def _read_records(self) -> None:
        for name in objects.names(self.folder):
            step, _, kind = name.rpartition(".")
            settled = self.records.get(step, {}).get("state") == "SUCCEEDED"  # a failed one may be tried again
            if kind == "json" and not settled:
                record = objects.read_json(objects.join(self.folder, name))
                if isinstance(record, dict):
                    self.records[step] = record


def _logged(kfp: Kubeflow, plan: Plan, run: Run) -> dict[str, list[str]]:
    """What the steps printed, also written into the run's log; the run's end matters more than a full disk."""
    printed = kfp.printed(run)
    lines = [f"{plan.run_name} ({run['run_id']}): {run.get('state')}", *filter(None, [_error(run)])]
    for step, said in printed.items():
        lines += ["", f"== {step} ==", *said]
    if not printed:
        lines += ["", "The endpoint names no log of any step."]
    with suppress(OSError):
        plan.folder.mkdir(parents=True, exist_ok=True)
        plan.log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return printed


def _error(run: Run) -> str:
    """In the endpoint's words; of a run that someone stopped only its tasks have any."""
    tasks = run.get("run_details", {}).get("task_details", [])
    told = [item["error"].get("message") for item in (run, *tasks) if item.get("error")]
    return str(next(filter(None, told), "")) if run.get("state") != "SUCCEEDED" else ""


@contextmanager
def _ended_by_ctrl_c(kfp: Kubeflow, plan: Plan, starts_anew: str) -> Iterator[None]:
    with sigterm_as_ctrl_c():
        try:
            yield
        except KeyboardInterrupt as error:
            raise _stopped(kfp, plan, starts_anew) from error


def _stopped(kfp: Kubeflow, plan: Plan, starts_anew: str) -> Interrupted:
    """End the run at the endpoint, and say whether it did end; found by its name, as its id may not have come yet."""
    do = f"{starts_anew}; `mlops report {plan.run_name}` shows how far it came"
    try:
        run = kfp.find(plan.run_name)
        if run is None:
            return Interrupted(f"run {plan.run_name} was stopped before it began", where=kfp.where, do=starts_anew)
        run = _end(kfp, run["run_id"])
        _logged(kfp, plan, run)
    except MlopsError as error:
        what = f"run {plan.run_name} could not be stopped, and goes on there: {error.what}"
        return Interrupted(what, where=kfp.where, do=f"stop it there; {do}")
    if run.get("state") not in ENDED:
        what = f"run {plan.run_name} was asked to stop, and has not ended yet"
        return Interrupted(what, where=kfp.where, do=f"look there; {do}")
    ended = ", and all its processes are ended" if kfp.embedded else ""
    return Interrupted(f"run {plan.run_name} was stopped{ended}", where=plan.log, do=do)


def _end(kfp: Kubeflow, run_id: str) -> Run:
    """Ask it to end, and wait for that, but not for ever."""
    kfp.terminate(run_id)
    end = time.monotonic() + STOP_SECONDS
    while (run := kfp.run(run_id)).get("state") not in ENDED and time.monotonic() < end:
        time.sleep(kfp.seconds)
    return run
