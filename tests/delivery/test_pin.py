from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import IMAGE
from delivery.compile import compile_pipeline, read_spec
from delivery.errors import Failed
from delivery.pin import gates_of, pinned
from tests import toy

PIN = "registry.example/team/steps@sha256:" + "a" * 64


@pytest.fixture
def say(project: Path, tmp_path: Path) -> bytes:
    return compile_pipeline("say", tmp_path, "released_pipelines").read_bytes()


@pytest.fixture
def judge(project: Path, tmp_path: Path) -> bytes:
    return compile_pipeline("judge", tmp_path, "released_pipelines").read_bytes()


def with_image(package: bytes, image: str) -> bytes:
    return package.replace(f"image: {IMAGE}\n".encode(), f"image: {image}\n".encode())


def test_a_pinned_package_differs_in_its_image_and_in_nothing_else(say: bytes, judge: bytes) -> None:
    assert len(list(yaml.safe_load_all(say))) == 2

    for package in (say, judge):
        assert pinned(package, PIN) == with_image(package, PIN) != package
    assert pinned(with_image(say, f"{IMAGE}:v1.2"), PIN) == with_image(say, PIN)
    assert pinned(with_image(say, PIN), PIN.replace("a", "b")) == with_image(say, PIN)  # it has a digest already


@pytest.mark.parametrize("image", ["python:3.12", f"{IMAGE}-two", f"registry.example/{IMAGE}", "a@sha256:12"])
def test_another_image_without_a_digest_is_refused_with_the_step_that_has_it(say: bytes, image: str) -> None:
    with pytest.raises(Failed) as refused:
        pinned(with_image(say, image), PIN)

    assert refused.value.what == f"an image without a digest may be another one tomorrow: say_word has `{image}`"
    assert refused.value.where == "the pipeline say"


def test_the_gates_are_those_that_every_step_carries(say: bytes, judge: bytes) -> None:
    assert gates_of(read_spec(pinned(judge, PIN))) == toy.GATES.sha256()
    assert gates_of(read_spec(say)) == ""

    for change, said in (
        ({"min_agreement": 1}, ""),  # and 1.0 are one number
        ({"tie": 0.1}, "the steps carry different gates: .*weigh_2"),
        ({"mood": 1}, "the gates of weigh_2 are none: .*mood"),
    ):
        spec: dict[str, Any] = copy.deepcopy(read_spec(judge))
        [group] = [each["dag"]["tasks"] for each in spec["components"].values() if "dag" in each]
        group["weigh-2"]["inputs"]["parameters"]["gates"]["runtimeValue"]["constant"].update(change)
        if not said:
            assert gates_of(spec) == toy.GATES.sha256()
            continue
        with pytest.raises(Failed, match=said) as refused:
            gates_of(spec)
        assert refused.value.where == "the pipeline judge"
