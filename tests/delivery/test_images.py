from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from delivery import git
from delivery.cli import main
from delivery.images import CONTENTS
from tests.delivery.conftest import Outcome

REPOSITORY = Path(__file__).parents[2]
REPO = "registry.example:5000/team/songs"
MADE = "2026-01-02T03:04:05+00:00"
ID, PUSHED = "1" * 64, "2" * 64

# An image's files, and whether each can be executed
LOCKS = ("requirements/kfp.txt", "requirements/make.txt", "requirements/steps-cpu.txt", "requirements/steps-gpu.txt")
OF_STEPS = (
    "components/__init__.py",
    "components/deep/word.py",
    "images/steps/Containerfile",
    "images/steps/imports.py",
)
STEPS = {**dict.fromkeys((*OF_STEPS, "models/m.py", *LOCKS), False), "storage/run.sh": True}
OF_MLOPS = "images/mlops/Containerfile requirements/make.txt requirements/mlops.txt requirements/run.txt"
MLOPS = {**dict.fromkeys(OF_MLOPS.split(), False), "images/mlops/mlops": True}
GET = "start Docker (`systemctl start docker`), or install Podman or Buildah: `apt-get install podman`"
BASE, MIRROR = "registry.example/python:3.12", "https://pip.example/simple"

# A builder as far as it is used: what it was given is in <tool>.json beside it, and a context's files with their modes.
BUILDER = """#!{python} -SE
import argparse, json, os, pathlib, sys
settings, tool, words = json.loads({settings!r}), pathlib.Path(__file__), sys.argv[1:]
log = tool.with_suffix(".json")
calls = json.loads(log.read_text()) if log.exists() else []
call = dict(words=words)
if words[0] == "build":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for option in ("--file", "--tag", "--iidfile"):
        parser.add_argument(option, required=True)
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("context", type=pathlib.Path)
    given = parser.parse_args(words[1:])
    below = sorted(path for path in given.context.rglob("*") if path.is_symlink() or not path.is_dir())
    call["files"] = {{str(path.relative_to(given.context)): os.access(path, os.X_OK) for path in below}}
    call["word"] = "".join(path.read_text() for path in below if path.name == "word.py")
    call["file"], call["tag"] = os.path.relpath(given.file, given.context), given.tag
    call["arguments"] = dict(argument.split("=", 1) for argument in given.build_arg)
log.write_text(json.dumps([*calls, call]))
print(settings["says"] if words[:2] == ["image", "inspect"] else "the builder talks")
if words[0] in settings["fails"]:
    print("it does not work", file=sys.stderr)
    sys.exit(125)
if words[0] == "build":
    pathlib.Path(given.iidfile).write_text("sha256:" + settings["id"])
if words[0] == "push" and tool.name == "docker" and len(words) != 2:
    sys.exit("unknown flag")
if words[0] == "push" and tool.name != "docker":
    pathlib.Path(words[words.index("--digestfile") + 1]).write_text("sha256:" + settings["digest"])
"""


@dataclass
class Builders:
    """Builders on the PATH, where nothing else is but git."""

    folder: Path

    def install(self, tool: str = "docker", *, fails: str = "", says: object = None) -> None:
        """`fails` are the verbs that do; `says` is what Docker has as the image's RepoDigests."""
        settings = json.dumps({"fails": fails.split(), "id": ID, "digest": PUSHED, "says": json.dumps(says)})
        (self.folder / tool).write_text(BUILDER.format(python=sys.executable, settings=settings))
        (self.folder / tool).chmod(0o755)

    def calls(self, tool: str = "docker") -> list[dict[str, Any]]:
        log = self.folder / f"{tool}.json"
        return json.loads(log.read_text()) if log.exists() else []

    def built(self, tool: str = "docker") -> dict[str, Any]:
        """What its only build was given."""
        [found] = [call for call in self.calls(tool) if call["words"][0] == "build"]
        return found


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builders:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(folder))
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return Builders(folder)


def commit(root: Path) -> None:
    environment = {**os.environ, "GIT_COMMITTER_DATE": MADE}
    for words in ("init -q", "add -A", "-c user.name=a -c user.email=a@b.example commit -q -m one"):
        subprocess.run(["git", "-C", str(root), *words.split()], check=True, env=environment)


@pytest.fixture
def root(project: Path) -> Path:
    """A project with all that images are made of, and much that they are not, in a commit."""
    others = "README.md components_near/n.py delivery/d.py images/other/Containerfile requirements/dev.txt requirements/make.in"
    of_no_commit = ".env components/.env models/mine.key images/steps/mine.key storage/__pycache__/run.pyc"
    for name, mode in {**STEPS, **MLOPS, **dict.fromkeys(f"{others} {of_no_commit}".split(), False)}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("old\n")
        (project / name).chmod(0o755 if mode else 0o644)
    (project / ".gitignore").write_text("build/\nstore/\n.env\n*.key\n__pycache__/\n")
    (project / "project.yaml").write_text(f'name: "Songs"\nowner: "Ada"\nimage: "{REPO}"\n')
    commit(project)
    return project


@pytest.fixture
def mlops(root: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main(list(words), pipelines="released_pipelines")
        said = capfd.readouterr()
        return Outcome(exit_code=int(stop.value.code or 0), out=said.out, err=said.err)

    return call


def sentence(what: str, where: object, do: str) -> str:
    return f"error: {what}\n  where: {where}\n  to do: {do}\n"


def record(root: Path, name: str = "steps") -> Any:
    return json.loads((root / f"build/images/{name}.json").read_text())


def left(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((root / "build").rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("name", "files"), [("steps", STEPS), ("mlops", MLOPS)])
def test_a_builder_is_given_these_files_only(root: Path, builders: Builders, mlops: Any, name: str, files: Any) -> None:
    builders.install()

    assert mlops("image", "build", name).ok

    assert (builders.built()["files"], builders.built()["file"]) == (files, f"images/{name}/Containerfile")
    assert record(root, name)["name"] == name


@pytest.mark.parametrize("name", ["steps", "mlops"])
def test_what_a_containerfile_copies_is_what_its_builder_is_given(name: str) -> None:
    text = (REPOSITORY / f"images/{name}/Containerfile").read_text(encoding="utf-8")

    words = " ".join(re.findall("^COPY (?!--from)(.*) .*$", text, re.M)).split()
    copied = {word.replace("${ACCELERATOR}", kind) for word in words for kind in ("cpu", "gpu")}

    assert {path for path in copied if not path.startswith(f"images/{name}/")} == set(CONTENTS[name])
    assert [path for path in (*copied, *CONTENTS[name]) if not (REPOSITORY / path).exists()] == []


def test_what_was_built_is_all_that_is_printed_on_stdout(root: Path, builders: Builders, mlops: Any) -> None:
    builders.install()
    head = git.head(root)

    first, data = mlops("image", "build"), mlops("image", "build", "--json")

    assert [call["words"][0] for call in builders.calls()] == ["info", "build"] * 2
    assert first == Outcome(exit_code=0, out=f"localhost/songs@sha256:{ID}\n", err="the builder talks\n")
    assert (data.exit_code, json.loads(data.out), data.err) == (0, record(root), "the builder talks\n")
    assert re.fullmatch("[0-9a-f]{64}", record(root)["contents"])
    assert {key: value for key, value in record(root).items() if key != "contents"} == {
        "name": "steps",
        "image": f"localhost/songs@sha256:{ID}",
        "tag": f"localhost/songs:{head[:12]}",
        "builder": "docker",
        "accelerator": "cpu",
        "commit": head,
        "dirty": False,
    }


def test_a_dirty_tree_is_refused_unless_the_record_shall_say_so(root: Path, builders: Builders, mlops: Any) -> None:
    builders.install()
    (root / "components/new.py").touch()
    (root / "models/m.py").unlink()
    (root / "components/deep/word.py").write_text("new\n")

    refused = mlops("image", "build")
    head, do = git.head(root), "commit, or stash, what `git status` shows; or --allow-dirty"
    what = f"the tree is not what commit {head[:12]} says"
    assert refused == Outcome(exit_code=3, out="", err=sentence(what, root, do))
    assert (builders.calls(), (root / "build").exists()) == ([], False)

    assert mlops("image", "build", "--allow-dirty").ok
    assert (record(root)["dirty"], record(root)["commit"]) == (True, head)
    assert record(root)["tag"].endswith(f":{head[:12]}-dirty")
    files = {**{path: mode for path, mode in STEPS.items() if path != "models/m.py"}, "components/new.py": False}
    assert (builders.built()["files"], builders.built()["word"]) == (files, "new\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stps", ("there is no image `stps`", "{root}/images", "did you mean `steps`?")),
        ("other", ("there is no image `other`", "{root}/images", "there is `mlops`, `steps`")),
        ("--builder dockr", ("`dockr` is no builder", "--builder", "did you mean `docker`?")),
        ("mlops --gpu", ("the image `mlops` computes nothing", "--gpu", "leave --gpu out")),
    ],
)
def test_what_cannot_be_meant_is_refused(root: Path, builders: Builders, mlops: Any, words: str, said: Any) -> None:
    builders.install()

    refused = mlops("image", "build", *words.split())

    assert refused == Outcome(exit_code=2, out="", err=sentence(*said).format(root=root))
    assert (builders.calls(), (root / "build").exists()) == ([], False)


@pytest.mark.parametrize(
    ("here", "wanted", "chosen", "said"),
    [
        ("docker podman buildah", "", "docker", ""),
        ("docker podman", "podman", "podman", ""),
        ("buildah", "", "buildah", ""),
        ("docker-without podman", "", "podman", ""),
        ("docker-without podman", "docker", "", "docker is here, and no engine answers it"),
        ("docker-without podman-without", "", "", "docker, podman is here, and no engine answers it"),
        ("podman", "docker", "", "docker is not here"),
        ("", "", "", "there is nothing here that builds images"),
    ],
)
def test_the_builder_is_the_one_that_is_named_or_the_first_that_answers(
    root: Path, builders: Builders, mlops: Any, here: str, wanted: str, chosen: str, said: str
) -> None:
    for one in here.split():
        tool, _, without = one.partition("-")
        builders.install(tool, fails="info" if without else "")

    outcome = mlops("image", "build", *(["--builder", wanted] if wanted else []))

    if chosen:
        assert (outcome.out, record(root)["builder"]) == (f"localhost/songs@sha256:{ID}\n", chosen)
        assert builders.built(chosen)["tag"] == record(root)["tag"]
    else:
        assert outcome == Outcome(exit_code=2, out="", err=sentence(said, "PATH", GET))
        assert not (root / "build").exists()


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    ("fails", "tool"),
    [("build", "docker"), ("build", "podman"), ("push", "docker"), ("push", "podman"), ("image", "docker")],
)
def test_a_builder_that_fails_is_a_sentence_and_what_was_remembered_stays(
    root: Path, builders: Builders, mlops: Any, tool: str, fails: str, old: bool
) -> None:
    if old:
        builders.install(tool)
        assert mlops("image", "build").ok
    before = left(root)
    builders.install(tool, fails=fails, says=[f"{REPO}@sha256:{PUSHED}"])

    outcome = mlops("image", "build", "--gpu", "--push")

    tag = f"{REPO}:{git.head(root)[:12]}-gpu"
    base = "read what it said above; where the base cannot be pulled from, name another by --base"
    login = f"`{tool} login` to that registry; see project.yaml"
    by_hand = "docker image inspect --format {{json .RepoDigests}} " + tag
    said = {
        "build": (f"the image cannot be built: {tool} ended 125", "images/steps/Containerfile", base),
        "push": (f"the image cannot be pushed: {tool} ended 125", tag, login),
        "image": ("docker says: it does not work", by_hand, "see what it says by hand"),
    }[fails]
    assert (outcome.exit_code, outcome.out, outcome.err[-len(sentence(*said)) :]) == (1, "", sentence(*said))
    assert (left(root), bool(before)) == (before, old)


@pytest.mark.parametrize(
    ("words", "environment", "arguments"),
    [
        ("steps", {}, {"ACCELERATOR": "cpu"}),
        ("steps --gpu", {}, {"ACCELERATOR": "gpu"}),
        ("mlops", {}, {}),
        (f"mlops --base {BASE}", {}, {"BASE": BASE}),
        ("mlops", {"PIP_INDEX_URL": MIRROR, "PIP_TOKEN": "secret"}, {"PIP_INDEX_URL": MIRROR}),
        ("mlops", {"UV_DEFAULT_INDEX": f"{MIRROR}?a=b", "PIP_INDEX_URL": ""}, {"UV_DEFAULT_INDEX": f"{MIRROR}?a=b"}),
    ],
)
def test_a_build_is_told_what_was_asked_for_and_what_this_machine_knows(
    root: Path, builders: Builders, mlops: Any, monkeypatch: Any, words: str, environment: Any, arguments: Any
) -> None:
    builders.install()
    for key, value in environment.items():
        monkeypatch.setenv(key, value)

    assert mlops("image", "build", *words.split()).ok

    name, head, built = words.split()[0], git.head(root), builders.built()
    assert built["arguments"] == {"TITLE": f"Songs: {name}", "REVISION": head, "CREATED": MADE, **arguments}
    tag = f"localhost/songs{'-mlops' * (name == 'mlops')}:{head[:12]}{'-gpu' * ('--gpu' in words)}"
    assert (built["tag"], record(root, name)["tag"]) == (tag, tag)
    assert record(root, name)["accelerator"] == arguments.get("ACCELERATOR", "")


@pytest.mark.parametrize("name", ["steps", "mlops"])
@pytest.mark.parametrize("tool", ["docker", "podman", "buildah"])
def test_an_image_has_its_registrys_digest(root: Path, builders: Builders, mlops: Any, tool: str, name: str) -> None:
    repository = REPO + "-mlops" * (name == "mlops")
    others = [f"registry.example/old@sha256:{'3' * 64}", f"{repository}-old@sha256:{'4' * 64}"]
    builders.install(tool, says=[*others, f"{repository}@sha256:{PUSHED}"])

    outcome = mlops("image", "build", name, "--push")

    assert outcome == Outcome(exit_code=0, out=f"{repository}@sha256:{PUSHED}\n", err="the builder talks\n" * 2)
    tag = f"{repository}:{git.head(root)[:12]}"
    [pushed] = [call["words"] for call in builders.calls(tool) if call["words"][0] == "push"]
    assert (builders.built(tool)["tag"], record(root, name)["tag"], pushed[-1]) == (tag, tag, tag)


@pytest.mark.parametrize("says", [None, [], [f"registry.example/other@sha256:{PUSHED}"]])
def test_a_push_that_gave_no_digest_is_a_sentence(root: Path, builders: Builders, mlops: Any, says: Any) -> None:
    builders.install(says=says)

    outcome = mlops("image", "build", "--push")

    tag, do = f"{REPO}:{git.head(root)[:12]}", "push it again, or see what the registry says"
    said = sentence("the registry gave the image no digest", tag, do)
    assert outcome == Outcome(exit_code=1, out="", err=2 * "the builder talks\n" + said)
    assert not (root / "build").exists()


def test_a_link_is_refused_where_an_image_would_hold_it(root: Path, builders: Builders, mlops: Any) -> None:
    builders.install()
    (root / "delivery/link.py").symlink_to("../.env")
    commit(root)
    assert mlops("image", "build").ok
    before = left(root)

    (root / "components/link.py").symlink_to("../.env")
    commit(root)
    said = ("components/link.py is a link, or no file at all", root / "components/link.py", "put the file itself there")
    assert mlops("image", "build") == Outcome(exit_code=2, out="", err=sentence(*said))
    assert left(root) == before


def test_an_image_without_a_containerfile_is_refused(root: Path, builders: Builders, mlops: Any) -> None:
    builders.install()
    (root / "images/steps/Containerfile").unlink()
    commit(root)

    what, do = "there is no Containerfile of the image `steps`", "take it from the template, or from an earlier commit"
    assert mlops("image", "build") == Outcome(exit_code=2, out="", err=sentence(what, root / "images/steps", do))
    assert mlops("image", "build", "mlops").ok
    assert list(left(root)) == ["mlops.json"]


@pytest.mark.parametrize(
    ("changed", "words", "image"),
    [
        ("README.md", [], f"localhost/songs@sha256:{ID}"),  # it is in no image
        ("README.md", ["--image", f"sha256:{PUSHED}"], f"{REPO}@sha256:{PUSHED}"),
        ("README.md", ["--image", "local"], "local"),
        ("components/deep/word.py", [], "note"),
        ("requirements/steps-gpu.txt", [], "note"),
        ("images/steps/imports.py", [], "note"),
        ("images/steps/Containerfile", [], "note"),  # which is gone then
        *(("build/images/steps.json", [harm], "local") for harm in ("", "[", "[]", "{}", '{"more": 1, ')),
    ],
)
def test_a_release_has_the_image_of_the_same_files_else_the_code_and_says_why(
    root: Path, builders: Builders, mlops: Any, changed: str, words: list[str], image: str
) -> None:
    builders.install()
    assert mlops("image", "build").ok
    assert mlops("image", "build", "mlops").ok  # whose record is none of the steps'
    head, path = git.head(root), root / changed
    if changed.endswith(".json"):
        [harm], words = words, []
        path.write_text(harm + path.read_text()[1:] if len(harm) > 2 else harm)
    else:
        path.unlink() if path.name == "Containerfile" else path.write_text("new\n")
        commit(root)

    outcome = mlops("release", "--json", *words)

    release = json.loads(outcome.ok)
    what = f"localhost/songs@sha256:{ID} was built of other files (commit {head[:12]}): the code itself is released"
    assert outcome.err == (f"note: {what}\n" if image == "note" else "")
    of_code = f"local@sha256:{release['files'].get('code.tar')}"
    assert release["image"] == (of_code if image in ("note", "local") else image)
