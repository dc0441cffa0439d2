"""Before anything is written: an answer that no project can be made of is refused, and why, and what would be right."""

import json
import os
import re
import sys

# cookiecutter renders this file first; JSON never has three quotes in a row, so nothing ends the string early
ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
WANTED = {  # answer -> what it must match, and that in words
    "project_name": (
        r"(?=.{1,60}$)[^\W_](?:[\w .,&()+-]*[\w.)])?",
        "1 to 60 letters, digits, spaces and . , & ( ) + - _, with a letter or a digit first",
    ),
    "project_slug": (
        r"(?=.{1,50}$)[a-z0-9]+(?:-[a-z0-9]+)*",
        "1 to 50 of a-z and 0-9, with single dashes between them, as in song-charts",
    ),
    "first_model": (
        r"(?=.{1,40}$)[a-z][a-z0-9]*(?:_[a-z0-9]+)*",
        "a name in snake_case, 40 at most, as in song_charts",
    ),
    "licence_holder": (
        r"(?=.{1,120}$)[^\W_][^\"\\{}]*",
        "1 to 120 printable characters without quotes, backslashes and braces",
    ),
}


def refusals():
    """A sentence for each answer that is wrong, and one for a folder that holds something already."""
    if sys.version_info < (3, 10):  # noqa: UP036  # whoever runs cookiecutter may run it on any
        yield f"cookiecutter runs on Python {sys.version_info[0]}.{sys.version_info[1]}, and 3.10 or newer is wanted"
    for name, (pattern, wanted) in WANTED.items():
        if not (re.fullmatch(pattern, ANSWERS[name]) and ANSWERS[name].isprintable()):
            yield f"{name} is `{ANSWERS[name]}`, and must be {wanted}"
    # `cookiecutter -f` would write over it; a repository that is new and empty is welcome
    if held := sorted(set(os.listdir()) - {".git"}):
        yield (
            f"the folder {os.getcwd()} holds {held[0]} already: choose another place (-o), "
            "or take the template's changes into an old project with `cruft update`"
        )


if found := list(refusals()):
    print(*(f"error: {sentence}" for sentence in found), sep="\n", file=sys.stderr)
    sys.exit(2)
