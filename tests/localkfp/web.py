"""A web server elsewhere, from which packages are fetched."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    url: str
    pages: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)
    slowness: float = 0.0  # seconds between two bytes

    def offer(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        self.pages[path] = status, body, headers
        return f"{self.url}{path}"


@contextmanager
def serving() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = web.pages.get(self.path.partition("?")[0], (404, b"", {}))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                if web.slowness:
                    for byte in body:
                        self.wfile.write(bytes([byte]))
                        time.sleep(web.slowness)
                else:
                    self.wfile.write(body)
            except OSError:
                pass  # who asked has gone

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield web
    server.shutdown()
    server.server_close()
