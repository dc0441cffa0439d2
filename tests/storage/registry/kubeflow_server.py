"""A double of the Kubeflow Model Registry's server: what models, versions and files need of its API v1alpha3.

It does what the server in Go does over MySQL: unknown fields and half properties are refused, a taken name is 409, and names are
compared without their case; PATCH replaces the custom properties as a whole; a page may be smaller than what was asked for.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

API = "/api/model_registry/v1alpha3/"
LARGEST_PAGE = 4
COMMON = {"name", "description", "externalId", "customProperties", "state"}
MODEL = COMMON | {"owner", "readme", "maturity", "language", "tasks", "provider", "license", "libraryName"}
VERSION = COMMON | {"author", "registeredModelId"}
FILE = COMMON | {"artifactType", "uri", "modelFormatName", "modelFormatVersion", "storageKey", "storagePath"}
VALUES: dict[Any, tuple[str, Any]] = {
    "MetadataStringValue": ("string_value", str),
    "MetadataDoubleValue": ("double_value", (int, float)),
}

Json = dict[str, Any]
Answer = tuple[int, Any]


class KubeflowServer:
    """`meanwhile(method, path)` is called before each request is handled; a status that it gives is the answer."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.resources: list[Json] = []  # each with its kind and its parent's id; its own id counts all kinds
        self.meanwhile: Callable[[str, str], int | None] = lambda method, path: None
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                double.headers.append(dict(self.headers))
                status, said = double.handle(self.command, url.path, dict(parse_qsl(url.query)), body)
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Location", self.path)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815  # the library's names

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(self, method: str, path: str, query: Json, body: bytes) -> Answer:
        path = path.removeprefix(API)
        if status := self.meanwhile(method, path):
            return status, {"code": str(status), "message": f"told to answer {status}"}
        said = json.loads(body) if body else {}
        with self._lock:
            match (method, *path.split("/")):
                case "GET", "registered_models":
                    return self._page("model", "", query)
                case "POST", "registered_models":
                    return self._create("model", "", said, MODEL, {"name"})
                case "GET" | "PATCH", "registered_models", number:
                    return unfit(said, MODEL - {"name"}, set()) or self._changed(number, said)
                case "GET", "registered_models", model, "versions":
                    return self._page("version", model, query)
                case "POST", "model_versions":
                    return self._create("version", said.get("registeredModelId", ""), said, VERSION, {"name"})
                case "GET", "model_versions", version, "artifacts":
                    return self._page("file", version, query)
                case "POST", "model_versions", version, "artifacts":
                    return self._create("file", version, said, FILE, {"artifactType"})
        return 404, b"404 page not found\n"

    def _changed(self, number: str, changes: Json) -> Answer:
        for each in self.resources:
            if (each["kind"], each["id"]) == ("model", number):
                each.update(changes)
                return 200, shown(each)
        return missing(number)

    def _create(self, kind: str, parent: str, new: Json, fields: set[str], required: set[str]) -> Answer:
        if wrong := unfit(new, fields, required):
            return wrong
        if kind != "model" and all(each["id"] != parent for each in self.resources):
            return missing(parent)
        same = (kind, parent, new.get("name", "").lower())
        if any((each["kind"], each["parent"], each["name"].lower()) == same for each in self.resources):
            return 409, {"code": "409", "message": f"{kind} with name {new['name']} already exists: conflict"}
        made = {"name": "", **new, "kind": kind, "parent": parent, "id": str(len(self.resources) + 1)}
        self.resources.append(made)
        return 201, shown(made)

    def _page(self, kind: str, parent: str, query: Json) -> Answer:
        found = [each for each in self.resources if (each["kind"], each["parent"]) == (kind, parent)]
        if filter_ := query.get("filterQuery"):
            if not (match := re.fullmatch(r"name = '([^']*)'", filter_)):
                return 400, {"code": "400", "message": f"invalid filter query: {filter_}"}
            found = [each for each in found if each["name"].lower() == match[1].lower()]
        start = int(query.get("nextPageToken") or 0)
        end = start + min(int(query.get("pageSize", 20)), LARGEST_PAGE)
        items = [shown(each) for each in found[start:end]]
        token = str(end) if found[end:] else ""
        return 200, {"items": items, "nextPageToken": token, "pageSize": end - start, "size": len(items)}


def shown(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key not in ("kind", "parent")}


def missing(number: str) -> Answer:
    return 404, {"code": "404", "message": f"nothing found for id {number}: not found"}


def unfit(new: Json, fields: set[str], required: set[str]) -> Answer | None:
    for field in new.keys() - fields:
        return 400, f'json: unknown field "{field}"'
    for field in required:
        if not new.get(field):
            return 422, f"required field '{field}' is zero value."
    for key, value in new.get("customProperties", {}).items():
        field, kind = VALUES.get(value.get("metadataType"), ("", str))
        if value.keys() != {"metadataType", field} or not isinstance(value[field], kind):
            return 400, {"code": "400", "message": f"metadataType not found for {key}: bad request"}
    return None
