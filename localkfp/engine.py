"""The Docker engine of this machine, if there is one: asked once, and only when a package needs it; and how it runs a step."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

LABEL = "localkfp.run_id"
AS_ROOT = ("", "0", "root", "0:0", "root:root")  # what an image says of its user


@dataclass(frozen=True, kw_only=True)
class Containers:
    """How every container is run here, whatever its image."""

    options: Mapping[str, Any] = field(
        default_factory=dict
    )  # arguments of docker-py's `containers.run`, as JSON has them
    folders: tuple[Path, ...] = ()  # seen inside under the same path

    def as_json(self) -> dict[str, Any]:
        return {"options": dict(self.options), "folders": [str(folder.absolute()) for folder in self.folders]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Containers:
        return cls(options=value["options"], folders=tuple(map(Path, value["folders"])))

    @property
    def may_be_another_user(self) -> bool:
        """May they write as somebody else than this process does?"""
        if "user" in self.options:
            return str(self.options["user"]).partition(":")[0] != str(os.getuid())
        return os.getuid() == 0  # then it is whom the image names

    def with_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a step, and these."""
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)  # else Docker makes it, as root's
        bound = {str(folder): {"bind": str(folder), "mode": "rw"} for folder in self.folders}
        return {**given, **self.options, "volumes": {**given.get("volumes", {}), **bound}}


class Engine:
    """Containers carry their run's id, so that they can be found when nobody is left who started them."""

    @cached_property
    def client(self) -> Any:
        """None where the docker package is missing or no engine answers."""
        try:
            docker = importlib.import_module("docker")
        except ImportError:
            return None
        try:
            client = docker.from_env()
            client.ping()
        except docker.errors.DockerException:
            return None
        return client

    @property
    def answers(self) -> bool:
        return self.client is not None

    def has(self, image: str) -> bool:
        """True only of an image that is there: nothing is pulled."""
        return self.client is not None and find(self.client, image) is not None

    def remove(self, run_id: str) -> None:
        """No container of the run is left, running or not."""
        if self.client is None:
            return
        with suppress(importlib.import_module("docker").errors.APIError):  # one that is about to go by itself
            for container in self.client.containers.list(all=True, filters={"label": f"{LABEL}={run_id}"}):
                container.remove(force=True)


def find(client: Any, image: str) -> Any:
    """The image of that name, or of that digest where it is the image's own id: what was never pushed has no other."""
    for name in dict.fromkeys((image, image.partition("@")[2])):
        with suppress(importlib.import_module("docker").errors.ImageNotFound):
            if name:
                return client.images.get(name)
    return None


def run_container(log: Any, run_id: str, client: Any, image: str, command: list[str], **options: Any) -> int:
    """The container's own exit code: KFP lets Docker remove it first, and takes a lost one for a success."""
    found = find(client, image)
    if found and "user" not in options and os.getuid() and found.attrs["Config"].get("User", "") not in AS_ROOT:
        options["user"] = f"{os.getuid()}:{os.getgid()}"  # it is made to run as anyone: then what it writes is ours
    container = client.containers.run(
        image=found.id if found else image, command=command, detach=True, labels={LABEL: run_id}, **options
    )
    try:
        for part in container.logs(stream=True, follow=True):
            log.write(part)
            log.flush()
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)
