"""A run at a KFP API, from its start to its end: shown while it runs, and ended when someone stops it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from delivery.errors import Failed, Interrupted, MlopsError, NoAnswer
from delivery.kubeflow import ASK_REMOTE_SECONDS, ENDED, Kubeflow, Run, tasks_of
from delivery.runs import Plan, Progress, Records, RunResult, State, progress
from storage import objects

Watch = Callable[[list[Progress]], None]
PATIENCE_SECONDS = 120.0  # with an endpoint that gives no answer while a run is watched
STOP_SECONDS = 20.0  # between asking a run to end and not waiting for it any longer


def run_to_end(kfp: Kubeflow, plan: Plan, watch: Watch, begun: Callable[[str], None] = lambda _: None) -> RunResult:
    """Start it, tell `begun` its id, and `watch` how far it is; on Ctrl-C and SIGTERM it is ended there too."""
    with _sigterm_as_ctrl_c():
        try:
            run_id = kfp.submit(plan)
            begun(run_id)
            return _followed(kfp, plan, run_id, watch)
        except KeyboardInterrupt as error:
            raise _stopped(kfp, plan) from error


def _followed(kfp: Kubeflow, plan: Plan, run_id: str, watch: Watch) -> RunResult:
    seen = _Seen(plan, run_id)
    remote_store = "://" in plan.store and not plan.store.startswith("file:")  # each look is some requests
    pause = ASK_REMOTE_SECONDS if remote_store else kfp.seconds
    while (run := _asked(kfp, plan, run_id)).get("state") not in ENDED:
        watch(seen.now(run, over=False))
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


def _asked(kfp: Kubeflow, plan: Plan, run_id: str) -> Run:
    """The run as the endpoint has it; one that gives no answer is asked again, as the run goes on without us."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return kfp.run(run_id)
        except Failed as error:
            if not isinstance(error, NoAnswer) or time.monotonic() > end:
                what = f"{error.what}; run {plan.run_name} may go on there, and is watched no longer"
                do = f"{error.do}; then `mlops report {plan.run_name}`"
                raise Failed(what, where=error.where, do=do) from error
            time.sleep(kfp.seconds)


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
    return str(run.get("error", {}).get("message", ""))


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()  # elsewhere Python allows no handlers
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _stopped(kfp: Kubeflow, plan: Plan) -> Interrupted:
    """End the run at the endpoint, and say whether it did end; found by its name, as its id may not have come yet."""
    starts_anew = f"`mlops run {plan.pipeline}` starts anew"
    do = f"{starts_anew}; `mlops report {plan.run_name}` shows how far it came"
    try:
        run = kfp.find(plan.run_name)
        if run is None:
            return Interrupted(f"run {plan.run_name} was stopped before it began", where=kfp.where, do=starts_anew)
        kfp.terminate(run["run_id"])
        end = time.monotonic() + STOP_SECONDS
        while (run := kfp.run(run["run_id"])).get("state") not in ENDED and time.monotonic() < end:
            time.sleep(kfp.seconds)
        _logged(kfp, plan, run)
    except MlopsError as error:
        what = f"run {plan.run_name} could not be stopped, and goes on there: {error.what}"
        return Interrupted(what, where=kfp.where, do=f"stop it there; {do}")
    if run.get("state") not in ENDED:
        what = f"run {plan.run_name} was asked to stop, and has not ended yet"
        return Interrupted(what, where=kfp.where, do=f"look there; {do}")
    ended = ", and all its processes are ended" if kfp.embedded else ""
    return Interrupted(f"run {plan.run_name} was stopped{ended}", where=plan.log, do=do)
