"""The server has no password: so it answers this machine only, and no page that a browser has from elsewhere."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localkfp.errors import ApiError, Code, invalid

NAMES = {"127.0.0.1", "localhost", "::1"}
SAFE = {"GET", "HEAD", "OPTIONS"}
LARGEST = 33 << 20  # bytes of a body: a file of 32 MiB, and what is around it in a form


class Guard:
    """Refuses requests that a web page elsewhere may have sent, and bodies that would fill the memory."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def limited() -> Message:
            """What is too much is not kept, but read: who is still sending would not hear of it."""
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST:
                while message.get("more_body"):
                    message = await receive()
                raise invalid(f"File size too large. Maximum supported size: {32 << 20}")
            return message

        if scope["type"] == "http" and (refused := refusal(scope["method"], Headers(scope=scope))):
            await JSONResponse(refused.body(), status_code=refused.code.http)(scope, receive, send)
        else:
            await self.app(scope, limited, send)


def refusal(method: str, headers: Headers) -> ApiError | None:
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in NAMES:  # a name of somebody else's that leads here: DNS rebinding
        return invalid(f'this server answers on {", ".join(sorted(NAMES))} only, not on "{host}"')
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    elsewhere = origin is not None and origin.partition("://")[2] != host
    if method not in SAFE and (elsewhere or site in ("cross-site", "same-site")):
        return ApiError(Code.PERMISSION_DENIED, f"a page of {origin or 'another site'} may change nothing here")
    return None
