"""A release: what a commit says to run, whole, unchangeable, and named by the hash of what it is.

A folder `<id>/` with the packages, their image pinned by digest, and where no image was built, the code of the steps as an
archive that localkfp runs in its place. The manifest names every file by its hash, and the id is the manifest's own hash: so
the same commit is the same release on every machine, and a change of one byte is another release, or is found.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from delivery import git
from delivery.archive import pack, unpack
from delivery.compile import compile_pipeline, pipeline_module, pipeline_names, read_spec
from delivery.environments import Environment
from delivery.errors import BytesDiffer, DirtyTree, Failed, WrongUse, meant
from delivery.pin import PINNED, gates_of, pinned
from storage import objects

CODE = ("components", "models", "storage")  # what the steps' image holds
BUILT = Path("build/releases")
UNPACKED = Path(".mlops/code")
MANIFEST, ARCHIVE = "manifest.json", "code.tar"
LOCAL = "local@sha256:"  # of an archive in place of an image
SCHEMA = 1
KINDS = {"schema": int, "image": str, "commit": str, "dirty": bool, "lock": str, "packages": dict, "files": dict}
SHORT = 12
AGAIN = "build the release again from its commit and deploy it"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One compiled pipeline, and what it promises; empty where it has none."""

    sha256: str
    model: str
    contract: str
    gates: str


@dataclass(frozen=True, kw_only=True)
class Release:
    """One copy of a release, as its manifest says it is; a file's content is compared with that whenever it is read."""

    id: str
    image: str
    commit: str
    dirty: bool  # built from a tree that no commit holds
    lock: str  # SHA-256 of requirements/run.txt, which an image is built from
    packages: dict[str, Package]
    files: dict[str, str]  # path -> SHA-256, of all but the manifest
    url: str  # the folder of this copy

    @property
    def short(self) -> str:
        return self.id[:SHORT]

    @property
    def code(self) -> str:
        """The hash of the archive; empty where there is an image."""
        return self.files.get(ARCHIVE, "")

    def package(self, pipeline: str) -> bytes:
        """What runs, byte for byte."""
        if pipeline not in self.packages:
            what = f"release {self.short} holds no pipeline `{pipeline}`"
            raise WrongUse(what, where=self.url, do=meant(pipeline, self.packages))
        return self.content(_package_path(pipeline))

    def content(self, path: str) -> bytes:
        """A file's bytes, when they are those that were released."""
        return _read(self.url, path, self.files[path])

    def verify(self) -> None:
        """Nothing is missing, and nothing was changed."""
        _read(self.url, MANIFEST, self.id)
        for path in sorted(self.files):
            self.content(path)


def build(
    root: Path,
    out: Path,
    *,
    image: str | None,
    pipelines: str,
    allow_dirty: bool = False,
    names: Sequence[str] | None = None,
) -> Release:
    """The release of the commit that is checked out, in a folder of `out`; built again, it stays as it is.

    Without an image, the steps' code is archived in its place. `names` are the pipelines to be in it: all, unless said.
    """
    if image is not None and (image.startswith(LOCAL) or not PINNED.fullmatch(image)):
        do = "name it as REPO@sha256:<64 hex digits>, as the registry said when it was pushed"
        raise WrongUse(f"`{image}` is no image by its digest", where="--image", do=do)
    commit, dirty = git.head(root), git.is_dirty(root)
    if dirty and not allow_dirty:
        what = f"the tree is not what commit {commit[:SHORT]} says"
        raise DirtyTree(what, where=root, do="commit, or stash, what `git status` shows")
    _require_own(pipelines, root)
    contents: dict[str, bytes] = {}
    if image is None:
        contents[ARCHIVE] = _code(root)
        image = LOCAL + _sha256(contents[ARCHIVE])
    packages = {}
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        for name in pipeline_names(pipelines) if names is None else names:
            content = pinned(compile_pipeline(name, Path(scratch), pipelines).read_bytes(), image)
            contents[_package_path(name)] = content
            packages[name] = _described(content, getattr(pipeline_module(name, pipelines), "MODEL", ""))
    if not packages:
        raise WrongUse("there is no pipeline to release", where=f"the package `{pipelines}`", do="write one")
    lock = root / "requirements/run.txt"
    said = {
        "schema": SCHEMA,
        "image": image,
        "commit": commit,
        "dirty": dirty,
        "lock": _sha256(lock.read_bytes()) if lock.is_file() else "",
        "packages": {name: asdict(package) for name, package in packages.items()},
        "files": {path: _sha256(content) for path, content in contents.items()},
    }
    manifest = json.dumps(said, indent=1, sort_keys=True).encode() + b"\n"
    folder = str(out.absolute() / _sha256(manifest))
    for path, content in {**contents, MANIFEST: manifest}.items():  # the manifest last: where it is, all is
        url = objects.join(folder, path)
        # A copy that was changed is mended: what it is, the commit decides
        if not objects.exists(url) or objects.read_bytes(url) != content:
            objects.write_bytes(url, content)
    return open_release(folder)


def open_release(url: str) -> Release:
    """The release in that folder; its manifest is the one that the folder is named after."""
    folder = url.rstrip("/")
    if not objects.exists(objects.join(folder, MANIFEST)):
        do = "name a folder with a manifest.json, or build one: `mlops release`"
        raise WrongUse("there is no release", where=folder, do=do)
    manifest = _read(folder, MANIFEST, folder.rpartition("/")[2])
    try:
        said = json.loads(manifest)
        problem = _problem(said)
    except (ValueError, RecursionError) as error:
        problem = f"it is no JSON: {error}"
    if problem:
        do = "read it with the `mlops` that wrote it, or build the release again"
        raise Failed(f"{MANIFEST} is none of a release: {problem}", where=folder, do=do)
    packages = {name: Package(**package) for name, package in said.pop("packages").items()}
    del said["schema"]
    return Release(id=_sha256(manifest), packages=packages, url=folder, **said)


def find(name: str, environment: Environment) -> Release:
    """By its folder, or by its id or how that begins: among those built here, else in the environment's store."""
    if "/" in name or (Path(name) / MANIFEST).is_file():
        return open_release(name if ":" in name else str(Path(name).resolve()))
    known: dict[str, None] = {}
    for place in (str(environment.root / BUILT), objects.join(environment.store, "releases")):
        ids = objects.folders(place)
        found = [one for one in ids if one.startswith(name)] if re.fullmatch("[0-9a-f]{6,64}", name) else []
        found = [one for one in found if objects.exists(objects.join(place, one, MANIFEST))]  # else half a build
        if len(found) > 1:
            do = "write more of it: " + ", ".join(f"`{one}`" for one in found)
            raise WrongUse(f"`{name}` begins the ids of {len(found)} releases", where=place, do=do)
        if found:
            return open_release(objects.join(place, found[0]))
        known |= dict.fromkeys(one[:SHORT] for one in ids)
    do = f"{meant(name, known)}; build one with `mlops release`"
    raise WrongUse(f"there is no release `{name}`", where=f"{BUILT}, {environment.store}", do=do)


def in_store(store: str, release_id: str) -> Release:
    """The copy that an environment keeps."""
    return open_release(objects.join(store, "releases", release_id))


def copy(release: Release, store: str) -> Release:
    """The same release in a store, verified there; what is there already is left as it is."""
    contents = {path: release.content(path) for path in release.files}  # all of them first: half a copy proves nothing
    contents[MANIFEST] = _read(release.url, MANIFEST, release.id)
    folder = objects.join(store, "releases", release.id)
    for path, content in contents.items():
        if not objects.exists(objects.join(folder, path)):
            objects.write_once(objects.join(folder, path), content)
    copied = open_release(folder)
    copied.verify()
    return copied


def unpacked(release: Release, root: Path) -> dict[str, Path]:
    """The folder that stands for the release's image on this machine; none where the image is a container's."""
    if not release.code:
        return {}
    target = root / UNPACKED / release.code
    unpack(release.content(ARCHIVE), target, release.url)
    return {release.image: target}


def _read(folder: str, path: str, sha256: str) -> bytes:
    url = objects.join(folder, path)
    if not objects.exists(url):
        raise BytesDiffer(f"{path} is missing from the release", where=folder, do=AGAIN)
    content = objects.read_bytes(url)
    if _sha256(content) != sha256:
        what = (
            f"{path} is not the one that was released: its SHA-256 is {_sha256(content)[:SHORT]}, not {sha256[:SHORT]}"
        )
        raise BytesDiffer(what, where=folder, do=f"delete that file, {AGAIN}")
    return content


def _problem(said: Any) -> str:
    """What makes it no manifest of ours; empty when it is one. It comes from a store that others write to."""
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        return f"its schema is not {SCHEMA}"
    keys = KINDS.keys() | said.keys()
    if wrong := sorted(key for key in keys if key not in KINDS or not isinstance(said.get(key), KINDS[key])):
        return f"not as it should be: {', '.join(wrong)}"
    if not PINNED.fullmatch(said["image"]):
        return f"its image `{said['image']}` has no digest"
    files = {}
    for name, package in said["packages"].items():
        texts = package if isinstance(package, dict) and all(isinstance(of, str) for of in package.values()) else {}
        if not re.fullmatch(r"\w+", name) or texts.keys() != {
            item.name for item in fields(Package)
        }:  # it becomes a path
            return f"`{name}` is no package"
        files[_package_path(name)] = texts["sha256"]
    if said["image"].startswith(LOCAL):
        files[ARCHIVE] = said["image"].removeprefix(LOCAL)
    return "" if said["files"] == files else "its files are not those of its packages and its image"


def _package_path(pipeline: str) -> str:
    return f"packages/{pipeline}.yaml"


def _described(content: bytes, model: str) -> Package:
    from models import load  # here, as it brings all that a model needs

    try:
        contract = load(model).CONTRACT.fingerprint() if model else ""
    except LookupError:  # a pipeline may call a model what no folder is called
        model = contract = ""
    return Package(sha256=_sha256(content), model=model, contract=contract, gates=gates_of(read_spec(content)))


def _require_own(pipelines: str, root: Path) -> None:
    """An `mlops` that was installed from another folder would compile that one's pipelines under this one's commit."""
    own, found = root / pipelines, Path(str(import_module(pipelines).__file__)).parent
    if own.is_dir() and found.resolve() != own.resolve():
        do = f"install this project, or let Python find it first: PYTHONPATH={root}"
        raise WrongUse(f"the pipelines that would be compiled are those of {found}", where=own, do=do)


def _code(root: Path) -> bytes:
    paths = [path for path in git.files(root) if path.partition("/")[0] in CODE]
    if not paths:
        raise WrongUse(f"there is no code to release: no {', no '.join(CODE)}", where=root, do="name an image: --image")
    return pack(root, paths)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
