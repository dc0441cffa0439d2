"""A copy of this tree to make projects from, and what is said at the end of `make template`."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.template.generated import Person, Template, a_person, copy_of_this_tree


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return a_person(tmp_path_factory.mktemp("person"))


@pytest.fixture(scope="session")
def template(person: Person, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """This tree as a fresh clone would be. No test writes into it."""
    return Template(root=copy_of_this_tree(tmp_path_factory.mktemp("template")), person=person)


@pytest.fixture
def checkout(template: Template, tmp_path: Path) -> Template:
    """The same, of the test's own: it may change it."""
    return replace(template, root=shutil.copytree(template.root, tmp_path / "checkout", symlinks=True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many projects were made, and how long they took to compile; of all workers, as their reports come here."""
    said = [prop for report in terminalreporter.getreports("passed") for prop in report.user_properties]
    seconds = sorted(value for name, value in said if name == "compiled")
    for line in [value for name, value in said if name == "made"]:
        terminalreporter.write_line(line)
    if seconds:
        terminalreporter.write_line(
            f"`mlops compile` in {len(seconds)} of them: {seconds[0]:.1f} to {seconds[-1]:.1f} s"
        )
