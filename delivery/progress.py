"""The steps of a run while it runs: a table that changes in a terminal, one plain line an event anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from delivery.runs import Progress, State

STYLES = {
    State.WAITING: "dim",
    State.RUNNING: "cyan",
    State.SUCCEEDED: "green",
    State.FAILED: "bold red",
    State.LOST: "bold red",
}
Watch = Callable[[list[Progress]], None]


@contextmanager
def shown(console: Console) -> Iterator[Watch]:
    """Give each new state of the run to what is yielded; how it is shown depends on the console only."""
    if not console.file.isatty() or console.is_dumb_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=8) as live:
        yield lambda steps: live.update(_table(steps))


class _Lines:
    """Says each change once."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.before: dict[str, State] = {}

    def __call__(self, steps: list[Progress]) -> None:
        for step in steps:
            if step.state is not self.before.get(step.step, State.WAITING):
                words = [step.step, step.state.value, _ended_after(step), _sentence(step)]
                plain(self.console, "  ".join(word for word in words if word))
            self.before[step.step] = step.state


def plain(console: Console, line: str = "") -> None:
    """One line as it is: no markup, no colour, no wrapping, so that a path in it can be copied."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(steps: list[Progress]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for step in steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.1f}"
        table.add_row(step.step, Text(step.state.value, style=STYLES[step.state]), seconds, Text(_sentence(step)))
    return table


def _ended_after(step: Progress) -> str:
    return "" if step.state is State.RUNNING or step.seconds is None else f"{step.seconds:.1f} s"


def _sentence(step: Progress) -> str:
    return step.told.splitlines()[0] if step.told else ""
