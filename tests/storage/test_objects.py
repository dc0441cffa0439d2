from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response

from storage import objects
from storage.objects import StorageError

ROOT = Path(__file__).parents[2]
REFUSE_MODELS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::store/models/*",
        }
    ],
}


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file:{tmp_path}/store"
    return request.getfixturevalue("s3").bucket("store")


@pytest.fixture
def too_large(tmp_path: Path) -> Iterator[Path]:
    """A file of two mebibytes, where no file may grow above one: a write fails midway, as on a full disk."""
    file = file_of(tmp_path / "large", mebibytes=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield file
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def one_put_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 looks and writes in one act; moto needs a lock for that."""
    put, lock = S3Response._key_response_put, threading.Lock()

    def locked(self: S3Response, *given: Any) -> Any:
        with lock:
            return put(self, *given)

    monkeypatch.setattr(S3Response, "_key_response_put", locked)


@pytest.fixture
def refusing_puts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The next puts that S3 gets end in these errors of it."""

    def refuse(*errors: str) -> None:
        put, left = S3Response._key_response_put, list(errors)

        def answering(self: S3Response, *given: Any) -> Any:
            if not left:
                return put(self, *given)
            raise S3ClientError(left.pop(0), "not now")

        monkeypatch.setattr(S3Response, "_key_response_put", answering)

    return refuse


def three_strings(refused: pytest.ExceptionInfo[StorageError]) -> tuple[str, str, str]:
    error = refused.value
    assert str(error) == f"{error.what}\n  where: {error.where}\n  to do: {error.do}"
    return error.what, error.where, error.do


# One suite, two worlds: a folder and S3


def test_what_was_written_is_read(store):
    url = objects.join(store, "a folder", "b.bin")

    objects.write_bytes(url, b"\x00\xffone")
    objects.write_bytes(url, b"two")

    assert objects.read_bytes(url) == b"two"


def test_write_once_says_whether_it_wrote(store):
    url = objects.join(store, "models", "m.onnx")

    assert objects.write_once(url, b"one") is True
    assert objects.write_once(url, b"one") is False
    assert objects.read_bytes(url) == b"one"


def test_write_once_refuses_other_bytes_and_keeps_the_first(store):
    url = objects.join(store, "models", "m.onnx")
    objects.write_once(url, b"one")

    with pytest.raises(StorageError) as refused:
        objects.write_once(url, b"two")

    assert three_strings(refused) == (
        "other bytes are there already: sha256 7692c3ad3540, not 3fc4ccfe7458",
        url,
        "write under another name: what is published never changes",
    )
    assert objects.read_bytes(url) == b"one"


def test_write_once_keeps_the_first_when_another_writer_was_faster(store, monkeypatch):
    url = objects.join(store, "models", "m.onnx")
    objects.write_bytes(url, b"one")
    file_system = type(fsspec.core.url_to_fs(url)[0])
    monkeypatch.setattr(file_system, "exists", lambda *_: False)  # it came between the look and the write

    assert objects.write_once(url, b"one") is False
    with pytest.raises(StorageError, match="other bytes are there already"):
        objects.write_once(url, b"two")

    assert objects.read_bytes(url) == b"one"


def test_create_says_whether_it_was_first(store):
    url = objects.join(store, "ledger", "000001.json")

    assert objects.create(url, b"mine") is True
    assert objects.create(url, b"yours") is False
    assert objects.create(url, b"mine") is False
    assert objects.read_bytes(url) == b"mine"
    assert objects.names(objects.join(store, "ledger")) == ["000001.json"]


@pytest.mark.usefixtures("one_put_at_a_time")
def test_of_twenty_that_create_at_once_exactly_one_is_first(store):
    url, together = objects.join(store, "ledger", "000001.json"), threading.Barrier(20)

    def run(number: int) -> bool:
        together.wait()
        return objects.create(url, b"%d" % number * 1000)

    with ThreadPoolExecutor(20) as pool:
        first = list(pool.map(run, range(20)))

    assert first.count(True) == 1
    assert objects.read_bytes(url) == b"%d" % first.index(True) * 1000
    assert objects.names(objects.join(store, "ledger")) == ["000001.json"]


def test_of_two_processes_that_create_at_once_exactly_one_is_first(store, one_put_at_a_time):
    url = objects.join(store, "ledger", "000001.json")
    run = "import sys; from storage.objects import create; print(create(sys.argv[1], b'%d'))"

    def race(number: int) -> str:
        return subprocess.check_output([sys.executable, "-c", run % number, url], text=True, cwd=ROOT).strip()

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(race, range(2)))

    assert sorted(said) == ["False", "True"]
    assert objects.read_bytes(url) == b"%d" % said.index("True")


def test_json_is_the_same_bytes_for_the_same_value(store):
    url = objects.join(store, "facts.json")

    objects.write_json(url, {"b": [1, 2.5, None], "a": "Ünïcode \udcff"})

    assert objects.read_bytes(url) == '{\n "a": "Ünïcode \\udcff",\n "b": [\n  1,\n  2.5,\n  null\n ]\n}\n'.encode()
    assert objects.read_json(url) == {"b": [1, 2.5, None], "a": "Ünïcode \udcff"}


def test_json_refuses_nan_and_writes_nothing(store):
    url = objects.join(store, "facts.json")

    with pytest.raises(StorageError) as refused:
        objects.write_json(url, {"loss": float("nan")})

    what, where, do = three_strings(refused)
    assert what.startswith("no JSON can hold this value: Out of range float values are not JSON compliant")
    assert (where, do) == (url, "write NaN and infinity as strings")
    assert not objects.exists(url)


def test_what_is_not_json_is_said_with_the_place(store):
    url = objects.join(store, "facts.json")
    objects.write_bytes(url, b'{"a": ')

    with pytest.raises(StorageError) as refused:
        objects.read_json(url)

    assert three_strings(refused) == (
        "not JSON: Expecting value: line 1 column 7 (char 6)",
        url,
        "run the step that wrote it again",
    )


def test_exists_sees_what_another_process_wrote_in_the_meantime(store):
    url = objects.join(store, "runs", "r1", "train_model.json")
    assert not objects.exists(url)
    assert objects.names(objects.join(store, "runs", "r1")) == []

    written_elsewhere(url, b"{}")

    assert objects.exists(url)
    assert objects.names(objects.join(store, "runs", "r1")) == ["train_model.json"]


def test_names_are_the_files_directly_in_the_folder(store):
    for name in ("b.json", "a.json", "deeper/c.json", "é .json"):
        objects.write_bytes(objects.join(store, "runs", name), b"{}")
    objects.write_bytes(objects.join(store, "runs-2", "d.json"), b"{}")

    assert objects.names(objects.join(store, "runs")) == ["a.json", "b.json", "é .json"]
    assert objects.names(objects.join(store, "runs") + "/") == ["a.json", "b.json", "é .json"]
    assert objects.names(objects.join(store, "runs", "a.json")) == []


def test_a_folder_that_is_not_there_has_no_names(store):
    assert objects.names(objects.join(store, "nowhere")) == []


def test_folders_are_those_directly_in_the_folder(store):
    for name in ("b/c/d.json", "a/e.json", "é /f.json", "file.json"):
        objects.write_bytes(objects.join(store, "releases", name), b"{}")
    objects.write_bytes(objects.join(store, "releases-2", "g", "h.json"), b"{}")

    assert objects.folders(objects.join(store, "releases")) == ["a", "b", "é "]
    assert objects.folders(objects.join(store, "releases") + "/") == ["a", "b", "é "]
    assert objects.folders(objects.join(store, "releases", "file.json")) == []
    assert objects.folders(objects.join(store, "nowhere")) == []


def test_upload_and_download_carry_a_file_over(store, tmp_path):
    source, target = tmp_path / "source.bin", tmp_path / "deep" / "target.bin"
    source.write_bytes(os.urandom(3 << 20))
    url = objects.join(store, "data", "table.parquet")

    objects.upload(source, url)
    objects.download(url, target)

    assert objects.sha256_of(target) == objects.sha256_of(source)
    assert os.listdir(target.parent) == ["target.bin"]


@pytest.mark.parametrize("read", [objects.read_bytes, objects.read_json])
def test_a_missing_file_is_a_sentence(store, read):
    url = objects.join(store, "nothing.json")

    with pytest.raises(StorageError) as refused:
        read(url)

    assert three_strings(refused) == (
        "reading failed: there is no such file",
        url,
        "correct the URL, or run first what writes it",
    )


def test_a_download_that_fails_leaves_the_target_as_it_was(store, tmp_path):
    target = tmp_path / "out" / "target.bin"
    target.parent.mkdir()
    target.write_bytes(b"before")

    with pytest.raises(StorageError) as refused:
        objects.download(objects.join(store, "nothing.bin"), target)

    assert refused.value.what == "reading failed: there is no such file"
    assert target.read_bytes() == b"before"
    assert os.listdir(target.parent) == ["target.bin"]


def test_an_upload_of_nothing_blames_the_file_and_not_the_url(store, tmp_path):
    url = objects.join(store, "x")

    with pytest.raises(StorageError) as refused:
        objects.upload(tmp_path / "nothing", url)

    assert refused.value.what == "reading failed: there is no such file"
    assert refused.value.where == str(tmp_path / "nothing")
    assert not objects.exists(url)


@pytest.mark.parametrize("write", [objects.write_bytes, objects.create, objects.write_once])
def test_where_no_folder_can_be_made_a_sentence_says_so(write):
    with pytest.raises(StorageError) as refused:
        write("file:/proc/mlops/x", b"x")  # nobody makes a folder there, not even root

    assert three_strings(refused) == (
        "writing failed: its folder cannot be made there",
        "file:/proc/mlops/x",
        "name a place that can be written",
    )


# A folder


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "{}"])
def test_a_folder_has_three_spellings(tmp_path, form):
    objects.write_bytes(form.format(tmp_path / "a b" / "c"), b"x")

    assert (tmp_path / "a b" / "c").read_bytes() == b"x"


def test_a_relative_path_is_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    objects.write_bytes("store/c", b"x")

    assert (tmp_path / "store" / "c").read_bytes() == b"x"
    assert objects.names("store") == ["c"]


@pytest.mark.parametrize("way", ["write_bytes", "write_once", "create", "upload", "download"])
def test_a_write_that_fails_midway_leaves_no_half_file(tmp_path, way, too_large):
    data = too_large.read_bytes()
    target = tmp_path / "store" / "file"
    new = way in ("write_once", "create")
    if not new:
        objects.write_bytes(str(target), b"before")
    act = {
        "write_bytes": lambda: objects.write_bytes(str(target), data),
        "write_once": lambda: objects.write_once(str(target), data),
        "create": lambda: objects.create(str(target), data),
        "upload": lambda: objects.upload(too_large, str(target)),
        "download": lambda: objects.download(str(too_large), target),
    }[way]

    with pytest.raises(StorageError) as refused:
        act()

    what, _, do = three_strings(refused)
    assert what == ("reading" if way == "download" else "writing") + " failed: File too large"
    assert do == "put that right and run it again; nothing was left half written"
    assert os.listdir(target.parent) == ([] if new else ["file"])
    assert new or target.read_bytes() == b"before"


def test_a_part_that_a_killed_writer_left_is_not_listed(tmp_path):
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"half")
    (tmp_path / "whole").write_bytes(b"whole")

    assert objects.names(str(tmp_path)) == ["whole"]


def test_a_file_may_be_read_by_whom_the_umask_allows(tmp_path):
    objects.write_bytes(str(tmp_path / "plain"), b"")
    (tmp_path / "usual").touch()

    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StorageError) as refused:
        objects.write_bytes(f"{tmp_path}/file/a/b", b"x")

    assert refused.value.what == "writing failed: Not a directory"


def test_create_does_not_take_a_file_in_the_place_of_the_folder_for_the_one_asked_for(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="writing failed: File exists"):
        objects.create(f"{tmp_path}/file/a", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(StorageError) as refused:
        objects.write_bytes(f"{tmp_path}/file", b"x")

    assert three_strings(refused) == (
        "writing was refused: Permission denied",
        f"{tmp_path}/file",
        "give this user the right: ls -ld shows who has it",
    )


def test_sha256_of_reads_the_whole_file(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 2_500_000)

    assert objects.sha256_of(file) == hashlib.sha256(b"x" * 2_500_000).hexdigest()
    with pytest.raises(StorageError, match="reading failed: there is no such file"):
        objects.sha256_of(tmp_path / "nothing")


# S3


@pytest.mark.parametrize("write", ["write_bytes", "write_once", "create", "write_json", "upload"])
def test_a_refused_bucket_is_a_sentence_and_nothing_is_written(s3, tmp_path, write):
    store = s3.bucket("store")
    s3.put_policy("store", REFUSE_MODELS)
    url = objects.join(store, "models", "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"x")
    act = {
        "write_bytes": lambda to: objects.write_bytes(to, b"x"),
        "write_once": lambda to: objects.write_once(to, b"x"),
        "create": lambda to: objects.create(to, b"x"),
        "write_json": lambda to: objects.write_json(to, {}),
        "upload": lambda to: objects.upload(tmp_path / "m.onnx", to),
    }[write]

    act(objects.join(store, "runs", "r1"))  # the twin: beside the refused prefix it works
    with pytest.raises(StorageError) as refused:
        act(url)

    assert three_strings(refused) == (
        "writing was refused: Forbidden",
        url,
        "let the bucket's policy allow it, or set another AWS_ACCESS_KEY_ID",
    )
    assert not objects.exists(url)
    assert objects.names(objects.join(store, "models")) == []


@pytest.mark.parametrize(
    "act",
    [
        objects.read_bytes,
        lambda url: objects.write_bytes(url, b"x"),
        lambda url: objects.write_once(url, b"x"),
        lambda url: objects.create(url, b"x"),
        lambda url: objects.names(url),
        lambda url: objects.folders(url),
        lambda url: objects.upload(Path(__file__), url),
    ],
    ids=["read_bytes", "write_bytes", "write_once", "create", "names", "folders", "upload"],
)
def test_a_bucket_that_is_not_there_is_a_sentence(s3, act):
    with pytest.raises(StorageError) as refused:
        act("s3://nowhere/a/b")

    assert three_strings(refused) == (
        "there is no bucket nowhere",
        "s3://nowhere/a/b",
        "make the bucket, or correct the URL",
    )


def test_create_believes_a_server_that_does_not_say_which_condition_failed(s3, refusing_puts):
    refusing_puts("PreconditionFailed")

    assert objects.create(objects.join(s3.bucket("store"), "a"), b"x") is False


def test_create_asks_again_when_the_server_saw_two_at_once(s3, refusing_puts):
    url = objects.join(s3.bucket("store"), "a")
    refusing_puts("ConditionalRequestConflict", "ConditionalRequestConflict")

    assert objects.create(url, b"x") is True
    assert objects.read_bytes(url) == b"x"


@pytest.mark.parametrize("error", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_server_that_never_decides_is_a_sentence(s3, refusing_puts, error):
    refusing_puts(*[error] * 9)

    with pytest.raises(StorageError, match="writing failed"):
        objects.create(objects.join(s3.bucket("store"), "a"), b"x")


def test_a_bucket_alone_is_no_object(s3):
    with pytest.raises(StorageError, match="writing failed: Parameter validation failed"):
        objects.write_bytes(s3.bucket("store"), b"x")


def test_an_endpoint_that_does_not_answer_is_a_sentence(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(StorageError) as refused:
        objects.read_bytes("s3://store/a")

    assert three_strings(refused) == (
        'the store does not answer: Could not connect to the endpoint URL: "http://127.0.0.1:9/store/a"',
        "s3://store/a",
        "check AWS_ENDPOINT_URL, and that a server runs there",
    )


def test_no_key_for_s3_is_a_sentence(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(StorageError) as refused:
        objects.read_bytes("s3://store/a")

    assert three_strings(refused) == (
        "there is no key for S3",
        "s3://store/a",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )


def test_a_large_object_goes_up_in_parts_and_comes_back_whole(s3, tmp_path):
    source = file_of(tmp_path / "large", mebibytes=101)  # s3fs puts less than 100 MiB in one piece
    url = objects.join(s3.bucket("store"), "large")

    objects.upload(source, url)
    objects.download(url, tmp_path / "back")

    assert objects.sha256_of(tmp_path / "back") == objects.sha256_of(source)


# URLs


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (("s3://b", "a", "c"), "s3://b/a/c"),
        (("s3://b/", "/a/", "c/d"), "s3://b/a/c/d"),
        (("file:/x/",), "file:/x"),
        (("store", "a..b"), "store/a..b"),
    ],
)
def test_join_puts_one_slash_between(parts, whole):
    assert objects.join(*parts) == whole


@pytest.mark.parametrize("part", ["", "/", "..", "a/../../b"])
def test_join_refuses_what_leads_out(part):
    with pytest.raises(StorageError) as refused:
        objects.join("s3://b/runs", part)

    assert three_strings(refused) == (
        f"{part!r} is not a name in a folder",
        "s3://b/runs",
        "use a name without '..'",
    )


@pytest.mark.parametrize("url", ["s3:bucket/a", "file://host/a"])
def test_a_mistyped_url_makes_no_folder(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StorageError) as refused:
        objects.write_bytes(url, b"x")

    assert three_strings(refused) == (
        f"{url!r} is neither a URL nor a path",
        "writing it",
        "write s3://bucket/name, file:/folder/name or a path",
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "lacks"),
    [("smb://a/b", "smbprotocol"), ("nope://a/b", "Protocol not known: nope"), ("github://a", "org")],
)
def test_a_scheme_that_cannot_be_opened_says_what_it_lacks(url, lacks):
    with pytest.raises(StorageError) as refused:
        objects.exists(url)

    what, where, do = three_strings(refused)
    assert (what, where) == (f"this Python cannot open {url.partition(':')[0]}:// URLs", url)
    assert do.startswith("use a path, file: or s3:// here, or give this Python what it lacks: ")
    assert lacks in do


def test_any_other_scheme_of_fsspec_will_do():
    objects.write_json("memory://store/a.json", {"a": 1})

    assert objects.names("memory://store") == ["a.json"]
    assert json.loads(objects.read_bytes("memory://store/a.json")) == {"a": 1}


def file_of(path: Path, mebibytes: int) -> Path:
    with path.open("wb") as file:
        for number in range(mebibytes):
            file.write(bytes([number]) * (1 << 20))
    return path


def written_elsewhere(url: str, data: bytes) -> None:
    if url.startswith("s3://"):
        bucket, _, key = url.removeprefix("s3://").partition("/")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=data)
    else:
        path = Path(url.removeprefix("file:"))
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
