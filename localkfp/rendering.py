"""How an answer of the API becomes a page: one template, what every page needs, and headers that allow no more."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from localkfp.database import moment
from localkfp.files import LAST_LINES

if TYPE_CHECKING:
    from localkfp.server import LocalKfp

NAMESPACES = """
select namespace from experiments
 union
select namespace from pipelines
 order by namespace
"""
# Where no namespace is asked for: the nameless one, unless all runs are in others
USUAL_NAMESPACE = "select namespace from runs order by namespace = '' desc, created_at desc limit 1"
EXPERIMENTS = "select experiment_id, display_name from experiments"
PIPELINES = "select pipeline_id, display_name from pipelines"
CSP = (
    "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src 'self' data:; frame-src 'self'; "
    "form-action 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def show(
    kfp: LocalKfp, request: Request, template: str, answer: dict[str, Any], *, status: int = 200, **context: Any
) -> Response:
    """The answer as it is to who asks for JSON, and drawn to anybody else."""
    if wants_json(request):
        return JSONResponse(answer, status)
    nonce = secrets.token_urlsafe(16)
    with kfp.database.read() as db:
        given = {
            "namespaces": [row["namespace"] for row in db.execute(NAMESPACES)],
            "experiments": dict(db.execute(EXPERIMENTS).fetchall()),
            "pipelines": dict(db.execute(PIPELINES).fetchall()),
            "namespace": namespace(kfp, request),
            "json_url": "?" + urlencode({**request.query_params, "format": "json"}),
            "here": request.url.path,
            "host": str(request.base_url).rstrip("/"),
            "zone": datetime.now().astimezone().tzname(),
        }
    text = TEMPLATES.get_template(template).render({**given, **context, "answer": answer, "nonce": nonce})
    headers = {
        "Content-Security-Policy": CSP.format(nonce=nonce),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # stricter, and a browser would not say where a form was sent from
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, status, headers)


def refuse(kfp: LocalKfp, request: Request, status: int, sentence: str) -> Response:
    title = "Not found" if status == 404 else "This was refused"
    return show(kfp, request, "error.html.j2", {}, status=status, title=title, sentence=sentence, json_url="")


def wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    asked = "application/json" in accepted and "text/html" not in accepted
    return asked or request.query_params.get("format") == "json"


def namespace(kfp: LocalKfp, request: Request) -> str:
    with kfp.database.read() as db:
        usual = db.execute(USUAL_NAMESPACE).fetchone()
    return request.query_params.get("namespace", usual[0] if usual else "")


def started(run: Mapping[str, Any]) -> str:
    """When it last began to run: a run that is retried begins anew."""
    began = [one["update_time"] for one in run.get("state_history", []) if one["state"] == "RUNNING"]
    return began[-1] if began else ""


def local(text: str) -> str:
    """The time where the server is, which is where its reader is."""
    return moment(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def lasting(start: str | None, end: str | None) -> str:
    """How long it took, or takes up to now."""
    if not start:
        return ""
    seconds = ((moment(end) if end else datetime.now(timezone.utc)) - moment(start)).total_seconds()
    if (seconds := max(0.0, round(seconds, 1))) < 60:
        return f"{seconds:.1f} s" if end else f"{int(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=ChainableUndefined,  # the API leaves out what is empty
)
TEMPLATES.globals.update(lasting=lasting, last_lines=LAST_LINES)
TEMPLATES.filters.update(started=started, local=local, plain=plain)
