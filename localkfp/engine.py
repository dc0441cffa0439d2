"""The Docker engine of this machine, if there is one: asked once, and only when a package needs it."""

from __future__ import annotations

import importlib
from contextlib import suppress
from functools import cached_property
from typing import Any

LABEL = "localkfp.run_id"


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
        if self.client is None:
            return False
        try:
            self.client.images.get(image)
        except importlib.import_module("docker").errors.ImageNotFound:
            return False
        return True

    def remove(self, run_id: str) -> None:
        """No container of the run is left, running or not."""
        if self.client is None:
            return
        with suppress(importlib.import_module("docker").errors.APIError):  # one that is about to go by itself
            for container in self.client.containers.list(all=True, filters={"label": f"{LABEL}={run_id}"}):
                container.remove(force=True)


def run_container(log: Any, run_id: str, client: Any, image: str, command: list[str], **options: Any) -> int:
    """The container's own exit code: KFP lets Docker remove it first, and takes a lost one for a success."""
    container = client.containers.run(image=image, command=command, detach=True, labels={LABEL: run_id}, **options)
    try:
        for part in container.logs(stream=True, follow=True):
            log.write(part)
            log.flush()
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)
