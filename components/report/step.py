"""The page of a run, made from its records alone: written whatever happened, and saying what did not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Undefined
from markupsafe import Markup

from components.report import charts, words
from components.report.charts import number
from components.report.graph import columns_of, lay_out
from storage import objects

SECTIONS = {
    "verdict": "Verdict",
    "graph": "Graph",
    "gates": "Gates",
    "metrics": "Metrics",
    "confusion": "Confusion matrix",
    "calibration": "Calibration",
    "classes": "Classes",
    "slices": "Slices",
    "history": "Training",
    "data": "Data",
    "lineage": "Lineage",
    "latency": "ONNX and latency",
    "environment": "Environment",
    "card": "Model card",
}
FILTERS = (words.card, words.num, words.seconds, words.share, words.signed, words.size, words.when, number)
SYMBOLS = {"SUCCEEDED": "✓", "FAILED": "✕", "REFUSED": "⊘", "CUT_OFF": "…", "DID_NOT_RUN": "\N{EN DASH}"}


class State(Enum):
    """How one step ended. The value is the word on the page."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"  # it worked, and a gate in it said no
    CUT_OFF = "cut off"  # its record still says RUNNING, and the run is over
    DID_NOT_RUN = "did not run"  # there is no record

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.name]

    @property
    def css(self) -> str:
        return self.value.replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the run, as its record tells it."""

    name: str
    state: State
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    error: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, record: Mapping[str, Any], where: str) -> "Step":
        error = dict(record.get("error") or {})
        said = record.get("state")
        if said == "SUCCEEDED":
            state = State.SUCCEEDED
        elif said == "FAILED":
            state = State.REFUSED if error.get("kind") == "gate" else State.FAILED
        else:
            state = State.CUT_OFF
            error = {
                "what": "it started, and never wrote how it ended",
                "where": where,
                "do": "look at the step's log and at its pod (memory limit, time limit, lost node), then run again",
            }
        return cls(
            name=name,
            state=state,
            started=record.get("started"),
            finished=record.get("finished"),
            seconds=record.get("seconds"),
            error=error,
            facts=dict(record.get("facts") or {}),
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """The page, where it lies, and how the run ended: SUCCEEDED, FAILED, or INCOMPLETE when a step has no record."""

    html: str
    state: str
    url: str


def build_report(store: str, run_id: str, graph: dict[str, list[str]], *, title: str) -> Report:
    """Whatever the records hold, there is a page, and a step's error is the first thing on it."""
    folder = objects.join(store, "runs", run_id)
    steps = read_steps(folder, graph)
    state, headline = judge(steps)
    context = {
        "title": title,
        "run_id": run_id,
        "state": headline,
        "steps": steps,
        "missing": [step.name for step in steps.values() if step.state is State.DID_NOT_RUN],
        "bad": [step for step in steps.values() if step.state in (State.FAILED, State.REFUSED, State.CUT_OFF)],
        "facts": {name: step.facts for name, step in steps.items()},
        "times": times(steps),
        "edges": graph,
    }
    html = render(context)
    url = objects.join(folder, "report.html")
    objects.write_bytes(url, html.encode("utf-8", "replace"))  # a lone surrogate in the data costs one "?", no page
    return Report(html=html, state=state, url=url)


def read_steps(folder: str, graph: Mapping[str, Sequence[str]]) -> dict[str, Step]:
    """All steps as they follow each other, then any other with a record; never the report itself: it is running."""
    steps = {name: Step(name=name, state=State.DID_NOT_RUN) for name in columns_of(graph)}  # KFP sorts the graph's keys
    for file in objects.names(folder):
        name, url = file.removesuffix(".json"), objects.join(folder, file)
        if not file.endswith(".json") or name == "report":
            continue
        try:
            steps[name] = Step.of(name, objects.read_json(url), where=url)
        except Exception as error:  # a torn or foreign file must not cost the page: it becomes an error on it
            said = getattr(error, "what", error)
            unreadable = {"what": f"the record of {name} can't be read: {said}", "where": url, "do": "run again"}
            steps[name] = Step(name=name, state=State.FAILED, error=unreadable)
    return steps


def judge(steps: Mapping[str, Step]) -> tuple[str, State | str]:
    """The state of the whole, for a program and for a reader: one bad step makes it FAILED."""
    seen = {step.state for step in steps.values()}
    for worst in (State.FAILED, State.CUT_OFF, State.REFUSED):
        if worst in seen:
            return "FAILED", worst
    if State.DID_NOT_RUN in seen or not seen:
        return "INCOMPLETE", State.DID_NOT_RUN
    return "SUCCEEDED", State.SUCCEEDED


def times(steps: Mapping[str, Step]) -> dict[str, Any]:
    """From the first start to the last end."""
    starts = [moment for step in steps.values() if (moment := words.parse_time(step.started))]
    ends = [moment for step in steps.values() if (moment := words.parse_time(step.finished))]
    started, finished = min(starts, default=None), max(ends, default=None)
    seconds = (finished - started).total_seconds() if started and finished else None
    return {"started": started, "finished": finished, "seconds": seconds}


def gates(steps: Mapping[str, Step]) -> list[dict[str, Any]]:
    """Every gate that a step wrote down, those that refused first."""
    rows = [{**gate, "step": step.name} for step in steps.values() for gate in step.facts.get("gates") or []]
    return sorted(rows, key=lambda gate: gate.get("passed") is True)


def confusions(matrix: Sequence[Sequence[Any]], classes: Sequence[str], most: int = 10) -> list[dict[str, Any]]:
    """The wrong answers given most often."""
    share = charts.shares(matrix)
    wrong = [
        {"truth": classes[i], "predicted": classes[j], "rows": matrix[i][j], "share": float(share[i, j])}
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and number(count) > 0
    ]
    return sorted(wrong, key=lambda one: -number(one["rows"]))[:most]


def render(context: Mapping[str, Any]) -> str:
    """Each section by itself, so that one with odd facts says so and the others stand."""
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=ChainableUndefined,  # every fact may be missing
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update({filter_.__name__: _or_none(filter_) for filter_ in FILTERS})
    page.globals.update(charts=charts, confusions=confusions, gate_rows=gates, lay_out=lay_out, State=State)
    module = page.get_template("sections.html.j2").make_module(dict(context))
    sections = []
    for name, heading in SECTIONS.items():
        try:
            body = getattr(module, name)()
        except Exception as error:  # the page is wanted most when something is odd
            said = "This section can't be drawn from the facts of the run"
            body = Markup('<p class="absent">{}: {}: {}</p>').format(said, type(error).__name__, error)
        sections.append({"id": name, "heading": heading, "body": body})
    return page.get_template("page.html.j2").render(context, sections=sections)


def _or_none(filter_: Callable[[object], Any]) -> Callable[[object], Any]:
    """A missing fact reaches a filter as None, so that only templates know Jinja's Undefined."""
    return lambda value: filter_(None if isinstance(value, Undefined) else value)
