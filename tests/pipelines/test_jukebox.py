"""What is the songs' own in their pipeline; all the rest is of the main flow (test_training) and of any (test_every_pipeline)."""

from __future__ import annotations

import pytest

import models
from components.decide.step import floors_and_ceilings
from delivery.compile import PIPELINES
from delivery.environments import Environment
from delivery.errors import WrongUse
from delivery.running import plan


def test_a_handful_of_test_rows_proves_nothing():
    gates = models.load("jukebox").GATES
    numbers = {"top_1": 1.0, "top_5": 1.0, "calibration_error": 0.0}

    def refused(rows):
        sets = {part: {**numbers, "rows": rows} for part in ("time", "unseen")}
        return [check.name for check in floors_and_ceilings(sets, gates) if not check.passed]

    assert refused(3.0) == ["time.rows", "unseen.rows"]
    assert refused(500.0) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "jukebox needs a value for source"),
        (["source= "], "`source` is empty"),
        (
            ["source=synthetic:", "hyperparameters.hiden=[8]"],
            "there is no hyperparameter `hiden`; did you mean `hidden`?",
        ),
    ],
)
def test_a_run_that_could_not_train_is_refused_before_anything_is_written(tmp_path, given, said):
    environment = Environment(
        name="test", endpoint="local", store="file:store", registry="sqlite:///r.db", root=tmp_path
    )

    with pytest.raises(WrongUse) as refused:
        plan(environment, "jukebox", given, PIPELINES)

    assert (refused.value.what, refused.value.exit_code) == (said, 2)
    assert list(tmp_path.iterdir()) == []
