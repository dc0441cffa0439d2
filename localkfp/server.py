"""The API server as an ASGI application, and the same in a thread of a test or a program."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from localkfp import experiments, pages, pipelines, recurring, runs
from localkfp.database import Database
from localkfp.engine import Containers
from localkfp.errors import ApiError, Code, internal
from localkfp.executor import Executor
from localkfp.gateway import endpoint
from localkfp.guards import Guard

Images: TypeAlias = Mapping[str, Path | None]  # what an image is called, and the folder that holds its code
IMAGES = "select image, folder from images"
KNOW_IMAGE = "insert into images (image, folder) values (?, ?) on conflict do update set folder = excluded.folder"
HEALTH = {"commit_sha": "unknown", "tag_name": "unknown", "multi_user": False, "pipeline_store": "database"}
MODULES = (pipelines, experiments, runs, recurring, pages)
TABLES = ("experiments", "pipelines", "pipeline_versions", "runs", "tasks", "recurring_runs")


class LocalKfp:
    """State in a folder, an executor of its runs, and `app`, which answers as the API server does."""

    def __init__(
        self,
        folder: Path,
        images: Images | None = None,
        parallel: int | None = None,
        containers: Containers | None = None,
    ) -> None:
        self.folder, self._containers = folder.resolve(), containers
        self._images = dict(images or {})
        self.parallel = parallel or max(2, os.cpu_count() or 1)
        self.database = Database(self.folder / "localkfp.db")
        self.executor = self._new_executor()
        self._turn = threading.RLock()  # of who starts, stops or resets it
        self.app = Starlette(
            routes=[*ROUTES, *(route for module in MODULES for route in module.ROUTES)],
            middleware=[Middleware(Guard)],
            exception_handlers={ApiError: _refused, HTTPException: _not_routed, Exception: _failed},
        )
        self.app.state.kfp = self

    def start(self) -> None:
        with self._turn:
            with self.database.write() as db:
                experiments.resolve(db, "", "")  # the server, too, has the default experiment from its start
            self.know(self._images)
            self.executor.start()

    def know(self, images: Images) -> None:
        """Said once, it holds for every server on the folder: one may have to go on with what another began."""
        with self.database.write() as db:
            db.executemany(KNOW_IMAGE, [(name, str(at.resolve()) if at else None) for name, at in images.items()])

    def images(self) -> Images:
        with self.database.read() as db:
            rows = db.execute(IMAGES).fetchall()
        return {row["image"]: Path(row["folder"]) if row["folder"] else None for row in rows}

    def stop(self) -> None:
        """End its runs; what is in the folder stays."""
        with self._turn:
            self.executor.stop()

    def reset(self) -> None:
        """End its runs, and forget everything."""
        with self._turn:
            self.executor.stop()
            with self.database.write() as db:
                for table in TABLES:
                    db.execute(f"delete from {table}")
            shutil.rmtree(self.folder / "runs", ignore_errors=True)
            self.executor = self._new_executor()
            self.start()

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table, for a test to look at."""
        with self.database.read() as db:
            return {table: [dict(row) for row in db.execute(f"select * from {table}")] for table in TABLES}

    def _new_executor(self) -> Executor:
        return Executor(
            self.database,
            self.folder,
            self.images,
            self.parallel,
            fire=lambda: recurring.fire(self),
            containers=self._containers,
        )


class ThreadedLocalKfp:
    """A server for `kfp.Client`, in a thread, on 127.0.0.1; without a folder it leaves nothing behind."""

    def __init__(
        self,
        folder: Path | None = None,
        images: Images | None = None,
        parallel: int | None = None,
        port: int = 0,
        containers: Containers | None = None,
    ) -> None:
        self._given = (folder, images, parallel, port, containers)
        self._running = ExitStack()
        self.kfp: LocalKfp
        self.url = ""

    def start(self) -> None:
        self.stop()
        folder, images, parallel, port, containers = self._given
        with ExitStack() as starting:
            listener = starting.enter_context(_bound(port))
            if folder is None:
                temporary = TemporaryDirectory(prefix="localkfp-", ignore_cleanup_errors=True)
                folder = Path(starting.enter_context(temporary))
            self.kfp = LocalKfp(folder, images, parallel, containers)
            starting.callback(self.kfp.stop)
            self.kfp.start()
            starting.enter_context(_serving(self.kfp.app, listener))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._running = starting.pop_all()

    def stop(self) -> None:
        self._running.close()

    def __enter__(self) -> ThreadedLocalKfp:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def reset(self) -> None:
        self.kfp.reset()

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        return self.kfp.dump()


def _bound(port: int) -> socket.socket:
    """Here, and not in the thread, a taken port is said. TCP is named, as asyncio knows it by that only: without, Nagle's
    algorithm holds each answer back for 40 ms."""
    return socket.socket(proto=socket.IPPROTO_TCP, fileno=socket.create_server(("127.0.0.1", port)).detach())


@contextmanager
def _serving(app: Starlette, listener: socket.socket) -> Iterator[None]:
    # Without a log of its own: the program around it has logging
    # kfp.Client looks every 5 s: a connection is kept for longer
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": 1,
        "timeout_keep_alive": 60,
    }
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="off", **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="localkfp", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server ended before it answered, its log says why")
            time.sleep(0.002)
        yield
    finally:
        server.should_exit = True
        thread.join()


def _refused(_: Request, error: Any) -> JSONResponse:
    return JSONResponse(error.body(), status_code=error.code.http)


def _not_routed(_: Request, error: Any) -> JSONResponse:
    """As the gateway says it, which calls a wrong method unimplemented."""
    code = {404: Code.NOT_FOUND, 405: Code.UNIMPLEMENTED}.get(error.status_code, Code.INVALID_ARGUMENT)
    return JSONResponse({"code": code.grpc, "message": error.detail}, status_code=code.http)


def _failed(request: Request, _: Exception) -> JSONResponse:
    """A mistake of ours: its traceback is in the log, as Starlette raises it again."""
    return _refused(request, internal("a mistake of localkfp's own, its log says where"))


ROUTES = [
    Route("/apis/v2beta1/healthz", endpoint(lambda _: HEALTH)),
    Route("/localkfp/reset", endpoint(LocalKfp.reset), methods=["POST"]),
    Route("/localkfp/dump", endpoint(LocalKfp.dump)),
]
