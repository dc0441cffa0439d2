"""`mlops image ...`: the project's own images, by the tools that are kept for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

image = typer.Typer(rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="[steps|mlops]", help="Which one: a folder of images/.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else there.")]


@image.callback()
def _image() -> None:
    """Build, scan, describe and sign the images: what steps run in, and what CI runs `mlops` in."""


@image.command()
def build(
    name: NameArgument = "steps",
    gpu: Annotated[bool, typer.Option("--gpu", help="With NVIDIA's libraries; else for CPUs.")] = False,
    base: Annotated[
        str, typer.Option(metavar="IMAGE", help="Begin from this one; else as the Containerfile says.")
    ] = "",
    push: Annotated[bool, typer.Option("--push", help="Into the repository that project.yaml names.")] = False,
    builder: Annotated[str, typer.Option(metavar="docker|podman|buildah", help="Else the first that is here.")] = "",
    allow_dirty: Annotated[bool, typer.Option("--allow-dirty", help="Of a tree that no commit holds.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build an image from the commit's files, and print its name with its digest; `mlops release` pins the steps'."""
    from delivery import images
    from delivery.environments import project_root

    built = images.build(
        project_root(), name, gpu=gpu, base=base, push=push, builder=builder, allow_dirty=allow_dirty
    )  # fmt: skip
    typer.echo(json.dumps(asdict(built), indent=1) if as_json else built.image)


@image.command()
def scan(
    name: NameArgument = "steps",
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Look at a model's file in place of an image.")
    ] = None,
) -> None:
    """Look for known vulnerabilities (trivy, or grype), or for code in a model's file (modelscan).

    A critical one is exit code 3.
    """
    from delivery import image_tools, images
    from delivery.environments import project_root

    if model:
        typer.echo(image_tools.scan_model(model))
    else:
        root = project_root()
        typer.echo(image_tools.scan_image(image_tools.reference_of(images.require_last(root, name)), root))


@image.command()
def sbom(name: NameArgument = "steps") -> None:
    """Write all that an image holds, as SPDX (syft), and print where."""
    from delivery import image_tools, images
    from delivery.environments import project_root

    root = project_root()
    typer.echo(str(image_tools.sbom(images.require_last(root, name), root)))


@image.command()
def sign(
    name: NameArgument = "steps",
    key: Annotated[
        str, typer.Option(metavar="KEY", help="As cosign takes it, as env://COSIGN_KEY; else keyless.")
    ] = "",
) -> None:
    """Sign an image that was pushed, and what `mlops image sbom` wrote of it (cosign)."""
    from delivery import image_tools, images
    from delivery.environments import project_root

    root = project_root()
    found = images.require_last(root, name)
    with_bill = image_tools.sign(found, root, key)
    typer.echo(f"signed: {found.image}{' and its bill of materials' * with_bill}")
