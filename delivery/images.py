"""The project's own images: built of the commit's files by the builder that is here, and remembered with what they were made of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from delivery import git
from delivery.archive import pack, unpack
from delivery.errors import DirtyTree, Failed, WrongUse, meant
from delivery.project import read_project
from delivery.release import CODE
from storage import objects

FOLDER = "images"
RECORDS = Path("build/images")
# What an image is made of, besides its own folder. Of the requirements the locks, as a list alone changes no image.
CONTENTS: Mapping[str, tuple[str, ...]] = {
    "steps": (*CODE, *(f"requirements/{lock}.txt" for lock in ("make", "kfp", "steps-cpu", "steps-gpu"))),
    "mlops": tuple(f"requirements/{lock}.txt" for lock in ("make", "run", "mlops")),
}
BUILDERS = ("docker", "podman", "buildah")
LOCAL = "localhost"  # the registry of what no registry has: `localhost/NAME@ID`, as podman says it, too
PASSED_ON = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")  # where this machine gets its libraries, so does the build
SHORT = 12
SECONDS = 60
BASE_GONE = "read what it said above; where the base cannot be pulled from, name another by --base"


@dataclass(frozen=True, kw_only=True)
class Image:
    """One that was built here, as `build/images/<name>.json` remembers it."""

    name: str  # its folder in images/
    image: str  # REPO@sha256:..., as the registry said; or localhost/NAME@sha256:ID where it was not pushed
    tag: str  # what the builder calls it
    builder: str
    accelerator: str
    commit: str
    dirty: bool  # of a tree that no commit holds
    contents: str  # SHA-256 of all that it was made of

    @property
    def pushed(self) -> bool:
        return is_pushed(self.image)

    @property
    def digest(self) -> str:
        return self.image.rpartition(":")[2]

    @property
    def bill(self) -> Path:
        """Where its bill of materials is, from the root: of this image and of no other."""
        return RECORDS / f"{self.name}-{self.digest[:SHORT]}.spdx.json"


def is_pushed(image: str) -> bool:
    """Can another machine find it?"""
    return not image.startswith(f"{LOCAL}/")


def build(
    root: Path,
    name: str,
    *,
    gpu: bool = False,
    base: str = "",
    push: bool = False,
    builder: str = "",
    allow_dirty: bool = False,
) -> Image:
    """Build it, push it if asked, and remember it; what the builder says goes to stderr as it says it."""
    if name not in CONTENTS:
        raise WrongUse(f"there is no image `{name}`", where=root / FOLDER, do=meant(name, CONTENTS))
    if gpu and name != "steps":
        raise WrongUse(f"the image `{name}` computes nothing", where="--gpu", do="leave --gpu out")
    accelerator = "gpu" if gpu else "cpu"
    commit, dirty = git.head(root), git.is_dirty(root)
    if dirty and not allow_dirty:
        what = f"the tree is not what commit {commit[:SHORT]} says"
        raise DirtyTree(what, where=root, do="commit, or stash, what `git status` shows; or --allow-dirty")
    tool = _builder(builder)
    repository = _repository(root, name, push)
    tag = f"{repository}:{commit[:SHORT]}{'-gpu' * gpu}{'-dirty' * dirty}"
    archive = _archive(root, name)
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        context, said = Path(scratch, "context"), Path(scratch, "said")
        unpack(archive, context, str(root))
        command = [tool, "build", "--file", str(context / FOLDER / name / "Containerfile"), "--tag", tag]
        command += ["--iidfile", str(said)]
        for key, value in _arguments(root, name, accelerator, base, commit).items():
            command += ["--build-arg", f"{key}={value}"]
        run([*command, str(context)], "the image cannot be built", f"{FOLDER}/{name}/Containerfile", BASE_GONE)
        digest = said.read_text(encoding="utf-8").strip()
    if push:
        digest = _pushed(tool, tag, repository)
    built = Image(
        name=name,
        image=f"{repository}@{digest}",
        tag=tag,
        builder=tool,
        accelerator=accelerator if name == "steps" else "",
        commit=commit,
        dirty=dirty,
        contents=_sha256(archive),
    )
    objects.write_json(str((root / RECORDS / f"{name}.json").absolute()), asdict(built))
    return built


def last(root: Path, name: str) -> Image | None:
    """The one that was built last; None where none was, or its record is none."""
    path = root / RECORDS / f"{name}.json"
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        right = {one.name: type(said.get(one.name)).__name__ == one.type for one in fields(Image)}
        return Image(**said) if said.keys() == right.keys() and all(right.values()) and said["name"] == name else None
    except (ValueError, AttributeError, OSError):
        return None


def is_current(image: Image, root: Path) -> bool:
    """Would it be made of the same files now?"""
    try:
        return image.contents == _sha256(_archive(root, image.name))
    except WrongUse:  # its Containerfile is gone, or a link is among them: it would not be made at all
        return False


def for_release(root: Path) -> tuple[str | None, str]:
    """The image of the steps that was built of these very files, if there is one; and why it is not taken, if it is not."""
    found = last(root, "steps")
    if found is None:
        return None, ""
    if not is_current(found, root):
        return (
            None,
            f"{found.image} was built of other files (commit {found.commit[:SHORT]}): the code itself is released",
        )
    return found.image, ""


def require_last(root: Path, name: str) -> Image:
    found = last(root, name)
    if found is None:
        raise WrongUse(f"no image `{name}` was built here", where=root / RECORDS, do=f"`mlops image build {name}`")
    return found


def run(
    command: list[str], what: str, where: str, do: str, may_end: Collection[int] = (0,), at: Path | None = None
) -> None:
    """A tool's own words go to stderr, as it says them; its failure is a sentence."""
    try:
        done = subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, cwd=at)
    except OSError as error:
        raise WrongUse(
            f"{command[0]} cannot be started: {error.strerror}", where=command[0], do="install it"
        ) from error
    if done.returncode not in may_end:
        raise Failed(f"{what}: {command[0]} ended {done.returncode}", where=where, do=do)


def _builder(wanted: str) -> str:
    """The one that was named, or the first that is here and answers; Docker's client may be here without its engine."""
    if wanted and wanted not in BUILDERS:
        raise WrongUse(f"`{wanted}` is no builder", where="--builder", do=meant(wanted, BUILDERS))
    here = [tool for tool in ([wanted] if wanted else BUILDERS) if shutil.which(tool)]
    for tool in here:
        if _answers(tool):
            return tool
    what = f"{wanted} is not here" if wanted else "there is nothing here that builds images"
    what = f"{', '.join(here)} is here, and no engine answers it" if here else what
    do = "start Docker (`systemctl start docker`), or install Podman or Buildah: `apt-get install podman`"
    raise WrongUse(what, where="PATH", do=do)


def _answers(tool: str) -> bool:
    try:
        done = subprocess.run([tool, "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _repository(root: Path, name: str, push: bool) -> str:
    """Where it is kept; of the steps as project.yaml says, of another beside it."""
    image = read_project(root).image + ("" if name == "steps" else f"-{name}")
    if not push:
        return f"{LOCAL}/{image.rpartition('/')[2]}"
    return image


def _arguments(root: Path, name: str, accelerator: str, base: str, commit: str) -> dict[str, str]:
    given = {
        "TITLE": f"{read_project(root).name}: {name}",
        "REVISION": commit,
        "CREATED": git.committed_at(root, commit),
    }
    given |= {"BASE": base} if base else {}
    given |= {"ACCELERATOR": accelerator} if name == "steps" else {}
    return given | {key: os.environ[key] for key in PASSED_ON if os.environ.get(key)}


def _archive(root: Path, name: str) -> bytes:
    """The image's files, as they are now: of what git ignores, nothing can come along."""
    wanted = (*CONTENTS[name], f"{FOLDER}/{name}")
    paths = [path for path in git.files(root) if any(path == one or path.startswith(f"{one}/") for one in wanted)]
    if f"{FOLDER}/{name}/Containerfile" not in paths:
        what = f"there is no Containerfile of the image `{name}`"
        raise WrongUse(what, where=root / FOLDER / name, do="take it from the template, or from an earlier commit")
    return pack(root, paths)


def _pushed(tool: str, tag: str, repository: str) -> str:
    """The digest that the registry gave it."""
    if tool == "docker":
        run(
            [tool, "push", tag], "the image cannot be pushed", tag, f"`{tool} login` to that registry; see project.yaml"
        )
        for reference in json.loads(asked([tool, "image", "inspect", "--format", "{{json .RepoDigests}}", tag])) or []:
            if reference.startswith(f"{repository}@"):
                return str(reference.rpartition("@")[2])
        raise Failed(
            "the registry gave the image no digest", where=tag, do="push it again, or see what the registry says"
        )
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        said = Path(scratch, "digest")
        command = [tool, "push", "--digestfile", str(said), tag]
        run(command, "the image cannot be pushed", tag, f"`{tool} login` to that registry; see project.yaml")
        return said.read_text(encoding="utf-8").strip()


def asked(command: list[str]) -> str:
    """What a tool says on stdout."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(
            f"{command[0]} cannot be asked: {error}", where=command[0], do="see what it says by hand"
        ) from error
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"it ended {done.returncode}"]
        raise Failed(f"{command[0]} says: {why[0]}", where=" ".join(command), do="see what it says by hand")
    return done.stdout.strip()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
