"""A way to a KFP API on which requests, or the answers to them, get lost."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Lost = Callable[
    [str, str], str
]  # of method and path: what gets lost: "request", "answer", "" for neither; or "silence"


@contextmanager
def unreliable(url: str, lost: Lost) -> Iterator[str]:
    """Its URL. A lost request comes back as 502; a lost answer is of a request that the API carried out; silence is for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            part = lost(self.command, self.path)
            if part == "silence":
                self.rfile.read(1)  # until who asked has gone
                self.close_connection = True
                return
            if part == "request":
                self.answer(502, b"")
                return
            there = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            there.request(self.command, self.path, body, dict(self.headers))
            answer = there.getresponse()
            data = answer.read()
            there.close()
            if part == "answer":
                self.close_connection = True
            else:
                self.answer(answer.status, data)

        do_POST = do_DELETE = do_GET  # noqa: N815  # http.server looks for these names

        def answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class FirstAnswer:
    """Loses the answer to the first request of that method whose path ends so."""

    def __init__(self, method: str, end: str) -> None:
        self.wanted = (method, end)
        self.was_lost = False

    def __call__(self, method: str, path: str) -> str:
        if self.was_lost or method != self.wanted[0] or not path.endswith(self.wanted[1]):
            return ""
        self.was_lost = True
        return "answer"


class CutAt:
    """Loses part of the n-th request that goes through, counted from 0; `was_reached` tells whether there was one."""

    def __init__(self, number: int, part: str) -> None:
        self.number, self.part = number, part
        self.count = 0

    @property
    def was_reached(self) -> bool:
        return self.count > self.number

    def __call__(self, method: str, path: str) -> str:
        if "healthz" in path:
            return ""
        self.count += 1
        return self.part if self.count - 1 == self.number else ""
