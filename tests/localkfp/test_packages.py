"""A package is read as the server reads it, and refused where this machine cannot run it."""

import gzip
import io
import json
import sys
import tarfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st
from kfp import dsl, kubernetes

from localkfp import packages
from localkfp.engine import Engine
from localkfp.errors import ApiError
from localkfp.packages import Package
from tests.localkfp.machine import compiled


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def say(text: str) -> str:
    return text


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def write(data: dsl.Output[dsl.Dataset]):
    pass


@dsl.pipeline(name="greet")
def greet(text: str, times: int = 2, ratio: float = 0.5, names: list = [], options: dict = {}, loud: bool = True):  # noqa: B006
    task = say(text=text)
    kubernetes.add_toleration(task, key="gpu")


@pytest.fixture(scope="module")
def package() -> Package:
    return compiled(greet)


class NoEngine(Engine):
    client = None


class OnePython(Engine):
    answers = True

    def has(self, image: str) -> bool:
        return image == "python:3.12"


def changed(package: Package, old: str, new: str) -> dict[str, Any]:
    return dict(json.loads(json.dumps(package.as_json()).replace(old, new)))


def text_of(package: Package) -> bytes:
    return yaml.safe_dump_all([package.pipeline_spec, package.platform_spec]).encode()


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return data.getvalue()


def tarred(**files: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def refused(
    pipeline: Any, environment: dict[str, str] | None = None, images: dict[str, Path | None] | None = None
) -> str:
    package = pipeline if isinstance(pipeline, Package) else compiled(pipeline)
    with pytest.raises(ApiError) as error:
        packages.check(package, images or {}, NoEngine(), environment)
    assert error.value.code.http == 400
    return error.value.message


def test_a_package_is_the_same_however_it_is_packed(package):
    text = text_of(package)

    assert Package.from_bytes(text, "greet.yaml") == package
    assert Package.from_bytes(zipped(pipeline_yaml=text, other_yaml=b"a"), "greet.zip") == package
    assert Package.from_bytes(zipped(greet_yaml=text), "greet.zip") == package
    assert Package.from_bytes(tarred(other_yaml=b"a", pipeline_yaml=text), "greet.tar.gz") == package
    assert Package.from_json(json.loads(json.dumps(package.as_json()))) == package
    assert package.name == "greet"


def test_a_package_without_settings_for_a_cluster_is_its_spec_alone(package):
    alone = Package.from_json(package.pipeline_spec)

    assert alone.as_json() == package.pipeline_spec
    assert alone.platform_spec is None
    assert set(package.as_json()) == {"pipeline_spec", "platform_spec"}


def test_whole_numbers_are_written_as_the_server_writes_them(package):
    assert '"defaultValue": 2,' in json.dumps(package.pipeline_spec)
    assert packages.whole({"a": [1.0, 0.5, True, float("inf")]}) == {"a": [1, 0.5, True, float("inf")]}


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"a: [", "a.yaml", "unknown template format"),
        (b"\xff\xfe", "a.yaml", "unknown template format"),
        (b"a: 1", "a.yaml", "unknown template format"),
        (b"", "a.yaml", "unknown template format"),
        (b"[" * 5000, "a.yaml", "unknown template format"),
        (b"pipelineInfo: {name: a}\nroot: {}\nx: 1", "a.yaml", "unknown template format"),
        (b"pipelineInfo: {name: a}\nroot: {}", "a.yaml", "KFP only supports schema version 2.1.0"),
        (b"pipelineInfo: {name: A}\nroot: {}\nschemaVersion: 2.1.0", "a.yaml", "pipeline's name must contain only"),
        (b"pipelineInfo: {name: a}\n---\npipelineInfo: {name: b}", "a.yaml", "multiple pipeline specs provided"),
        (b"PK broken", "a.zip", "Unexpected pipeline file format. Support .zip, .tar.gz or YAML"),
        (b"\x1f\x8b broken", "a.tar.gz", "Unexpected pipeline file format. Support .zip, .tar.gz or YAML"),
        (zipped(a_txt=b"a"), "a.zip", "Unexpected pipeline file format. Support .zip, .tar.gz or YAML"),
        pytest.param(tarred(), "a.tgz", "Unexpected pipeline file format. Support .zip, .tar.gz or YAML", id="empty"),
        (b"a: 1", "a.json", "Unexpected pipeline file format. Support .zip, .tar.gz or YAML"),
    ],
)
def test_what_is_no_package_is_refused_in_the_servers_words(data, name, said):
    with pytest.raises(ApiError) as error:
        Package.from_bytes(data, name)

    assert said in error.value.chain
    assert error.value.code.http == 400


def test_a_text_that_would_grow_without_end_is_refused_at_once():
    aliases = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 6))
    text = f"pipelineInfo: {{name: a}}\nroot: {{}}\ndeploymentSpec:\n  a0: &a0 [{'x, ' * 10}]\n{aliases}"
    begun = time.process_time()

    with pytest.raises(ApiError, match="aliases"):
        Package.from_bytes(text.encode(), "a.yaml")

    assert time.process_time() - begun < 0.1


def test_an_archive_is_not_unpacked_beyond_the_largest_package():
    member = tarfile.TarInfo("zeros")
    member.size = 4 << 30
    packed = gzip.compress(member.tobuf()) + gzip.compress(bytes(16 << 20)) * 256
    begun = time.process_time()

    with pytest.raises(ApiError, match="Unexpected pipeline file format"):
        Package.from_bytes(packed, "a.tar.gz")

    assert time.process_time() - begun < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(data=st.data())
def test_whatever_stands_in_a_package_it_is_read_or_refused(package, data):
    given = json.loads(json.dumps(package.as_json()))
    place: Any = given
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break

    with suppress(ApiError):
        packages.check(Package.from_json(given), {}, NoEngine(), {})


def test_parameters_that_the_pipeline_asks_for_are_taken(package):
    given = {"text": "a", "times": 1.0, "ratio": 1, "names": ["a"], "options": {"a": 1}, "loud": False}

    assert packages.check_parameters(package, given) == given
    assert packages.check_parameters(package, {"text": ""}) == {"text": ""}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "parameter text is not optional, yet has neither default value nor user provided value"),
        ({"text": "a", "x": 1, "y": 2}, "parameter(s) provided are not required by pipeline: x, y"),
        ({"text": 1}, "input parameter text requires type string, but the input parameter is not of string value type"),
        (
            {"text": None},
            "input parameter text requires type string, but the input parameter is not of string value type",
        ),
        (
            {"text": "a", "times": True},
            "input parameter times requires type double or integer, but the parameter value is not of number value type",
        ),
        (
            {"text": "a", "loud": 1},
            "input parameter loud requires type bool, but the input parameter is not of bool value type",
        ),
        (
            {"text": "a", "names": {}},
            "input parameter names requires type list, but the input parameter is not of list value type",
        ),
        (
            {"text": "a", "options": []},
            "input parameter options requires type struct, but the input parameter is not of struct value type",
        ),
    ],
)
def test_other_parameters_are_refused_in_the_servers_words(package, given, said):
    with pytest.raises(ApiError) as error:
        packages.check_parameters(package, given)

    assert error.value.chain == f"invalid pipeline job inputs: Invalid input error: {said}"


@pytest.mark.parametrize(
    ("image", "images", "known"),
    [
        ("python:3.12", {}, True),
        ("python", {}, True),
        ("docker.io/library/python:3.12-slim@sha256:" + "0" * 64, {}, True),
        ("acme/python:3.12", {}, False),
        ("pythonista:1", {}, False),
        ("acme/train:1@sha256:" + "0" * 64, {"acme/train@sha256:" + "0" * 64: Path("a")}, True),
        ("acme/train:1@sha256:" + "0" * 64, {"acme/train": Path("a"), "acme/train:1": Path("a")}, False),
        ("acme/train:1", {"acme/train": Path("a")}, False),
        ("acme/train:1", {"acme/train:2": Path("a")}, False),
        ("host:5000/train", {"host:5000/train": Path("a")}, True),
        ("host:5000/train:1", {"host": Path("a")}, False),
    ],
)
def test_an_image_is_known_by_name_or_is_dockers_own_python(image, images, known):
    assert packages.is_known(image, images) is known
    assert packages.folder_of(image, images) == (Path("a") if known and images else None)


def test_a_package_that_can_run_is_let_through(package):
    packages.check(package, {}, NoEngine(), {})

    rooted = Package.from_json({**package.pipeline_spec, "defaultPipelineRoot": "s3://bucket"})
    assert list(packages.without_effect(package)) == ["task say: tolerations have no effect on one machine"]
    assert list(packages.without_effect(rooted)) == [
        "pipeline_root s3://bucket: artifacts are kept in the folder of the run instead"
    ]


def test_one_of_several_artifacts_is_refused():
    @dsl.pipeline(name="one-of")
    def one_of(text: str) -> dsl.Dataset:
        with dsl.If(text == "a"):
            first = write()
        with dsl.Else():
            second = write()
        return dsl.OneOf(first.outputs["data"], second.outputs["data"])

    assert "is one of several artifacts: return parameters" in refused(one_of)


def test_a_condition_with_a_quote_in_its_text_is_refused():
    @dsl.pipeline(name="quote")
    def quote(text: str):
        with dsl.If(text == "it's"):
            say(text=text)

    assert "the condition of condition-1 cannot be read" in refused(quote)


def test_an_unknown_image_is_refused_with_how_to_make_it_known():
    @dsl.pipeline(name="unknown-image")
    def unknown_image():
        say(text="a").set_container_image("acme/train:1")

    said = refused(unknown_image)

    assert "image acme/train:1 of task say is not known here" in said
    assert "`localkfp serve --image acme/train:1=DIR`" in said
    packages.check(compiled(unknown_image), {"acme/train:1": Path("code")}, NoEngine())


def test_what_would_be_installed_and_is_not_here_is_refused():
    @dsl.component(base_image="python:3.12", packages_to_install=["no-such-package>=1"])
    def install():
        pass

    @dsl.pipeline(name="installing")
    def installing():
        install()

    said = refused(installing)

    assert "task install installs no-such-package>=1 when it starts" in said
    assert f"install it beforehand where {sys.executable} finds it" in said
    assert "kfp" not in said.replace("localkfp", "")


def test_a_container_component_needs_an_engine_that_has_its_image():
    @dsl.container_component
    def echo():
        return dsl.ContainerSpec(image="python:3.12", command=["echo"])

    @dsl.pipeline(name="container")
    def container():
        echo()

    package = compiled(container)

    said = refused(package)
    assert "task echo brings no code of its own, but calls what is in image python:3.12: start a Docker engine" in said
    assert "--image" not in said
    packages.check(package, {}, OnePython())
    with pytest.raises(ApiError, match="image acme/echo:1 of task echo is not in the Docker engine: docker pull acme"):
        packages.check(Package.from_json(changed(package, "python:3.12", "acme/echo:1")), {}, OnePython())


def test_what_only_a_cluster_has_is_refused_all_at_once():
    @dsl.pipeline(name="cluster")
    def cluster():
        task = say(text="a")
        kubernetes.mount_pvc(task, "data", "/data")
        kubernetes.use_secret_as_volume(task, "keys", "/keys")
        kubernetes.use_config_map_as_volume(task, "options", "/options", optional=True)
        kubernetes.empty_dir_mount(task, "scratch", "/scratch")
        kubernetes.use_field_path_as_env(task, "NODE", "spec.nodeName")
        kubernetes.use_secret_as_env(task, "keys", {"key": "PASSWORD"})
        kubernetes.use_config_map_as_env(task, "options", {"key": "OPTION"}, optional=True)

    said = refused(cluster, environment={})

    for mount in ("pvcMount", "secretAsVolume", "emptyDirMounts"):
        assert f"task say mounts a volume ({mount})" in said
    assert "configMapAsVolume" not in said
    assert "task say reads the pod's spec.nodeName, which only a cluster has" in said
    assert "task say takes PASSWORD from the secret keys: set PASSWORD where localkfp is started" in said
    assert "OPTION" not in said
    assert "PASSWORD" not in refused(cluster, environment={"PASSWORD": "a"})
