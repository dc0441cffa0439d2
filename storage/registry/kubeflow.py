"""The registry's room for the Kubeflow Model Registry (now a part of Kubeflow Hub), through its REST API, version v1alpha3.

It follows `api/openapi/model-registry.yaml` of github.com/kubeflow/model-registry, and its server where that file is silent.
The SDK `model-registry` is not used: it connects while it is constructed, applies nest_asyncio to the whole process, and pins
boto3, while what is needed here are eight requests.

A model is a RegisteredModel, a version a ModelVersion, its file a ModelArtifact. All that is said of a version lies in its custom
properties, as they are written in the one request that makes it. The server knows no aliases: `alias.champion` is a custom property
of the RegisteredModel. Those can only be written all at once and without a condition, so of two who set aliases of one model in
the same instant, the later may undo the other's.

Who may do what is decided before the server, by the mesh or the gateway. No token is read from anywhere; `requests` by itself
takes a name and a password for the host from ~/.netrc, and sends them as Basic authorization.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests  # type: ignore[import-untyped]  # it says no types
from urllib3 import Retry

from storage.objects import StorageError
from storage.registry.protocol import ModelVersion, require_numbers, require_word

API = "api/model_registry/v1alpha3"
_ALIAS, _LINEAGE, _METRIC = "alias.", "lineage.", "metric."  # before the key of a custom property
_TIMES = (5, 30)  # seconds: to be connected, to be answered
_PAGE = "100"

_Json = dict[str, Any]


class KubeflowRegistry:
    """A version's name is a number counted up, and the server refuses a name that is taken: that is all the lock there is."""

    def __init__(self, url: str) -> None:
        root = urlsplit(url.removeprefix("kubeflow+"))
        if not root.hostname or root.query or root.fragment or "@" in root.netloc:  # a password would be in every error
            what, where = "the URL of the Kubeflow Model Registry is not a scheme and a host", "the registry's URL"
            raise StorageError(what=what, where=where, do="write kubeflow+https://host or kubeflow+https://host:port")
        self._url, self._api = url, f"{root.geturl().rstrip('/')}/{API}"
        self._session = requests.Session()
        retry = Retry(2, connect=1, read=1, backoff_factor=0.2, status_forcelist=(502, 503, 504), raise_on_status=False)
        retry.allowed_methods = frozenset({"GET"})  # a POST whose answer was lost may have done its work
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))

    def register(
        self, name: str, *, url: str, sha256: str, metrics: dict[str, float], lineage: dict[str, str]
    ) -> tuple[ModelVersion, bool]:
        require_numbers(metrics, where=f"{name} in {self._url}")
        said = {
            "sha256": _text(require_word(sha256)),
            "url": _text(url),
            **{_LINEAGE + key: _text(value) for key, value in lineage.items()},
            **{_METRIC + key: _number(value) for key, value in metrics.items()},
        }
        model, made, taken = self._model(name) or self._new_model(name), False, 0
        while not (version := _with_sha256(there := self._versions(model), sha256)):
            number = 1 + max((int(each["name"]) for each in there if each["name"].isdecimal()), default=0)
            if number == taken:
                what = f"the registry says that version {number} of {name} is there, but does not show it"
                raise StorageError(what=what, where=self._url, do="look for the version in the server's database")
            new = {"name": str(number), "registeredModelId": model["id"], "state": "LIVE", "customProperties": said}
            # Who takes a number has seen all below it, and none had this hash: so no hash is there twice.
            made, taken = bool(self._ask("POST", "model_versions", taken_is_fine=True, json=new)), number
        read = self._read(model, version)
        self._add_file(version["id"], read.url)
        return read, made

    def set_alias(self, name: str, alias: str, version: str) -> None:
        key = _ALIAS + require_word(alias)
        model = self._model(name)
        if not model or all(each["name"] != version for each in self._versions(model)):
            what = f"the model {name} has no version {version}, so no alias can name it"
            raise StorageError(what=what, where=self._url, do="correct what is named there, and run it again")
        path = f"registered_models/{model['id']}"
        now = self._ask("GET", path)  # again: what stands between this and the next request may be lost
        self._ask("PATCH", path, json={"customProperties": {**_properties(now), key: _text(version)}})

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        model = self._model(name)
        number = model and _texts(model).get(_ALIAS + alias)
        if not model or number is None:
            return None
        for version in self._versions(model):
            if version["name"] == number:
                return self._read(model, version)
        what = f"the alias {alias} of {name} names version {number}, and there is none"
        do = f"correct the property `{_ALIAS}{alias}` of the model, which somebody wrote by hand"
        raise StorageError(what=what, where=self._url, do=do)

    def find(self, name: str, sha256: str) -> ModelVersion | None:
        model, wanted = self._model(name), require_word(sha256)
        version = model and _with_sha256(self._versions(model), wanted)
        return self._read(model, version) if model and version else None

    def versions(self, name: str) -> list[ModelVersion]:
        model = self._model(name)
        return [self._read(model, version) for version in self._versions(model)] if model else []

    def _model(self, name: str) -> _Json | None:
        # Not GET /registered_model?name=: it compares with LIKE, where a_b is axb too. This filter may not mind the case.
        found = self._list("registered_models", filterQuery=f"name = '{require_word(name)}'")
        return next((model for model in found if model["name"] == name), None)

    def _new_model(self, name: str) -> _Json:
        made = self._ask("POST", "registered_models", taken_is_fine=True, json={"name": name, "state": "LIVE"})
        if model := made or self._model(name):
            return model
        what = f"the registry has a model whose name differs from {name} in no more than upper and lower case"
        raise StorageError(what=what, where=self._url, do="use that name, or one that differs in a letter")

    def _versions(self, model: _Json) -> list[_Json]:
        """Oldest first."""
        return self._list(f"registered_models/{model['id']}/versions")

    def _files(self, version: str) -> list[_Json]:
        found = self._list(f"model_versions/{version}/artifacts")
        return [each for each in found if each.get("artifactType") == "model-artifact"]

    def _add_file(self, version: str, url: str) -> None:
        """What serves models looks for it. A killed process may have left the version without."""
        if not self._files(version):
            file = {
                "artifactType": "model-artifact",
                "name": "model",
                "uri": url,
                "modelFormatName": "onnx",
                "state": "LIVE",
            }
            self._ask("POST", f"model_versions/{version}/artifacts", taken_is_fine=True, json=file)

    def _read(self, model: _Json, version: _Json) -> ModelVersion:
        texts = _texts(version)
        url = texts.get("url")
        if url is None:  # registered by hand
            url = next((file.get("uri", "") for file in self._files(version["id"])), "")
        numbers = {key: value["double_value"] for key, value in _properties(version).items() if "double_value" in value}
        aliases = [
            key[len(_ALIAS) :]
            for key, named in _texts(model).items()
            if named == version["name"] and key.startswith(_ALIAS)
        ]
        return ModelVersion(
            name=model["name"],
            version=version["name"],
            url=url,
            sha256=texts.get("sha256", ""),
            metrics={key[len(_METRIC) :]: float(value) for key, value in numbers.items() if key.startswith(_METRIC)},
            lineage={key[len(_LINEAGE) :]: value for key, value in texts.items() if key.startswith(_LINEAGE)},
            aliases=tuple(sorted(aliases)),
        )

    def _list(self, path: str, **filters: str) -> list[_Json]:
        """Every page, in the order of creation. Said, as the server's pages may overlap when ordered by time."""
        items: list[_Json] = []
        query = {**filters, "pageSize": _PAGE, "orderBy": "ID", "sortOrder": "ASC"}
        while True:
            page = self._ask("GET", path, params=query)
            items += page.get("items") or []
            if not page.get("nextPageToken"):
                return items
            query["nextPageToken"] = page["nextPageToken"]

    def _ask(self, method: str, path: str, *, taken_is_fine: bool = False, **content: _Json) -> _Json:
        """What the server answers; nothing when the name is taken, and that is fine."""
        do = "check the URL, and that this machine may reach it"
        try:
            answer = self._session.request(
                method, f"{self._api}/{path}", timeout=_TIMES, allow_redirects=False, **content
            )
        except requests.Timeout as error:
            raise StorageError(what="the registry did not answer in time", where=self._url, do=do) from error
        except requests.RequestException as error:
            what = f"the registry cannot be reached: {_reason(error)}"
            raise StorageError(what=what, where=self._url, do=do) from error
        if taken_is_fine and answer.status_code == 409:
            return {}
        try:
            said = answer.json()
        except requests.JSONDecodeError:
            said = None
        if answer.status_code < 300 and isinstance(said, dict):
            return said
        if answer.status_code < 400:  # a page, or the way to one
            what = "what answers there is no Kubeflow Model Registry, or a login stands before it"
            raise StorageError(what=what, where=self._url, do=do)
        message = (said.get("message") if isinstance(said, dict) else said) or f"{answer.status_code} {answer.reason}"
        if answer.status_code >= 500:
            do = "run it again; when it stays so, look into the server's log"
        elif answer.status_code not in (401, 403, 404):
            do = "correct what is named there, and run it again"
        raise StorageError(what=f"the registry failed: {str(message).splitlines()[0]}", where=self._url, do=do)


def _with_sha256(versions: list[_Json], sha256: str) -> _Json | None:
    return next((version for version in versions if _texts(version).get("sha256") == sha256), None)


def _properties(resource: _Json) -> _Json:
    return resource.get("customProperties") or {}


def _texts(resource: _Json) -> dict[str, str]:
    return {key: value["string_value"] for key, value in _properties(resource).items() if "string_value" in value}


def _text(value: str) -> _Json:
    return {"metadataType": "MetadataStringValue", "string_value": value}


def _number(value: float) -> _Json:
    return {"metadataType": "MetadataDoubleValue", "double_value": float(value)}


def _reason(error: requests.RequestException) -> str:
    """Without the names of classes and pools that are around it."""
    reason = str(getattr(error.args[0] if error.args else error, "reason", error))
    return reason.partition("): ")[2] or reason
