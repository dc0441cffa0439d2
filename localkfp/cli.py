"""The `localkfp` command: a KFP API server for one person, on one machine."""

from __future__ import annotations

import errno
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from localkfp.server import ThreadedLocalKfp

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

FOLDER = Path(".localkfp")
TOLD = """\
keeps everything in {folder}, runs up to {parallel} pipelines at a time; Ctrl-C ends it, and its runs

  export KF_PIPELINES_ENDPOINT={url}
  kfp --endpoint {url} run create --experiment-name first --package-file pipeline.yaml
"""


class CliError(Exception):
    """A sentence for the user in place of a traceback; only `main` turns it into an exit."""

    def __init__(self, what: str, *, where: object, do: str, exit_code: int) -> None:
        super().__init__(f"error: {what}\n  where: {where}\n  to do: {do}")
        self.exit_code = exit_code


@app.callback()
def localkfp() -> None:
    """Kubeflow Pipelines on one machine: its v2beta1 API, and pages to look at.

    Exit codes: 0 done, 1 failed, 2 wrong use.
    """


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8888,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where pipelines, runs and artifacts are kept.")] = FOLDER,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="REF=DIR", help="The folder with the code of an image, by its name in a package."),
    ] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="How many runs at a time; else one a core.")] = None,
) -> None:
    """Serve on 127.0.0.1, and print the URL; Ctrl-C or SIGTERM ends it, and its runs."""
    images = dict(_image(text) for text in image or [])
    ended: list[int] = []  # and no threading.Event: its lock may be held by the very wait that the handler interrupts

    def end(number: int, _: object) -> None:
        ended.append(number)
        signal.signal(number, signal.SIG_DFL)  # who asks twice does not want to wait

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    server = ThreadedLocalKfp(folder, images, parallel, port)
    try:
        server.start()
    except (OSError, sqlite3.Error) as error:
        raise _not_started(error, port, folder) from None
    try:
        typer.echo(server.url)
        typer.echo(TOLD.format(url=server.url, folder=folder, parallel=server.kfp.parallel), err=True)
        while not ended:
            time.sleep(0.1)  # a signal that came to another thread is seen when this one wakes
    finally:
        server.stop()


def main(arguments: list[str] | None = None) -> NoReturn:
    """The only place that exits; a mistake of ours keeps its traceback."""
    try:
        app((sys.argv[1:] if arguments is None else arguments) or ["--help"], "localkfp", standalone_mode=False)
    except TyperException as error:
        context: Any = getattr(error, "ctx", None)
        command, what = context.command_path if context else "localkfp", error.format_message().rstrip(".")
        _exit(CliError(what, where=command, do=f"`{command} --help` shows what it takes", exit_code=2))
    except CliError as error:
        _exit(error)
    sys.exit(0)


def _exit(error: CliError) -> NoReturn:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)


def _image(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not (name and folder):
        what, do = f"`{text}` is not an image and a folder", "write REF=DIR, as in `--image example/trainer:1.0=src`"
    elif not Path(folder).is_dir():
        what, do = f"there is no folder `{folder}`", "name the folder that holds the code which the image would hold"
    else:
        return name, Path(folder).resolve()
    raise CliError(what, where=f"--image {text}", do=do, exit_code=2)


def _not_started(error: OSError | sqlite3.Error, port: int, folder: Path) -> CliError:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, OSError) and error.filename is None:
        what = f"port {port} is taken" if error.errno == errno.EADDRINUSE else f"port {port} cannot be used: {said}"
        return CliError(what, where=f"127.0.0.1:{port}", do="choose another, `localkfp serve --port 0`", exit_code=1)
    do = "choose a folder in which you may write, `localkfp serve --folder DIR`"
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        do = "move localkfp.db out of it, or choose another folder, `localkfp serve --folder DIR`"
    return CliError(f"nothing can be kept there: {said}", where=folder.resolve(), do=do, exit_code=1)
