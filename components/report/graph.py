"""Where the boxes and lines of a pipeline's graph stand when it is drawn from left to right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 116.0, 62.0, 30.0, 26.0, 4.0
LETTER = 7.3  # width of one letter of a step's name
Place = tuple[str, str, int]  # (step, "", column), or (from, to, column) where a line passes a column


@dataclass(frozen=True, kw_only=True)
class Box:
    """One step, by the upper left corner of its box."""

    step: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A line from a step to one that waits for it, as an SVG path."""

    source: str
    target: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """All boxes have one size, and none touches another."""

    width: float
    height: float
    box_width: float
    box_height: float
    boxes: list[Box]
    edges: list[Edge]


def columns_of(graph: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many steps, at the longest, come before each; in this order a step comes after all that it waits for."""
    column = dict.fromkeys(graph, 0)
    for _ in graph:  # as many rounds as steps are enough for every graph, and end for a cycle too
        for step, waits in graph.items():
            column[step] = min(max([column.get(other, -1) + 1 for other in waits], default=0), len(graph) - 1)
    return dict(sorted(column.items(), key=lambda item: item[1]))


def lay_out(graph: Mapping[str, Sequence[str]]) -> Drawing:
    """A step stands right of everything that it waits for, and no line runs behind a box."""
    waits = {step: [other for other in upstream if other in graph] for step, upstream in graph.items()}
    column = columns_of(waits)
    chains: dict[tuple[str, str], list[Place]] = {}
    columns: list[list[Place]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for step in waits:
        columns[column[step]].append((step, "", column[step]))
    for step, upstream in waits.items():
        for other in upstream:
            passed = [(other, step, at) for at in range(column[other] + 1, column[step])]
            for place in passed:
                columns[place[2]].append(place)
            chains[other, step] = [(other, "", column[other]), *passed, (step, "", column[step])]
    _untangle(columns, [link for chain in chains.values() for link in pairwise(chain)])

    width = max([BOX_WIDTH, *(len(step) * LETTER + 18 for step in waits)])
    tallest = max((len(places) for places in columns), default=0)
    corner: dict[Place, tuple[float, float]] = {}
    for at, places in enumerate(columns):
        for row, place in enumerate(places):
            centred = row + (tallest - len(places)) / 2
            corner[place] = (MARGIN + at * (width + GAP_X), MARGIN + centred * (BOX_HEIGHT + GAP_Y))
    boxes = [Box(step=step, x=corner[step, "", at][0], y=corner[step, "", at][1]) for step, at in column.items()]
    edges = [
        Edge(source=source, target=target, path=_path([corner[place] for place in chain], width))
        for (source, target), chain in chains.items()
    ]
    return Drawing(
        width=max(0.0, len(columns) * (width + GAP_X) - GAP_X) + 2 * MARGIN,
        height=max(0.0, tallest * (BOX_HEIGHT + GAP_Y) - GAP_Y) + 2 * MARGIN,
        box_width=width,
        box_height=BOX_HEIGHT,
        boxes=boxes,
        edges=edges,
    )


def _untangle(columns: list[list[Place]], links: list[tuple[Place, Place]]) -> None:
    """Move each place towards the middle of its neighbours, right and left in turn: fewer lines cross."""
    for step in (1, -1, 1, -1):
        order = range(1, len(columns)) if step > 0 else range(len(columns) - 2, -1, -1)
        for at in order:
            beside = columns[at - step]
            height = {place: row - (len(beside) - 1) / 2 for row, place in enumerate(beside)}
            wanted: dict[Place, float] = {}
            for row, place in enumerate(columns[at]):
                pairs = [pair[::step] for pair in links]
                near = [height[other] for other, mine in pairs if mine == place and other in height]
                wanted[place] = sum(near) / len(near) if near else row - (len(columns[at]) - 1) / 2
            columns[at].sort(key=wanted.__getitem__)


def _path(corners: Sequence[tuple[float, float]], width: float) -> str:
    (x, y), *others = corners
    text = f"M{x + width:.1f} {y + BOX_HEIGHT / 2:.1f}"
    for index, (to_x, to_y) in enumerate(others, start=1):
        middle, end = (x + width + to_x) / 2, to_y + BOX_HEIGHT / 2
        text += f" C{middle:.1f} {y + BOX_HEIGHT / 2:.1f} {middle:.1f} {end:.1f} {to_x:.1f} {end:.1f}"
        if index < len(others):  # a line that passes a column stays level there
            text += f" H{to_x + width:.1f}"
        x, y = to_x, to_y
    return text
