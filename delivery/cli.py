"""The `mlops` command: verbs only, each a few lines over the modules beside it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from delivery.cli_image import image
from delivery.errors import Interrupted, MlopsError, WrongUse, in_our_words
from delivery.interrupts import sigterm_as_ctrl_c

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
new = typer.Typer(rich_markup_mode=None)
app.add_typer(new, name="new")
app.add_typer(image, name="image")

WIDE = 200  # columns for a file or a pipe, where nothing is gained by folding a path
PARAMETER_HELP = "A parameter; NAME.KEY=VALUE for one key of a mapping. Paths start at the project's root."
EnvOption = Annotated[str, typer.Option("--env", metavar="NAME", help="A file of environments/.")]
PipelineOption = Annotated[str | None, typer.Option("--pipeline", metavar="NAME", help="Else the default one.")]
ByOption = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does it, for the ledger; else the user.")]
WhyOption = Annotated[str, typer.Option("--why", help="Why, for the ledger.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="In snake_case, as in clean_text.")]
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


@app.command()
def release(
    ctx: typer.Context,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="[REPO@]sha256:HEX|local",
            help="The steps' image; `local`: the code itself in its place. Else the one that was built of this code, if any.",
        ),
    ] = None,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Of a tree that no commit holds; it can be deployed, never promoted.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build the release of this commit, and print its id and its folder: packages, image, contract, gates, by hash."""
    from delivery import images
    from delivery import release as releases
    from delivery.environments import project_root
    from delivery.project import image_of

    root = project_root()
    if image is None:
        image, note = images.for_release(root)
        if note:
            _talk(f"note: {note}")
    else:
        image = None if image == "local" else image_of(root, image)
    built = releases.build(root, root / releases.BUILT, image=image, pipelines=ctx.obj, allow_dirty=allow_dirty)
    _data(json.dumps(asdict(built), indent=1) if as_json else f"{built.id}  {_path(built.url)}")


@app.command()
def deploy(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="Its id, the first 6 digits of it or more, or its folder.")
    ],
    env: EnvOption = "local-dev",
    pipeline: PipelineOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run it anew, though it was proved there, or taken back.")
    ] = False,
    by: ByOption = "",
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put a release into an environment, run it there, and make it current when its gates let it pass."""
    from delivery import deploy as deploying
    from delivery.environments import read_environment

    talk = Console(stderr=True)
    change = deploying.deploy(release, read_environment(env), pipeline, talk, by=by or _user(), why=why, again=again)
    _tell(change, as_json)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A tag, or a release by its id.")],
    source: Annotated[str, typer.Option("--from", metavar="NAME", help="The environment that proved it.")],
    target: Annotated[str, typer.Option("--to", metavar="NAME", help="The environment that gets it.")],
    pipeline: PipelineOption = None,
    release: Annotated[str, typer.Option(metavar="ID", help="The release that the tag must mean.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Though it was taken back there.")] = False,
    by: ByOption = "",
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put the very bytes and the very model that one environment proved to work in another."""
    from delivery import promote as promoting
    from delivery.environments import read_environment

    environments = read_environment(source), read_environment(target)
    change = promoting.promote(
        version, *environments, pipeline, by=by or _user(), why=why, release_id=release, again=again
    )
    _tell(change, as_json)


@app.command()
def rollback(
    env: Annotated[str, typer.Option("--env", metavar="NAME", help="A file of environments/.")],
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="A version or a release that was current.")] = None,
    pipeline: PipelineOption = None,
    by: ByOption = "",
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take the last change of an environment back: release, model, alias and schedule; nothing is built or trained."""
    from delivery import rollback as rolling_back
    from delivery.environments import read_environment

    _tell(rolling_back.rollback(read_environment(env), to, pipeline, by=by or _user(), why=why), as_json)


@app.command()
def trigger(
    kind: Annotated[str, typer.Argument(metavar="data|schedule", help="What it is that happened.")],
    env: EnvOption = "local-dev",
    pipeline: PipelineOption = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help=PARAMETER_HELP)] = None,
    event: Annotated[str, typer.Option("--id", metavar="NAME", help="Of the event: the same twice is one run.")] = "",
    by: ByOption = "",
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Train what is current in an environment again, with the same gates; a better model is current afterwards."""
    from delivery import triggers
    from delivery.environments import read_environment

    given, talk = parameter or [], Console(stderr=True)
    change = triggers.trigger(
        kind, read_environment(env), pipeline, given, talk, event=event, by=by or _user(), why=why
    )
    _tell(change, as_json)


@app.command()
def status(
    env: Annotated[list[str] | None, typer.Option("--env", metavar="NAME", help="Else all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is current where: release, package, code and model by their hashes, schedule and health.

    With --env, an environment that is not healthy is exit code 1.
    """
    from delivery import status as states
    from delivery.environments import environment_names

    rows = states.status(env or environment_names())
    if as_json:
        _data(json.dumps(states.as_json(rows), indent=1, ensure_ascii=False))
    else:
        states.show(rows, _stdout())
    if env and (failed := states.failure(rows)):
        raise failed


@app.command()
def evidence(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A tag, or a release by its id.")],
    env: EnvOption = "local-dev",
    pipeline: PipelineOption = None,
    target: Annotated[str, typer.Option("--to", metavar="NAME", help="Whose trusted keys must have signed it.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Print what proves a release, as Markdown for who reviews its promotion."""
    from delivery import evidence as evidences
    from delivery import promote as promoting
    from delivery import signatures
    from delivery.environments import read_environment
    from delivery.prove import pipeline_of

    environment = read_environment(env)
    signed = promoting.find(version, environment, pipeline_of(environment, pipeline)).signed
    believed = "not verified: `--to ENVIRONMENT` does that"
    if target:
        signatures.require(signed.envelope, signatures.trusted(read_environment(target).trusted_paths), signed.url)
        believed = f"verified by a key that {target} trusts"
    _data(evidences.as_json(signed) if as_json else evidences.as_markdown(signed, believed))


@new.callback()
def _new() -> None:
    """Write the skeleton of a model, of a step or of a graph, with its tests; it runs, and passes them, at once."""


@new.command("model")
def new_model(
    name: NewName,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Rows to read the contract from.")] = None,
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The classes to be told apart.")] = "",
    time: Annotated[str, typer.Option(metavar="COLUMN", help="The day of a row.")] = "",
    entity: Annotated[str, typer.Option(metavar="COLUMN[,COLUMN]", help="Who or what a row is about.")] = "",
) -> None:
    """A model with its pipeline, on data that it draws itself, or with the contract of a CSV file."""
    from delivery import new as skeletons
    from delivery.environments import project_root

    entities = [column.strip() for column in entity.split(",") if column.strip()]
    root = project_root()
    written = skeletons.new_model(root, name, csv=csv, target=target, time=time, entity=entities, tell=_talk)
    _written(written, f"mlops run {name}")


@new.command("component")
def new_component(name: NewName) -> None:
    """A step that reads an artifact and writes one."""
    from delivery import new as skeletons
    from delivery.environments import project_root

    _written(skeletons.new_component(project_root(), name), f"pytest tests/components/{name}")


@new.command("pipeline")
def new_pipeline(
    name: NewName,
    model: Annotated[str, typer.Option(metavar="NAME", help="Whose data it looks at; else the first model's.")] = "",
) -> None:
    """A small graph of steps that there are."""
    from delivery import new as skeletons
    from delivery.environments import project_root

    _written(skeletons.new_pipeline(project_root(), name, model), f"mlops run {name}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of environments/*.yaml, for editors."""
    from delivery import environments

    _data(json.dumps(environments.schema(), indent=1))


def main(arguments: list[str] | None = None, *, pipelines: str = "pipelines") -> NoReturn:
    """The only place that exits; a user's mistake is a sentence there, and our own keeps its traceback."""
    try:
        words = sys.argv[1:] if arguments is None else arguments
        with sigterm_as_ctrl_c():
            code = app(words or ["--help"], prog_name="mlops", standalone_mode=False, obj=pipelines)
        if code:  # typer gives back an exit code, as it does with Ctrl-C's 130
            raise KeyboardInterrupt if code == Interrupted.exit_code else SystemExit(code)
    except TyperException as error:
        _exit(_wrong_use(error))
    except (KeyboardInterrupt, typer.Abort):
        _exit(Interrupted("it was stopped", where="mlops", do="the same command again takes up what was begun"))
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


def _tell(change: Any, as_json: bool) -> None:
    if as_json:
        _data(json.dumps(change.as_json(), indent=1, ensure_ascii=False))
        return
    _data(change.sentence)
    for note in change.notes:
        _data(f"note: {note}")


def _written(paths: list[Path], what_next: str) -> None:
    for path in paths:
        _data(str(path))
    _talk(f"next: {what_next}")


def _talk(text: str) -> None:
    typer.echo(text, err=True)


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container may run as a number that no user has
        return f"user {os.getuid()}"


def _path(url: str) -> str:
    from delivery.running import path_or_url

    return path_or_url(url)


def _data(text: str) -> None:
    typer.echo(text)


if __name__ == "__main__":
    main()
