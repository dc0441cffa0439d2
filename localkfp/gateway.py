"""Between HTTP and the functions that answer: bodies are read and checked here, and refusals get their outer text."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localkfp.errors import ApiError, invalid


def as_text(moment: datetime) -> str:
    """As `database.now` writes it, so that text sorts by time."""
    try:
        return moment.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except OverflowError:
        raise ValueError("a time outside of the years 1 to 9999") from None


Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Timestamp = Annotated[AwareDatetime, AfterValidator(as_text)]  # RFC 3339 comes in, the database's text goes on


def endpoint(
    function: Callable[..., dict[str, Any] | None], *names: str, failed: str = "", body: Any = None, query: bool = False
) -> Callable[[Request], Any]:
    """Make an endpoint of a function: it gets the server, what the path says, the body and the query, if it wants.

    It runs in a thread, as it asks the database; what it returns is the answer. `body` is a TypedDict, and `failed` is
    said in front of what is refused.
    """
    adapter = TypeAdapter(body) if body else None

    async def respond(request: Request) -> Response:
        given: list[Any] = [request.path_params[name] for name in names]
        try:
            if adapter:
                given.append(read(await request.body(), adapter))
            if query:
                given.append(request.query_params)
            return JSONResponse(await run_in_threadpool(function, request.app.state.kfp, *given) or {})
        except ApiError as error:
            error.outer = error.outer or failed
            raise

    return respond


def read(data: bytes | str, adapter: TypeAdapter[Any]) -> Any:
    """What the JSON says, if it has the adapter's type; null is no more than nothing."""
    try:
        value = json.loads(data.strip() or "{}")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # or it could be neither stored nor answered
        if isinstance(value, dict):
            value = {name: item for name, item in value.items() if item is not None}
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise invalid(f"this is no JSON: {error}") from None
