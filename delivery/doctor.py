"""What this machine has, which rungs of the ladder it can run with that, and what is missing for the others."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from delivery import git
from delivery.doctor_environment import rows
from delivery.environments import Environment, environment_file, project_root, read_environment
from delivery.errors import Failed, MlopsError
from delivery.health import Health, Thing, thing
from delivery.image_tools import GET
from delivery.images import BUILDERS
from delivery.project import read_project

GIB = 1024**3
PACKAGES = {  # distribution -> module
    "kfp": "kfp",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "onnxruntime": "onnxruntime",
    "tf2onnx": "tf2onnx",
    "polars": "polars",
    "pandera": "pandera",
    "mlflow-skinny": "mlflow",
    "moto": "moto",
}
STEPS = [name for name in PACKAGES if name not in ("kfp", "moto", "mlflow-skinny")]
INSTALL = "`make install`, then .venv/bin/mlops"
IMAGE_TOOLS = {"scan": ("trivy", "grype"), "sbom": ("syft",), "sign": ("cosign",)}  # verbs of `mlops image`
ENGINE = "start one (`systemctl start docker`, Docker Desktop, `colima start`)"


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to run the same code; `lacks` says why it cannot be run here."""

    name: str
    basic: bool  # a machine with git, make and Python must have it
    lacks: list[str]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All of it, for a table or for a script."""

    things: list[Thing]
    rungs: list[Rung]

    def failure(self) -> MlopsError | None:
        """None when the basic rungs can be run: Docker and a cluster are extras."""
        broken = [rung for rung in self.rungs if rung.basic and rung.lacks]
        if not broken:
            return None
        what = f"this machine cannot run: {', '.join(rung.name for rung in broken)}"
        lacks = list(dict.fromkeys(name for rung in broken for name in rung.lacks))
        cures = [f"{thing.name}: {thing.get_it}" for thing in self.things if thing.name in lacks]
        return Failed(what, where=", ".join(lacks), do="; ".join(cures))

    def as_json(self) -> dict[str, Any]:
        things = [{**asdict(thing), "health": thing.health.value} for thing in self.things]
        rungs = [{"name": rung.name, "can_run": not rung.lacks, "lacks": rung.lacks} for rung in self.rungs]
        return {"ok": self.failure() is None, "things": things, "rungs": rungs}


def examine(environment_name: str, root: Path | None = None) -> Diagnosis:
    """Looks only: nothing is installed, and nothing is left but an object `doctor.txt` where the store is a bucket."""
    environment = _environment(environment_name, root)
    folder = root or Path.cwd()
    things = [_python(), _cores(), _memory(), _disk(folder), _git(folder)]
    things.append(_project(folder))
    things += [_package(distribution, module) for distribution, module in PACKAGES.items()]
    things += [_gpu(), _docker(), _tool("kind", "the kind cluster"), _tool("kubectl", "the kind cluster")]
    things += [_builder(), *(_image_tool(verb, *tools) for verb, tools in IMAGE_TOOLS.items()), _chromium()]
    if isinstance(environment, MlopsError):
        things.append(thing("environment", False, environment.what, "mlops run", environment.do))
        return Diagnosis(things=things, rungs=_rungs(things))
    asked = rows(environment)
    rungs = _rungs([*things, *asked])
    if environment.endpoint != "local" or environment.signing_key or environment.require_signature:
        rungs.append(_deploying(environment, things, asked))
    things += [thing("environment", True, environment_name, "mlops run", ""), *asked]
    return Diagnosis(things=things, rungs=rungs)


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Two tables: the things, then the rungs."""
    styles = {Health.OK: "green", Health.MISSING: "yellow", Health.BROKEN: "bold red"}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("thing", "state", "found", "needed for", "to get it"):
        table.add_column(heading, overflow="fold")
    for each in diagnosis.things:
        state = Text(each.health.value, style=styles[each.health])
        cure = each.get_it if each.health is not Health.OK else ""
        table.add_row(each.name, state, Text(each.found), Text(each.needed_for), Text(cure))
    console.print(table)
    console.print()
    for rung in diagnosis.rungs:
        answer = Text("yes", style="green") if not rung.lacks else Text("no", style="yellow")
        why = f"  (without {', '.join(rung.lacks)})" if rung.lacks else ""
        console.print(Text.assemble(f"{rung.name}: ", answer, why), soft_wrap=True, highlight=False)


def _environment(name: str, root: Path | None) -> Environment | MlopsError:
    """Why it cannot be read is a finding like others; a name that no file has is a mistyped command, and raised."""
    try:
        root = root or project_root()
    except MlopsError as error:
        return error
    environment_file(name, root)
    try:
        return read_environment(name, root)
    except MlopsError as error:
        return error


def _rungs(things: list[Thing]) -> list[Rung]:
    bad = [thing.name for thing in things if thing.health is not Health.OK]
    code = ["python", *STEPS]
    pipeline = [*code, "kfp", "mlflow-skinny", "memory", "disk", "environment", "endpoint", "store", "registry"]
    needs: list[tuple[str, bool, list[str]]] = [
        ("a function", True, code),
        ("a step, with S3 by moto", True, [*code, "moto"]),
        ("the compiled pipeline, here", True, pipeline),
        ("the pipeline in its container image", False, [*pipeline, "docker"]),
        ("Kubeflow on a kind cluster", False, ["python", "kfp", "docker", "kind", "kubectl"]),
    ]
    return [Rung(name=name, basic=basic, lacks=[n for n in bad if n in wanted]) for name, basic, wanted in needs]


def _deploying(environment: Environment, things: list[Thing], asked: list[Thing]) -> Rung:
    """All that the environment names must be right, and of this machine what delivers, and the steps' where they run."""
    needed = ["python", "kfp", "mlflow-skinny", *(STEPS if environment.endpoint == "local" else ())]
    here = [each for each in things if each.name in needed]
    lacks = [each.name for each in (*here, *asked) if each.health is not Health.OK]
    return Rung(name=f"a deploy to {environment.name}", basic=True, lacks=lacks)


def _python() -> Thing:
    good = (3, 10) <= sys.version_info[:2] <= (3, 13)
    return thing("python", good, platform.python_version(), "everything", "install Python 3.10 to 3.13")


def _cores() -> Thing:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return thing("cores", True, str(count), "speed", "")


def _memory() -> Thing:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")  # in a container, less than the machine has
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return thing("memory", total >= 3 * GIB, f"{total / GIB:.1f} GiB", "training", "give it 4 GiB or more")


def _disk(folder: Path) -> Thing:
    free = shutil.disk_usage(folder).free
    return thing("disk", free >= 2 * GIB, f"{free / GIB:.1f} GiB free", "the artifacts of runs", "free 2 GiB or more")


def _project(folder: Path) -> Thing:
    try:
        project = read_project(project_root(folder))
    except MlopsError as error:
        return thing("project", False, error.what, "its name and image", f"{error.where}: {error.do}")
    return thing("project", True, f"{project.name}, of {project.owner}", "its name and image", "")


def _git(folder: Path) -> Thing:
    found = _said("git", "--version")
    if not found:
        return thing("git", False, "-", "the commit in the lineage", "install git", here=False)
    try:
        git.head(folder)
    except MlopsError as error:
        what = f"this folder is no git repository with a commit ({error.what.partition(': ')[2]})"
        return thing("git", False, what, "releases", "git init, git add, git commit", here=False)
    return thing("git", True, found, "the commit in the lineage", "")


def _package(distribution: str, module: str) -> Thing:
    """Found without importing it: TensorFlow alone takes seconds."""
    here = util.find_spec(module) is not None
    version = _version(distribution) or _version(f"{distribution}-cpu") or ("unknown version" if here else "-")
    use = {"moto": "the tests of steps", "kfp": "compiling and running"}.get(distribution, "steps")
    return thing(distribution, here, version, use, INSTALL, here=version != "-")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> Thing:
    """TensorFlow is asked only where the driver lists a GPU: it loads slowly, and without one the answer is known."""
    use, listed = "faster training (not needed)", _said("nvidia-smi", "-L")
    if not listed:
        return thing("gpu", False, "no NVIDIA driver", use, "a machine with an NVIDIA GPU", here=False)
    code = "import tensorflow; print(len(tensorflow.config.list_physical_devices('GPU')))"
    seen = (_said(sys.executable, "-c", code, seconds=120) or "0").splitlines()[-1]
    cure = "install TensorFlow with CUDA: pip install 'tensorflow[and-cuda]'"
    return thing("gpu", seen != "0", f"TensorFlow sees {seen}; {listed.splitlines()[0]}", use, cure)


def _docker() -> Thing:
    use = "the container image, the kind cluster"
    if not shutil.which("docker"):
        return thing("docker", False, "-", use, "install Docker or Podman's docker command", here=False)
    version = _said("docker", "info", "--format", "{{.ServerVersion}}", seconds=10)
    found = f"engine {version}" if version else "the client is here, and no engine answers it"
    return thing("docker", bool(version), found, use, ENGINE)


def _tool(name: str, needed_for: str) -> Thing:
    path = shutil.which(name)
    return thing(name, path is not None, path or "-", needed_for, f"install {name}", here=False)


def _builder() -> Thing:
    """The first that answers, as `mlops image build` takes it."""
    found = next((tool for tool in BUILDERS if _said(tool, "info")), "")
    cure = "start Docker, or install Podman or Buildah: `apt-get install podman`"
    return thing("image builder", bool(found), found or "-", "mlops image build", cure, here=False)


def _image_tool(verb: str, *tools: str) -> Thing:
    """The first that is here; one of them is enough."""
    path = next(filter(None, map(shutil.which, tools)), None)
    cure = "; or ".join(f"get {tool}: {GET[tool]}" for tool in tools)
    return thing(" or ".join(tools), path is not None, path or "-", f"mlops image {verb}", cure, here=False)


def _chromium() -> Thing:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    return thing("chromium", path is not None, path or "-", "tests that look at pages", "install chromium", here=False)


def _said(*command: str, seconds: float = 10) -> str | None:
    """The first words of a command that went well; None when it is not there or failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
