"""Pipelines and their versions: a version is a package under a name, and what it holds never changes.

A package comes as a file or from a URL; one that cannot run on this machine is refused then, not later.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import TypedDict

from localkfp import packages
from localkfp.database import insert, new_id, now
from localkfp.download import download
from localkfp.errors import ApiError, already_exists, found, invalid
from localkfp.gateway import endpoint, read
from localkfp.listing import listed, populated, select
from localkfp.packages import Package

if TYPE_CHECKING:
    from localkfp.server import LocalKfp

GET = "select * from pipelines where pipeline_id = :pipeline_id"
GET_BY_NAME = "select * from pipelines where namespace = :namespace and name = :name"
LIST = "select * from pipelines where namespace = :namespace"
DELETE = "delete from pipelines where pipeline_id = :pipeline_id"
GET_VERSION = "select * from pipeline_versions where pipeline_version_id = :pipeline_version_id"
LIST_VERSIONS = "select * from pipeline_versions where pipeline_id = :pipeline_id"
NEWEST_VERSION = f"{LIST_VERSIONS} order by created_at desc, pipeline_version_id desc limit 1"
TAG_VERSION = "update pipeline_versions set tags = :tags where pipeline_version_id = :pipeline_version_id"
DELETE_VERSION = "delete from pipeline_versions where pipeline_version_id = :pipeline_version_id"

LISTED_BY = {
    **{name: name for name in ("pipeline_id", "name", "display_name", "description", "created_at")},
    "tags.": "tags",  # any key that begins so
}
PIPELINES_BY = {**LISTED_BY, "id": "pipeline_id", "namespace": "namespace"}
VERSIONS_BY = {**LISTED_BY, "id": "pipeline_version_id", "pipeline_version_id": "pipeline_version_id"}
TAGS = TypeAdapter(dict[str, str])


class Url(TypedDict, total=False):
    pipeline_url: str


class Named(TypedDict, total=False):
    """A pipeline, or a version of one."""

    name: str
    display_name: str
    description: str
    namespace: str
    tags: dict[str, str]
    package_url: Url


class Both(TypedDict, total=False):
    pipeline: Named
    pipeline_version: Named


def list_(kfp: LocalKfp, query: Mapping[str, str]) -> dict[str, Any]:
    values = {"namespace": query.get("namespace", "")}
    with kfp.database.read() as db:
        page = select(db, LIST, key="pipeline_id", fields=PIPELINES_BY, query=query, values=values)
    return listed("pipelines", [_as_pipeline(row) for row in page.rows], page)


def get(kfp: LocalKfp, pipeline_id: str) -> dict[str, Any]:
    with kfp.database.read() as db:
        return _as_pipeline(_find(db, pipeline_id))


def get_by_name(kfp: LocalKfp, name: str, query: Mapping[str, str]) -> dict[str, Any]:
    values = {"namespace": query.get("namespace", ""), "name": name}
    with kfp.database.read() as db:
        row = db.execute(GET_BY_NAME, values).fetchone()
    return _as_pipeline(found(row, "Namespace/Pipeline", f"{values['namespace']}/{name}"))


def create_from_url(kfp: LocalKfp, body: Both) -> dict[str, Any]:
    url = _url(body.get("pipeline_version", {}))
    return _create(kfp, body.get("pipeline", {}), *download(url), url)


def upload(kfp: LocalKfp, query: Mapping[str, str], filename: str, data: bytes) -> dict[str, Any]:
    return _create(kfp, _described(query), filename, data)


def delete(kfp: LocalKfp, pipeline_id: str, query: Mapping[str, str]) -> None:
    """Its versions must be gone, unless `cascade` says that they go with it; runs of them stay."""
    with kfp.database.write() as db:
        _find(db, pipeline_id)
        newest = _newest_version(db, pipeline_id)
        if newest and query.get("cascade", "").lower() != "true":
            reason = f"it has existing pipeline versions (e.g. {newest['pipeline_version_id']})"
            advice = "Set cascade=true to delete all versions"
            raise invalid(f"Failed to delete pipeline with id {pipeline_id} as {reason}. {advice}")
        db.execute(DELETE, {"pipeline_id": pipeline_id})


def versions(kfp: LocalKfp, pipeline_id: str, query: Mapping[str, str]) -> dict[str, Any]:
    values = {"pipeline_id": pipeline_id}
    with kfp.database.read() as db:
        _find(db, pipeline_id)
        page = select(db, LIST_VERSIONS, key="pipeline_version_id", fields=VERSIONS_BY, query=query, values=values)
    return listed("pipeline_versions", [_as_version(row) for row in page.rows], page)


def version(kfp: LocalKfp, version_id: str) -> dict[str, Any]:
    with kfp.database.read() as db:
        return _as_version(_find_version(db, version_id))


def create_version_from_url(kfp: LocalKfp, pipeline_id: str, body: Named) -> dict[str, Any]:
    url = _url(body)
    package = _package(kfp, *download(url))
    with kfp.database.write() as db:
        _find(db, pipeline_id)
        return _as_version(_insert_version(db, pipeline_id, _row(body), package, url))


def upload_version(kfp: LocalKfp, query: Mapping[str, str], filename: str, data: bytes) -> dict[str, Any]:
    """A version of the pipeline that `pipelineid` names; kfp.Client leaves it out where it found none of that name."""
    pipeline_id, row = query.get("pipelineid", ""), _row(_described(query), filename)
    package = _package(kfp, filename, data)
    with kfp.database.write() as db:
        if db.execute(GET, {"pipeline_id": pipeline_id}).fetchone() is None:
            raise invalid(f"Pipeline {pipeline_id} not found")  # where it is 404 everywhere else
        return _as_version(_insert_version(db, pipeline_id, row, package))


def tag_version(kfp: LocalKfp, version_id: str, body: Named) -> dict[str, Any]:
    """What a version holds stays; that it passed a test, or went into production, comes later."""
    with kfp.database.write() as db:
        row = _find_version(db, version_id)
        tags = body.get("tags", json.loads(row["tags"]))
        db.execute(TAG_VERSION, {"pipeline_version_id": version_id, "tags": json.dumps(tags)})
        return _as_version(_find_version(db, version_id))


def delete_version(kfp: LocalKfp, version_id: str) -> None:
    with kfp.database.write() as db:
        _find_version(db, version_id)
        db.execute(DELETE_VERSION, {"pipeline_version_id": version_id})


def package_of(db: sqlite3.Connection, pipeline_id: str, version_id: str) -> tuple[Package, str]:
    """What a run of this version executes, and the version's id: without one it is the pipeline's newest."""
    row = _find_version(db, version_id) if version_id else _newest_version(db, pipeline_id)
    if pipeline_id not in ("", found(row, "Pipeline", pipeline_id)["pipeline_id"]):
        raise invalid(f"Pipeline version {version_id} belongs to pipeline {row['pipeline_id']} (not {pipeline_id})")
    return Package.from_json(json.loads(row["package"])), row["pipeline_version_id"]


def posted(function: Callable[[LocalKfp, Mapping[str, str], str, bytes], dict[str, Any]], failed: str) -> Any:
    """An endpoint that takes a file; what it refuses has another shape than elsewhere, as on the server."""

    async def respond(request: Request) -> Response:
        try:
            async with request.form(max_files=1, max_fields=1) as form:
                part = form.get("uploadfile")
                if not isinstance(part, UploadFile):
                    raise invalid("http: no such file")
                filename, data = part.filename or "", await part.read()
            kfp, query = request.app.state.kfp, request.query_params
            return JSONResponse(await run_in_threadpool(function, kfp, query, filename, data))
        except ApiError as error:
            error.outer = error.outer or failed
            body = {"error_message": error.outer, "error_details": error.chain}
            return JSONResponse(body, status_code=error.code.http)

    return respond


def _find(db: sqlite3.Connection, pipeline_id: str) -> sqlite3.Row:
    return found(db.execute(GET, {"pipeline_id": pipeline_id}).fetchone(), "Pipeline", pipeline_id)


def _find_version(db: sqlite3.Connection, version_id: str) -> sqlite3.Row:
    return found(db.execute(GET_VERSION, {"pipeline_version_id": version_id}).fetchone(), "PipelineVersion", version_id)


def _newest_version(db: sqlite3.Connection, pipeline_id: str) -> Any:
    return db.execute(NEWEST_VERSION, {"pipeline_id": pipeline_id}).fetchone()


def _as_pipeline(row: sqlite3.Row) -> dict[str, Any]:
    return populated({**dict(row), "tags": json.loads(row["tags"])})


def _as_version(row: sqlite3.Row) -> dict[str, Any]:
    fields = {**_as_pipeline(row), "pipeline_spec": json.loads(row["package"])}
    fields["package_url"] = populated({"pipeline_url": row["package_url"]})
    del fields["package"]
    return populated(fields)


def _url(body: Named) -> str:
    if url := body.get("package_url", {}).get("pipeline_url"):
        return url
    raise invalid("Package URL is empty")


def _package(kfp: LocalKfp, filename: str, data: bytes) -> Package:
    try:
        package = Package.from_bytes(data, filename)
    except ApiError as error:
        error.outer = "Failed to read a pipeline spec file"
        raise
    packages.check(package, kfp.images(), kfp.executor.engine)
    return package


def _described(query: Mapping[str, str]) -> dict[str, Any]:
    """What an upload says in its query, as a body would."""
    try:
        return {**query, "tags": read(query.get("tags", ""), TAGS)}
    except ApiError as error:
        error.outer = "Failed to parse tags query parameter. Expected JSON object with string keys and values"
        raise


def _create(kfp: LocalKfp, body: Mapping[str, Any], filename: str, data: bytes, url: str = "") -> dict[str, Any]:
    """A pipeline, and a version of the same name."""
    row, pipeline_id, package = _row(body, filename), new_id(), _package(kfp, filename, data)
    with kfp.database.write() as db:
        if not insert(db, "pipelines", {**row, "pipeline_id": pipeline_id, "namespace": body.get("namespace", "")}):
            raise already_exists("pipeline", row["name"])
        _insert_version(db, pipeline_id, {**row, "tags": "{}"}, package, url)
        return _as_pipeline(_find(db, pipeline_id))


def _insert_version(
    db: sqlite3.Connection, pipeline_id: str, row: Mapping[str, str], package: Package, url: str = ""
) -> sqlite3.Row:
    version_id, content = new_id(), {"package": json.dumps(package.as_json()), "package_url": url}
    ids = {"pipeline_version_id": version_id, "pipeline_id": pipeline_id}
    if not insert(db, "pipeline_versions", {**row, **ids, **content}):
        raise already_exists("pipeline version", row["name"])
    return _find_version(db, version_id)


def _row(body: Mapping[str, Any], filename: str = "") -> dict[str, str]:
    """What pipelines and versions have alike; one name stands for the other, and the file's for both."""
    name = body.get("name") or body.get("display_name") or filename
    if not name:
        raise invalid("name is required")
    return {
        "name": name,
        "display_name": body.get("display_name") or name,
        "description": body.get("description", ""),
        "tags": json.dumps(body.get("tags", {})),
        "created_at": now(),
    }


ALL = "/apis/v2beta1/pipelines"
ONE = f"{ALL}/{{pipeline_id}}"
VERSIONS = f"{ONE}/versions"
VERSION = f"{VERSIONS}/{{version_id}}"  # the version's id is enough: the server does not look at the other
FAILED, FAILED_BOTH = "Failed to create a pipeline version", "Failed to create a pipeline and a pipeline version"
ROUTES = [
    Route(ALL, endpoint(list_, query=True, failed="Failed to list pipelines")),
    Route(f"{ALL}/create", endpoint(create_from_url, body=Both, failed=FAILED_BOTH), methods=["POST"]),
    Route(f"{ALL}/upload", posted(upload, FAILED_BOTH), methods=["POST"]),
    Route(f"{ALL}/upload_version", posted(upload_version, FAILED), methods=["POST"]),
    Route(f"{ALL}/names/{{name}}", endpoint(get_by_name, "name", query=True, failed="Failed to get a pipeline")),
    Route(ONE, endpoint(get, "pipeline_id", failed="Failed to get a pipeline")),
    Route(ONE, endpoint(delete, "pipeline_id", query=True, failed="Failed to delete pipeline"), methods=["DELETE"]),
    Route(VERSIONS, endpoint(versions, "pipeline_id", query=True, failed="Failed to list pipeline versions")),
    Route(VERSIONS, endpoint(create_version_from_url, "pipeline_id", body=Named, failed=FAILED), methods=["POST"]),
    Route(VERSION, endpoint(version, "version_id", failed="Failed to get a pipeline version")),
    Route(
        VERSION,
        endpoint(tag_version, "version_id", body=Named, failed="Failed to update a version"),
        methods=["PATCH"],
    ),
    Route(VERSION, endpoint(delete_version, "version_id", failed="Failed to delete a version"), methods=["DELETE"]),
]
