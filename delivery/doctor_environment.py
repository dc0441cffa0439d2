"""What an environment names, asked before the first deploy: its API, token, store, registry, image and keys."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from delivery.environments import Environment
from delivery.errors import AccessDenied, Failed, MlopsError, NoAnswer, in_our_words
from delivery.health import Health, Thing, thing
from delivery.pin import PINNED
from delivery.release import BUILT
from delivery.secrets import Secret, is_open, read

BUILD = "build a release: mlops release --image REPO@sha256:..."
PUSH = "push the image, or build a release with one that is there: mlops release --image REPO@sha256:..."
MANIFESTS = ", ".join(  # a registry that is not asked for the kind which it holds says that it holds none
    f"application/vnd.{kind}+json"
    for kind in (
        *("oci.image.index.v1", "oci.image.manifest.v1"),
        *("docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2"),
    )
)
SECONDS = 5


def rows(environment: Environment) -> list[Thing]:
    """A row for each thing that it names; one that is wrong hides no other."""
    return [
        *_api(environment),
        _tried("store", environment.store, "what runs write", lambda: _try_store(environment)),
        _tried("registry", environment.registry, "versions of models", lambda: _try_registry(environment)),
        _image(environment),
        *_keys(environment),
    ]


def _tried(name: str, shown: str, use: str, attempt: Callable[[], object]) -> Thing:
    try:
        attempt()
    except Exception as error:  # whatever it is: the row says it, and the next row is looked at
        told = in_our_words(error)
        what, cure = (told.what, told.do) if told else (str(error), f"correct `{name}` in the environment")
        return thing(name, False, f"{shown}: {what}", use, cure)
    return thing(name, True, shown, use, "")


def _api(environment: Environment) -> Iterator[Thing]:
    """The endpoint, and the token apart from it: where that is refused, somebody answers."""
    url, use = environment.endpoint, "leave to use the API"
    if url == "local":
        yield _tried("endpoint", url, "mlops run", lambda: _try_embedded(environment))
        return
    unread = _unread("token", environment.token, environment.root, use)
    denied: list[MlopsError] = []

    def ask() -> None:
        from delivery.kubeflow import connected  # here, as doctor can tell that kfp is missing

        try:
            with connected(replace(environment, token=None) if unread else environment) as kfp:
                kfp.latest(1)  # one may ask for health, and have no rights in the namespace
        except AccessDenied as error:
            denied.append(error)

    endpoint = _tried("endpoint", url, "mlops run", ask)
    yield endpoint
    if unread or denied:
        yield unread or thing("token", False, denied[0].what, use, denied[0].do)
    elif endpoint.health is Health.OK:
        yield thing("token", True, "accepted" if environment.token else "none is set, and none was asked for", use, "")
    elif environment.token:
        yield thing("token", True, "it can be read; nobody could be asked whether it is good", use, "")


def _unread(name: str, secret: Secret | None, root: Path, use: str) -> Thing | None:
    """The row of a secret that cannot be read; None when it can be, or when none is set."""
    try:
        if secret:
            read(secret, root)
    except MlopsError as error:
        return thing(name, False, error.what, use, f"{error.where}: {error.do}", here=False)
    return None


def _image(environment: Environment) -> Thing:
    """Of the newest release that was built here: what the steps would run in."""
    use = "the steps on a cluster"
    if environment.endpoint == "local":
        return thing("image", True, "the release's code archive stands for it", "the steps", "")
    manifests = (environment.root / BUILT).glob("*/manifest.json")
    newest = max(manifests, key=lambda manifest: manifest.stat().st_mtime, default=None)
    if newest is None:
        return thing("image", False, f"{BUILT} holds no release yet", use, BUILD, here=False)
    try:
        image = str(json.loads(newest.read_text(encoding="utf-8"))["image"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return thing("image", False, f"{newest} cannot be read: {error!r}", use, BUILD)
    if image.startswith("local@"):
        what = f"release {newest.parent.name[:12]} has its code in an archive, and a cluster runs container images only"
        return thing("image", False, what, use, BUILD)
    notes: list[str] = []
    row = _tried("image", image, use, lambda: notes.extend(_try_image(image)))
    return replace(row, found=": ".join([row.found, *notes]))


def _try_image(image: str) -> Iterator[str]:
    """Ask the image's registry for it, as a stranger would; what comes back are remarks."""
    import requests  # type: ignore[import-untyped]  # it says no types; here, as only a cluster needs it

    if not PINNED.fullmatch(image):
        raise Failed(f"`{image}` is not pinned by its digest", where=image, do=BUILD)
    repository, _, digest = image.partition("@")
    host, path = registry_of(repository)
    scheme = "http" if re.match(r"(localhost|127\.)", host) else "https"  # as Docker itself takes it
    url = f"{scheme}://{host}/v2/{path}/manifests/{digest}"
    try:
        answer = requests.head(url, headers={"Accept": MANIFESTS}, timeout=SECONDS, allow_redirects=True)
    except requests.RequestException as error:
        do = f"reach {host} from here, or look there yourself"
        raise NoAnswer(f"{host} does not answer ({type(error).__name__})", where=host, do=do) from error
    if answer.status_code in (401, 403):
        yield "the registry wants credentials, so it was not looked for"
    elif answer.status_code == 404:
        raise Failed(f"{host} has no such image", where=host, do=PUSH)
    elif not answer.ok:
        do = "ask again later, or look there yourself"
        raise NoAnswer(f"{host} says {answer.status_code}", where=host, do=do)


def registry_of(repository: str) -> tuple[str, str]:
    """Host and path of a repository, by Docker's rules for names that leave out one or both."""
    host, slash, path = repository.partition("/")
    if not slash or not (set(host) & set(".:") or host == "localhost"):
        host, path = "docker.io", repository
    path = path.partition(":")[0]  # a tag says nothing beside a digest
    if host != "docker.io":
        return host, path
    return "registry-1.docker.io", path if "/" in path else f"library/{path}"


def _keys(environment: Environment) -> Iterator[Thing]:
    """The key that signs what is proved here, and those whose word counts here; of each only what the file asks for."""
    if environment.signing_key:
        yield _signing_key(environment.signing_key, environment.root)
    if environment.require_signature:
        yield _trusted_keys(environment.trusted_paths)


def _signing_key(key: Secret, root: Path) -> Thing:
    """Loaded as a deploy loads it: what can be read may still be no key that signs."""
    from delivery.signatures import signer  # here, as few environments have keys

    use, shown = "signing evidence", key.file or f"${key.env}"
    unread = _unread("signing_key", key, root, use)
    row = unread or _tried("signing_key", shown, use, lambda: signer(read(key, root), shown))
    if row.health is Health.OK and is_open(key, root):
        return replace(row, found=f"{shown}: others can read it: chmod 600")
    return row


def _trusted_keys(paths: list[Path]) -> Thing:
    from delivery.signatures import trusted  # here, as few environments have keys

    use, absent = "believing evidence", [str(path) for path in paths if not path.is_file()]
    if absent:
        do = "put the public key (PEM) of who signs there, or correct `trusted_keys`"
        return thing("trusted_keys", False, f"not there: {', '.join(absent)}", use, do, here=False)
    try:
        trusted(paths)
    except MlopsError as error:
        return thing("trusted_keys", False, f"{error.where}: {error.what}", use, error.do)
    return thing("trusted_keys", True, f"{len(paths)} of them", use, "")


def _try_embedded(environment: Environment) -> None:
    """The API inside `mlops` is started for that, in a folder of its own."""
    from delivery.kubeflow import connected

    _try_folder(environment.kfp)
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch, connected(replace(environment, root=Path(scratch))):
        pass


def _try_store(environment: Environment) -> None:
    """A folder keeps nothing of it, a bucket one small object, `doctor.txt`."""
    if environment.store.startswith("file:"):
        _try_folder(Path("/" + environment.store.removeprefix("file:").lstrip("/")))
    else:
        from storage import objects

        objects.write_bytes(objects.join(environment.store, "doctor.txt"), b"mlops doctor could write here\n")


def _try_registry(environment: Environment) -> None:
    url = environment.registry.removeprefix("kubeflow+")
    if url.startswith("sqlite:///"):
        _try_folder(Path(url.removeprefix("sqlite:///")).parent)
        return
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.parse import urlsplit
    from urllib.request import urlopen

    try:
        with suppress(HTTPError):  # it answered, though it did not like the page that was asked for
            urlopen(url, timeout=SECONDS).close()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        why, host = getattr(reason, "strerror", None) or reason, urlsplit(url).netloc
        do = "start it, or correct `registry` in the environment"
        raise NoAnswer(f"{host} does not answer: {why}", where=url, do=do) from error


def _try_folder(folder: Path) -> None:
    """Writes into the folder, or where it would be made, and leaves nothing."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        do = "make it writable, or name another place in the environment"
        raise Failed(f"{there} cannot be written: {error.strerror}", where=folder, do=do) from error
