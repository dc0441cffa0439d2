"""The `mlops` command: verbs only, each a few lines over the modules beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from delivery.errors import Interrupted, MlopsError, WrongUse, in_our_words

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

WIDE = 200  # columns for a file or a pipe, where nothing is gained by folding a path
PARAMETER_HELP = "A parameter; NAME.KEY=VALUE for one key of a mapping. Paths start at the project's root."
EnvOption = Annotated[str, typer.Option("--env", metavar="NAME", help="A file of environments/.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else there.")]


@app.callback()
def mlops() -> None:
    """From a commit to a model that is judged and published.

    Exit codes: 0 done, 1 failed, 2 wrong use, 3 a gate said no, 130 stopped.
    """


@app.command()
def run(
    ctx: typer.Context,
    pipeline: Annotated[str | None, typer.Argument(help="Which one; else the environment's default.")] = None,
    env: EnvOption = "local-dev",
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME=VALUE", help=PARAMETER_HELP),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a pipeline where the environment says, watch it, and say what came out and where it is."""
    from delivery import running, verdicts
    from delivery.environments import read_environment

    environment = read_environment(env)
    plan = running.plan(environment, pipeline, parameter or [], ctx.obj)
    result = running.run(environment, plan, Console(stderr=True))
    if as_json:
        _data(json.dumps(verdicts.as_json(result, environment), indent=1, ensure_ascii=False))
    else:
        verdicts.show(result, environment, _stdout())
    if failed := verdicts.failure(result):
        raise failed


@app.command("compile")
def compile_(
    ctx: typer.Context,
    pipelines: Annotated[list[str] | None, typer.Argument(metavar="[PIPELINE]...", help="Else all.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Else build/packages of the project.")] = None,
) -> None:
    """Write the packages, the same bytes on every machine, and print the SHA-256 of each."""
    from delivery import compile as compiling
    from delivery.environments import project_root

    folder = out or project_root() / compiling.OUT
    for name in pipelines or compiling.pipeline_names(ctx.obj):
        package = compiling.compile_pipeline(name, folder, ctx.obj)
        _data(f"{compiling.sha256(package)}  {package}")


@app.command()
def report(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its name or its id, as `mlops run` printed them.")],
    env: EnvOption = "local-dev",
) -> None:
    """Make the page of a run again from what its steps wrote, and print where it is."""
    from delivery import running
    from delivery.environments import read_environment

    _data(running.report(read_environment(env), run, ctx.obj))


@app.command()
def doctor(env: EnvOption = "local-dev", as_json: JsonOption = False) -> None:
    """Say what this machine can run and what it cannot, and why."""
    from delivery import doctor as doctors

    health = doctors.examine(env)
    if as_json:
        _data(json.dumps(health.as_json(), indent=1, ensure_ascii=False))
    else:
        doctors.show(health, _stdout())
    if failed := health.failure():
        raise failed


def main(arguments: list[str] | None = None, *, pipelines: str = "pipelines") -> NoReturn:
    """The only place that exits; a user's mistake is a sentence there, and our own keeps its traceback."""
    try:
        words = sys.argv[1:] if arguments is None else arguments
        app(words or ["--help"], prog_name="mlops", standalone_mode=False, obj=pipelines)
    except TyperException as error:
        _exit(_wrong_use(error))
    except (KeyboardInterrupt, typer.Abort):
        _exit(Interrupted("it was stopped", where="mlops", do="start it again"))
    except Exception as error:
        told = error if isinstance(error, MlopsError) else in_our_words(error)
        if told is None:
            raise
        _exit(told)
    sys.exit(0)


def _exit(error: MlopsError) -> NoReturn:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)


def _wrong_use(error: TyperException) -> WrongUse:
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context else "mlops"
    return WrongUse(error.format_message().rstrip("."), where=command, do=f"`{command} --help` shows what it takes")


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE)


def _data(text: str) -> None:
    typer.echo(text)


if __name__ == "__main__":
    main()
