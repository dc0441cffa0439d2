"""What is remembered of an image is believed when it has the form that `mlops` writes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from delivery.images import RECORDS, Image, last

IMAGE = Image(
    name="steps",
    image="localhost/songs@sha256:" + "a" * 64,
    tag="localhost/songs:1",
    builder="docker",
    accelerator="cpu",
    commit="b" * 40,
    dirty=False,
    contents="c" * 64,
)


@pytest.mark.parametrize(
    ("changed", "found"),
    [({}, IMAGE), ({"name": "mlops"}, None), ({"dirty": "no"}, None), ({"image": None}, None), ({"tag": 1}, None)],
)
def test_a_record_of_another_form_is_none(tmp_path: Path, changed: dict[str, Any], found: Image | None) -> None:
    (tmp_path / RECORDS).mkdir(parents=True)
    (tmp_path / RECORDS / "steps.json").write_text(json.dumps({**asdict(IMAGE), **changed}))

    assert last(tmp_path, "steps") == found
