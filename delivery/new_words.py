"""What the skeleton of a model says of its one table: the words that its templates are filled with."""

from __future__ import annotations

from textwrap import fill

from delivery.new_table import Table, among, columns_text, listed, literal

GENERATED = 8000  # rows, about
FEWEST = 200  # things that they are about: then each part of the split gets some, whatever they are called
PAGE, CODE = 136, 128  # columns of a line, in Markdown and in a docstring

STORY = (
    "`mlops new model {name}` wrote it, on data of its own: [generator.py](generator.py) draws readings of machines from a seed, "
    "by a rule that no straight line can tell. So all of it runs before there are any data. To make it yours, write your tables "
    "into [contract.py](contract.py), let the generator follow, and delete `test_rule.py` of its tests; or begin with a CSV file: "
    "`mlops new model NAME --csv FILE --target COLUMN --time COLUMN --entity COLUMN`."
)
CONTRACT = (
    "The readings: what the one table promises. They are the model's own; write your columns here.\n\n"
    "Limits are of what is possible in the world, not of what happened to be seen. {text}"
)
FLOORS = "# Each class is one row in three, and one row in ten follows no rule, so nothing reaches more than 0.94."

CSV_STORY = (
    "`mlops new model {name} --csv` wrote it from `{seen}` ({rows} rows). What a file cannot say is yours to decide:\n\n"
    "- The limits in [contract.py](contract.py) are those of the values that were there: widen them to what is possible.\n"
    "- {text}\n"
    "- Always naming `{most}` is right in {prior:.0%} of the rows: a first model must do better, and the floors in "
    "[gates.yaml](gates.yaml) hold those after it.\n"
    "- [generator.py](generator.py) draws rows of the same contract from a seed, for the tests: they prove nothing about yours."
)
CSV_CONTRACT = (
    "What `{table}` promises, as `mlops new model` read it from {seen} ({rows} rows).\n\n"
    "Limits of numbers are those of the values that were there: widen them to what is possible, as a file with a value beyond them "
    "is refused. {text}"
)
CSV_FLOORS = (
    "# Rows are half of those that were in {seen}; always naming its most frequent class is right in {prior:.3f} of them.\n"
    "# Raise the floors to what your first runs reach, less a little."
)
TEXT = "Text ({columns}) is kept and checked, and is no feature: the graph takes numbers and flags only."
NO_TEXT = "A column of text could be kept and checked, and be no feature: the graph takes numbers and flags only."


def words_of(name: str, table: Table) -> dict[str, str]:
    """Placeholder -> text, for the templates in skeletons/model."""
    count, days = len(table.features), 10 * table.days
    columns = f"{count} column{'' if count == 1 else 's'}"
    text = TEXT.format(columns=", ".join(table.texts)) if table.texts else NO_TEXT
    known = {"name": name, "table": table.name, "seen": table.seen, "rows": f"{table.rows:,}", "text": text}
    known |= {"most": " ".join(table.most_frequent.replace("`", "'").split())}  # on one line of Markdown, as code
    about = f"Which `{table.target}` a row of `{table.name}` has, told from {columns}."
    story, contract, floors = (CSV_STORY, CSV_CONTRACT, CSV_FLOORS) if table.seen else (STORY, CONTRACT, FLOORS)
    newest = "the newest day" if table.days == 1 else f"the {table.days} newest days"
    floor = f"  time.top_1: {table.least_top_1}"
    return {
        "about": about if len(about) < CODE else f"Which class a row of `{table.name}` has, told from {columns}.",
        "about_contract": _filled(contract.format(**known), CODE),
        "about_split": f"# {newest.capitalize()} are for judging, and so are all rows of a share of what `entity` tells apart.",
        "about_floors": floors.format(**known, prior=table.prior),
        "story": _filled(story.format(**known, prior=table.prior), PAGE),
        "table": literal(table.name),
        "columns": columns_text(table),
        "classes": listed(table.classes),
        "key": "\n" + among("unique=", [*table.entity, table.time], "[]") if table.key else "",
        "target": literal(table.target),
        "as_text": "" if table.kind_of_target == "String" else ".cast(pl.String)",
        "time": literal(table.time),
        "entity": among("entity=", table.entity),
        "min_rows": str(table.min_rows),
        "max_age_days": str(table.max_age_days),
        "days": str(table.days),
        "unseen": str(table.unseen),
        "validation": str(table.validation),
        "generated_days": str(days),
        "generated_entities": str(max(FEWEST, GENERATED // days)),
        "least_time": str(table.least_rows[0]),
        "least_unseen": str(table.least_rows[1]),
        "floors": floor if table.seen else f"{floor}\n{floor.replace('time', 'unseen')}",
        "source": literal(table.source),
        "public": ", ".join(map(literal, sorted(["GRAPH", "MODEL", "check_parameters", name]))),
    }


def _filled(text: str, width: int) -> str:
    """Each line of the text, folded; of an item of a list, the lines after the first stand in."""
    lines = text.splitlines()
    return "\n".join(
        fill(line, width, subsequent_indent="  " if line.startswith("- ") else "", break_on_hyphens=False)
        for line in lines
    )
