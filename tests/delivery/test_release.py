from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kfp
import pytest

from delivery import git
from delivery.archive import unpack
from delivery.environments import Environment, read_environment
from delivery.errors import BytesDiffer, DirtyTree, Failed, WrongUse
from delivery.release import BUILT, Release, build, copy, find, open_release, unpacked
from localkfp import ThreadedLocalKfp
from storage import objects
from tests import toy
from tests.conftest import S3

IMAGE = "registry.example/team/steps@sha256:" + "a" * 64
FILES = ["code.tar", "manifest.json", "packages/judge.yaml", "packages/say.yaml"]
FOUND = "build the release again from its commit and deploy it"
HERE = Path(__file__).parent


def commit(root: Path) -> None:
    for words in ("init -q", "add -A", "-c user.name=a -c user.email=a@b.example commit -q -m one"):
        subprocess.run(["git", "-C", str(root), *words.split()], check=True)


@pytest.fixture
def root(project: Path) -> Path:
    """A project with code of its own, all of it in a commit."""
    for name, text in {
        ".gitignore": "build/\nstore/\n.mlops/\n__pycache__/\n",
        "components/__init__.py": "",
        "components/word.py": "WORD = 'old'\n",
        "storage/run.sh": "#!/bin/sh\n",
        "delivery/not_for_steps.py": "",
        "requirements/run.txt": "a==1\n",
    }.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    (project / "storage/run.sh").chmod(0o755)
    commit(project)
    return project


@pytest.fixture
def environment(root: Path) -> Environment:
    return read_environment("local-dev", root)


def built(root: Path, **options: Any) -> Release:
    return build(root, root / BUILT, **{"image": None, "pipelines": "released_pipelines", **options})


def change_one_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def test_a_commit_is_the_same_release_on_every_machine(root: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from delivery.release import build; clone, out = map(Path, sys.argv[1:]);"
    code += "print(build(clone, out, image=None, pipelines='released_pipelines').id)"
    script = 'umask 077 && git clone -q "$1" clone && "$2" -c "$3" clone elsewhere'
    paths = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
    machine = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": paths, "TZ": "Asia/Tokyo", "USER": "other"}
    command = ["sh", "-c", script, "sh", str(root), sys.executable, code]

    os.utime(root / "components/word.py", (1, 1))
    done = subprocess.run(command, cwd=tmp_path, env=machine, capture_output=True, text=True)
    release = built(root)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{release.id}\n", "")
    for name in FILES:
        content = Path(release.url, name).read_bytes()
        assert content == (tmp_path / "elsewhere" / release.id / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_a_release_says_what_it_is_of(root: Path) -> None:
    release = built(root)

    assert release.id == objects.sha256_of(Path(release.url, "manifest.json"))
    assert (release.image, release.commit, release.dirty) == (f"local@sha256:{release.code}", git.head(root), False)
    assert release.lock == hashlib.sha256(b"a==1\n").hexdigest()
    assert release.files == {name: objects.sha256_of(Path(release.url, name)) for name in FILES if "json" not in name}
    judge, say = release.packages["judge"], release.packages["say"]
    assert (judge.sha256, judge.model) == (release.files["packages/judge.yaml"], "tests.toy")
    assert (judge.contract, judge.gates) == (toy.CONTRACT.fingerprint(), toy.GATES.sha256())
    assert (say.model, say.contract, say.gates) == ("", "", "")
    assert f"image: {release.image}\n".encode() in release.package("say")
    with pytest.raises(WrongUse, match="holds no pipeline `sey`") as unknown:
        release.package("sey")
    assert unknown.value.do == "did you mean `say`?"


def test_built_again_a_release_stays_as_it_is_and_a_changed_copy_is_mended(root: Path) -> None:
    release = built(root)
    before = {name: Path(release.url, name).stat().st_ino for name in FILES}

    assert built(root) == release
    assert {name: Path(release.url, name).stat().st_ino for name in FILES} == before

    change_one_byte(Path(release.url, "code.tar"))
    built(root).verify()


def test_a_dirty_tree_is_refused_unless_the_release_shall_say_so(root: Path) -> None:
    clean = built(root)
    (root / "new.py").touch()

    with pytest.raises(DirtyTree, match=f"the tree is not what commit {clean.commit[:12]} says"):
        built(root)

    release = built(root, allow_dirty=True)
    assert (release.dirty, release.commit) == (True, clean.commit)
    assert release.id != clean.id


def test_an_image_is_named_by_its_digest_and_then_no_code_is_released(root: Path) -> None:
    for image in ("steps:v1", "steps@sha256:12", "@sha256:" + "a" * 64, "local@sha256:" + "a" * 64):
        with pytest.raises(WrongUse, match="is no image by its digest"):
            built(root, image=image)
    assert not (root / "build").exists()

    release = built(root, image=IMAGE)
    assert (release.image, release.code, unpacked(release, root)) == (IMAGE, "", {})
    assert f"image: {IMAGE}\n".encode() in release.package("say")
    assert not Path(release.url, "code.tar").exists()


def test_code_that_is_a_link_or_not_there_or_of_no_commit_is_refused(root: Path) -> None:
    (root / "storage/link.py").symlink_to("../components/word.py")
    commit(root)
    with pytest.raises(WrongUse, match=r"storage/link.py is a link, or no file at all"):
        built(root)

    for room in ("components", "storage"):
        (root / room).rename(root / f"no_{room}")
    commit(root)
    with pytest.raises(WrongUse, match="there is no code to release: no components, no models, no storage"):
        built(root)

    (root / ".git").rename(root / "no_git")
    with pytest.raises(WrongUse, match="not a git repository"):
        built(root)


def test_what_the_lint_refuses_is_not_released_and_others_can_be_named(root: Path) -> None:
    with pytest.raises(Failed, match="the pipeline `bare` may not be packaged"):
        built(root, pipelines="tiny_pipelines")
    assert not (root / "build").exists()

    named = [
        built(root, pipelines="tiny_pipelines", names=names) for names in (["silent", "greet"], ["greet", "silent"])
    ]
    assert named[0] == named[1]
    assert named[0].packages.keys() == {"greet", "silent"}
    assert named[0].packages["greet"].model == ""  # it calls a model what no folder is called


def test_pipelines_of_another_folder_are_not_released_as_this_commits(root: Path) -> None:
    (root / "released_pipelines").mkdir()

    with pytest.raises(WrongUse, match=f"the pipelines that would be compiled are those of {HERE}"):
        built(root)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("harm", "said"), [(change_one_byte, "is not the one"), (Path.unlink, "is missing")])
def test_one_changed_byte_or_one_missing_file_is_found(
    root: Path, environment: Environment, harm: Callable[[Path], None], name: str, said: str
) -> None:
    release = built(root)
    release.verify()

    harm(Path(release.url, name))

    for use in (release.verify, lambda: copy(release, environment.store)):
        with pytest.raises(BytesDiffer, match=f"{name} {said}") as refused:
            use()
        assert (refused.value.where, refused.value.do[-len(FOUND) :]) == (release.url, FOUND)
    assert objects.folders(environment.store) == []
    if name == "manifest.json":
        with pytest.raises((BytesDiffer, WrongUse), match=f"not the one .*, not {release.short}|there is no release"):
            open_release(release.url)
    if name == "packages/say.yaml":
        with pytest.raises(BytesDiffer):
            release.package("say")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: None, "its schema is not 1"),
        (lambda m: {**m, "schema": 2}, "its schema is not 1"),
        (lambda m: {key: m[key] for key in m if key != "lock"}, "not as it should be: lock"),
        (lambda m: {**m, "dirty": "no", "url": "other"}, "not as it should be: dirty, url"),
        (lambda m: {**m, "image": "steps:v1"}, "its image `steps:v1` has no digest"),
        (lambda m: {**m, "packages": {"say": {}}}, "`say` is no package"),
        (lambda m: {**m, "packages": {"../say": m["packages"]["say"]}}, "`../say` is no package"),
        (lambda m: {**m, "files": {**m["files"], "../x": "a" * 64}}, "its files are not those of its packages"),
        (lambda m: {**m, "files": {**m["files"], "code.tar": "a" * 64}}, "its files are not those of its packages"),
    ],
)
def test_a_strangers_manifest_is_a_sentence(
    root: Path, tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    manifest = json.loads(Path(built(root).url, "manifest.json").read_bytes())

    for text, sentence in ((json.dumps(change(manifest)), said), ("{", "it is no JSON")):
        folder = tmp_path / hashlib.sha256(text.encode()).hexdigest()
        folder.mkdir()
        (folder / "manifest.json").write_text(text)
        with pytest.raises(Failed, match=f"manifest.json is none of a release: {sentence}"):
            open_release(str(folder))


def test_a_release_is_found_by_folder_or_id_here_first_then_in_the_store(root: Path, environment: Environment) -> None:
    release = built(root)
    stored = copy(release, environment.store)

    for name in (release.id, release.id[:6], release.url, os.path.relpath(release.url)):
        assert find(name, environment) == release
    Path(release.url, "manifest.json").unlink()  # half a build
    for name in (release.short, stored.url):
        assert find(name, environment) == stored


def test_a_name_of_no_release_or_of_two_is_told_what_would_be_right(root: Path, environment: Environment) -> None:
    release = built(root)
    for name, do in (("0" * 12, "there is"), (release.id[:5], "did you mean"), ("say", "there is")):
        with pytest.raises(WrongUse, match=f"there is no release `{name}`") as unknown:
            find(name, environment)
        assert unknown.value.do == f"{do} `{release.short}`{'?' * (do[0] == 'd')}; build one with `mlops release`"
    with pytest.raises(WrongUse, match="there is no release"):
        find("./nowhere", environment)

    other = root / BUILT / (release.id[:6] + "0" * 58)
    other.mkdir()
    (other / "manifest.json").touch()
    with pytest.raises(WrongUse, match=f"`{release.id[:6]}` begins the ids of 2 releases") as unknown:
        find(release.id[:6], environment)
    assert f"`{release.id}`" in unknown.value.do


def test_a_release_in_a_bucket_is_the_same_and_stays_as_it_is(root: Path, s3: S3) -> None:
    release, store = built(root), s3.bucket("prod")
    copied = copy(release, store)
    opened = open_release(f"{store}/releases/{release.id}/")

    assert opened == copied == copy(opened, store)
    assert (opened.id, opened.packages, opened.files) == (release.id, release.packages, release.files)
    assert opened.package("say") == release.package("say")
    assert (unpacked(opened, root)[release.image] / "components/word.py").read_text() == "WORD = 'old'\n"

    key = f"releases/{release.id}/code.tar"
    s3.client.put_object(Bucket="prod", Key=key, Body=b"other")
    with pytest.raises(BytesDiffer, match=r"code.tar is not the one"):
        copy(release, store)
    assert s3.client.get_object(Bucket="prod", Key=key)["Body"].read() == b"other"  # nobody may write over it


def test_a_release_that_was_cut_short_is_none_and_a_repeat_completes_it(root: Path, environment: Environment) -> None:
    release = built(root)
    stored = Path(environment.store.removeprefix("file:"), "releases", release.id)

    for again, folder in (lambda: copy(release, environment.store), stored), (lambda: built(root), Path(release.url)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "packages").touch()  # in the way of the packages
        with pytest.raises(objects.StorageError):
            again()
        with pytest.raises(WrongUse, match="there is no release"):
            open_release(str(folder))

        (folder / "packages").unlink()
        again().verify()


def test_unpacked_code_is_what_was_released_whatever_was_done_to_it(root: Path) -> None:
    release = built(root)
    folder = unpacked(release, root)[release.image]
    (folder / "components/__pycache__").mkdir()
    (folder / "components/__pycache__/word.pyc").touch()
    inode = folder.stat().st_ino
    assert unpacked(release, root) == {release.image: root / ".mlops/code" / release.code}
    assert folder.stat().st_ino == inode  # what Python leaves there is no change

    for harm in (
        lambda: (folder / "components/word.py").write_text("WORD = 'edited'\n"),
        lambda: (folder / "sitecustomize.py").touch(),
        lambda: (folder / "components/__init__.py").unlink(),
        lambda: (folder / "storage/run.sh").chmod(0o644),
    ):
        harm()
        with ThreadPoolExecutor() as many:
            assert list(many.map(lambda _: unpacked(release, root), range(4))) == [{release.image: folder}] * 4
        left = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert sorted(left) == ["components/__init__.py", "components/word.py", "storage/run.sh"]
        assert left["components/word.py"].read_text() == "WORD = 'old'\n"
        assert [os.access(left[name], os.X_OK) for name in sorted(left)] == [False, False, True]
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", release.code]


def test_an_archive_that_was_packed_otherwise_is_not_opened(tmp_path: Path) -> None:
    archives = [b"no archive"]
    for of in (
        {"name": "../out.py"},
        {"name": "/out.py"},
        {"name": "link", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"name": "link", "type": tarfile.LNKTYPE, "linkname": "nowhere"},
        {"name": "owned.py", "uname": "someone"},
    ):
        file, member = io.BytesIO(), tarfile.TarInfo()
        for key, value in of.items():
            setattr(member, key, value)
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            tar.addfile(member)
        archives.append(file.getvalue())

    for archive in archives:
        with pytest.raises(Failed, match="the archive was not packed by `mlops`"):
            unpack(archive, tmp_path / "code/hash", "here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_release_runs_the_code_that_it_was_built_from(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    old = built(root)
    (root / "components/word.py").write_text("WORD = 'new'\n")
    commit(root)
    new, out = built(root), tmp_path / "said"

    with ThreadedLocalKfp(images={**unpacked(old, root), **unpacked(new, root)}) as server:
        client = kfp.Client(host=server.url)
        for release, word in ((new, "new"), (old, "old")):
            package = str(Path(release.url, "packages/say.yaml"))
            run = client.create_run_from_pipeline_package(package, arguments={"out": str(out)})
            assert client.wait_for_run_completion(run.run_id, 120, sleep_duration=0.1).state == "SUCCEEDED"
            assert out.read_text() == word
