"""Where everything stands when a compiled pipeline is drawn, from top to bottom, each group around its own steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

STEP_WIDTH, STEP_HEIGHT, GAP_X, GAP_Y, PAD, LINE, MARGIN = 166.0, 48.0, 20.0, 32.0, 12.0, 18.0, 2.0
LETTER = 7.4  # width of one letter, rather too much than too little
PARAMETER = re.compile(r"inputs\.parameter_values\['(?:pipelinechannel--)?([^']*)'\]")
ITERATION = re.compile(r"(?:^|(?<=/))([^/]+)/\1-iteration-[0-9]+(?=/|$)")
WORST_FIRST = ("FAILED", "RUNNING", "CANCELED", "SUCCEEDED", "SKIPPED")

Place = tuple[str, str, int]  # (task, "", row), or (from, to, row) where a line passes a row
Centres = dict[Place, float]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A step, or a group with its own boxes inside; by the upper left corner."""

    path: str  # the names from the root down to this one, with "/" between
    name: str
    note: str = ""  # what a group does with its steps, in words
    title: str
    group: bool = False
    x: float = 0.0
    y: float = 0.0
    width: float = STEP_WIDTH
    height: float = STEP_HEIGHT

    def short(self, text: str) -> str:
        """What of the text has room in this box: the middle goes, as names differ at their ends."""
        room = int((self.width - 2 * PAD) / LETTER)
        return text if len(text) <= room else text[: room // 2] + "…" + text[len(text) - (room - 1) // 2 :]


@dataclass(frozen=True, kw_only=True)
class Line:
    """From a task to one that waits for it; `always` when that one comes whatever became of the first."""

    source: str
    target: str
    always: bool
    points: list[
        tuple[float, float]
    ]  # straight down from each first one to the second, and bent from there to the next first one

    @property
    def path(self) -> str:
        """As SVG has it."""
        (x, y), *others = self.points
        text = f"M{x:.1f} {y:.1f}"
        for index, (to_x, to_y) in enumerate(others):
            bend = (y + to_y) / 2
            text += (
                f" C{x:.1f} {bend:.1f} {to_x:.1f} {bend:.1f} {to_x:.1f} {to_y:.1f}" if index % 2 else f" V{to_y:.1f}"
            )
            x, y = to_x, to_y
        return text


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A group comes before what is inside it, so that drawing in this order hides nothing."""

    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What became of one box: the worst of its executions, as in a loop there are several."""

    state: str
    task_id: str
    times: int
    started_at: str
    finished_at: str | None


def draw(spec: Mapping[str, Any]) -> Drawing:
    """The drawing of a PipelineSpec: every group is opened, and a line that others already imply is left out."""
    drawn = _draw(spec.get("root", {}), spec.get("components", {}), "", ())
    return replace(_moved(drawn, MARGIN, MARGIN), width=drawn.width + 2 * MARGIN, height=drawn.height + 2 * MARGIN)


def progress(tasks: Iterable[Mapping[str, Any]]) -> dict[str, Progress]:
    """By a box's path, from the rows of a run's tasks; the iterations of a loop are one box."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in tasks:
        path = ITERATION.sub(r"\1", row["path"])
        if path.rpartition("/")[2] == row["name"]:  # else it is itself an iteration
            rows.setdefault(path, []).append(row)
    return {path: _together(found) for path, found in rows.items()}


def _together(rows: list[Mapping[str, Any]]) -> Progress:
    worst = min(rows, key=lambda row: WORST_FIRST.index(row["state"]))
    ends = [row["finished_at"] for row in rows]
    return Progress(
        state=worst["state"],
        task_id=worst["task_id"],
        times=len(rows),
        started_at=min(row["started_at"] for row in rows),
        finished_at=max(ends) if all(ends) else None,
    )


def _draw(component: Mapping[str, Any], components: Mapping[str, Any], above: str, trail: tuple[str, ...]) -> Drawing:
    tasks = dict(sorted(component.get("dag", {}).get("tasks", {}).items(), key=_natural))  # protobuf knows no order
    waits = _needed({name: [other for other in _upstream(task) if other in tasks] for name, task in tasks.items()})
    inside: dict[str, Drawing] = {}
    box: dict[str, Box] = {}
    for name, task in tasks.items():
        kind = task.get("componentRef", {}).get("name", "")
        called = task.get("taskInfo", {}).get("name", "")
        title = name if called in ("", name) else f"{name}: {called}"
        box[name] = Box(path=above + name, name=name, title=title)
        if "dag" in components.get(kind, {}) and kind not in trail:  # a component inside itself would never end
            inside[name] = _draw(components[kind], components, f"{above}{name}/", (*trail, kind))
            box[name] = _around(inside[name], replace(box[name], group=True, note=_note(name, task)))

    rows, chains = _rows(waits)
    size = {place: 0.0 if place[1] else box[place[0]].width for row in rows for place in row}
    centre = _centres(rows, chains, size)
    left = min([centre[place] - size[place] / 2 for place in size], default=0.0)
    right = max([centre[place] + size[place] / 2 for place in size], default=0.0)

    bounds: list[tuple[float, float]] = []  # where each row starts and ends
    for row in rows:
        top = bounds[-1][1] + GAP_Y if bounds else 0.0
        bounds.append((top, top + max([box[place[0]].height for place in row if not place[1]], default=0.0)))
    drawn = Drawing(width=right - left, height=bounds[-1][1] if bounds else 0.0, boxes=[], lines=[])
    for place in (place for row in rows for place in row if not place[1]):
        mine = box[place[0]]
        mine = replace(mine, x=centre[place] - left - mine.width / 2, y=bounds[place[2]][0])
        drawn.boxes.append(mine)
        if inner := inside.get(mine.name):
            moved = _moved(inner, mine.x + (mine.width - inner.width) / 2, mine.y + mine.height - PAD - inner.height)
            drawn.boxes.extend(moved.boxes)
            drawn.lines.extend(moved.lines)
    for chain in chains:
        points = [(centre[place] - left, edge) for place in chain for edge in bounds[place[2]]]
        source, target = chain[0][0], chain[-1][0]
        points[0] = (points[0][0], points[0][1] + box[source].height)
        always = tasks[target].get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
        drawn.lines.append(Line(source=above + source, target=above + target, always=always, points=points[:-1]))
    return drawn


def _natural(task: tuple[str, Any]) -> list[Any]:
    """step-2 before step-10."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split("([0-9]+)", task[0]))]


def _around(inner: Drawing, group: Box) -> Box:
    words = max(len(group.name), min(len(group.note), 22)) * LETTER + 2 * PAD
    head = PAD + LINE * (2 if group.note else 1)
    return replace(group, width=max(inner.width + 2 * PAD, words), height=head + inner.height + PAD)


def _note(name: str, task: Mapping[str, Any]) -> str:
    items = (task.get("parameterIterator") or task.get("artifactIterator") or {}).get("items")
    if items is not None:
        given = items.get("raw") or items.get("inputParameter") or items.get("inputArtifact") or "its items"
        return f"for each of {given.removeprefix('pipelinechannel--')}"
    if condition := task.get("triggerPolicy", {}).get("condition"):
        return "if " + " ".join(PARAMETER.sub(r"\1", condition).split())
    if name.startswith("condition-branches-"):
        return "one of these"
    called: str = task.get("taskInfo", {}).get("name", name)
    return "" if called == name else called


def _upstream(task: Mapping[str, Any]) -> list[str]:
    """Whom a task waits for; the compiler leaves a producer out of `dependentTasks` where `.after()` is used, too."""
    return list(dict.fromkeys([*task.get("dependentTasks", []), *_producers(task.get("inputs", {}).values())]))


def _producers(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping):
            yield from _producers(value.values())
            if isinstance(value.get("producerTask"), str):
                yield value["producerTask"]


def _row_of(waits: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many tasks, at the longest, come before each; in this order a task comes after all that it waits for."""
    row = dict.fromkeys(waits, 0)
    for _ in waits:  # as many rounds as tasks are enough for every graph, and end for a cycle too
        for task, upstream in waits.items():
            row[task] = min(max([row[other] + 1 for other in upstream], default=0), len(waits) - 1)
    return dict(sorted(row.items(), key=lambda item: item[1]))


def _needed(waits: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Without what others imply: who waits for b, which waits for a, need not be seen waiting for a."""
    before: dict[str, set[str]] = {}
    for task in _row_of(waits):
        before[task] = set(waits[task]).union(*(before.get(other, ()) for other in waits[task]))
    return {
        task: [one for one in upstream if not any(one in before[other] for other in upstream if other != one)]
        for task, upstream in waits.items()
    }


def _rows(waits: Mapping[str, Sequence[str]]) -> tuple[list[list[Place]], list[list[Place]]]:
    """The places of each row, and those that each line goes through: never one with a box in it."""
    row = _row_of(waits)
    rows: list[list[Place]] = [[] for _ in range(max(row.values(), default=-1) + 1)]
    for task in waits:
        rows[row[task]].append((task, "", row[task]))
    chains = []
    for task, other in ((task, other) for task, upstream in waits.items() for other in upstream):
        passed = [(other, task, at) for at in range(row[other] + 1, row[task])]
        for place in passed:
            rows[place[2]].append(place)
        chains.append([(other, "", row[other]), *passed, (task, "", row[task])])
    return rows, chains


def _centres(rows: Sequence[list[Place]], chains: Sequence[list[Place]], size: Mapping[Place, float]) -> Centres:
    """Each place near its neighbours above and below, in turn: few lines cross, and most are straight."""
    pairs = [pair for chain in chains for one in pairwise(chain) for pair in (one, one[::-1])]
    centre: Centres = {}
    for row in rows:
        centre.update(_apart(row, size, dict.fromkeys(row, 0.0)))
    for step in (1, -1, 1, -1, 1):
        for at in range(len(rows))[::step]:
            wanted: Centres = {}
            for place in rows[at]:
                near = [centre[other] for mine, other in pairs if mine == place and other[2] == at - step]
                wanted[place] = sum(near) / len(near) if near else centre[place]
            rows[at].sort(key=wanted.__getitem__)
            centre.update(_apart(rows[at], size, wanted))
    return centre


def _apart(row: Sequence[Place], size: Mapping[Place, float], wanted: Mapping[Place, float]) -> Centres:
    """In this order, without touching, and as near to the wanted places as that allows: an isotonic regression."""
    offsets: list[float] = []
    blocks: list[tuple[float, int]] = []  # places that stand side by side: their common shift, and how many they are
    for place in row:
        between = (size[row[len(offsets) - 1]] + size[place]) / 2 + GAP_X if offsets else 0.0
        offsets.append(offsets[-1] + between if offsets else 0.0)
        blocks.append((wanted[place] - offsets[-1], 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, n), (other, m) = blocks.pop(), blocks.pop()
            blocks.append(((one * n + other * m) / (n + m), n + m))
    shifts = [shift for shift, count in blocks for _ in range(count)]
    return {place: offset + shift for place, offset, shift in zip(row, offsets, shifts, strict=True)}


def _moved(drawn: Drawing, by_x: float, by_y: float) -> Drawing:
    boxes = [replace(box, x=box.x + by_x, y=box.y + by_y) for box in drawn.boxes]
    lines = [replace(line, points=[(x + by_x, y + by_y) for x, y in line.points]) for line in drawn.lines]
    return replace(drawn, boxes=boxes, lines=lines)
