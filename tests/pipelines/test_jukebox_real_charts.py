"""The shipped package on real charts: what it must reach there, and how near ONNX is to Keras."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pipelines.conftest import Package, World, states

pytestmark = pytest.mark.pipeline


@pytest.fixture
def real_charts() -> str:
    folder = os.environ.get("JUKEBOX_DATA")
    if not folder:
        pytest.skip("JUKEBOX_DATA names no folder with song_properties and song_rankings")
    return f"file:{Path(folder).resolve()}"


def test_it_learns_real_charts_and_onnx_answers_alike(real_charts, endpoint, tmp_path):
    world = World(folder=tmp_path, store=f"file:{tmp_path}/store", source=real_charts, endpoint=endpoint)

    result = world.run(Package.compiled("jukebox", tmp_path))

    assert set(states(result).values()) == {"SUCCEEDED"}, result.records
    sets = result.records["evaluate_model"]["facts"]["sets"]
    print({part: (round(n["top_1"], 4), round(n["top_5"], 4)) for part, n in sets.items()})
    assert sets["time"]["top_1"] >= 0.48
    assert sets["time"]["top_5"] >= 0.72
    assert sets["unseen"]["top_1"] >= 0.08
    assert sets["unseen"]["top_5"] >= 0.21
    parity = result.records["validate_onnx"]["facts"]
    assert parity["max_difference"] <= 1e-5
    assert parity["argmax_agreement"] == 1
    assert parity["near_ties"] < 0.01 * parity["rows"]
    assert result.records["decide"]["facts"]["verdict"] == "promote"
