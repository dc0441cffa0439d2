from __future__ import annotations

import sys

import pytest
from kfp import dsl

from localkfp.preamble import is_installed, split_preamble


def command(**options) -> list[str]:
    @dsl.component(base_image="python:3.12", **options)
    def step():
        pass

    executors = step.pipeline_spec.deployment_spec["executors"]
    return list(executors["exec-step"]["container"]["command"])


def test_what_a_component_installs_is_read_from_its_command():
    plain = command(install_kfp_package=False)

    wanted, rest = split_preamble(
        command(packages_to_install=["six", "numpy>=1"], pip_index_urls=["https://a/simple", "https://b/simple"])
    )

    assert wanted == ["six", "numpy>=1", "kfp==2.17.0", 'typing-extensions>=3.7.4,<5; python_version<"3.9"']
    assert rest == plain
    assert split_preamble(plain) == ([], plain)
    assert split_preamble(command(use_venv=True, packages_to_install=["six"]))[1] == plain
    assert split_preamble(["sh", "-c", "pip install six"]) == ([], ["sh", "-c", "pip install six"])


@pytest.mark.parametrize(
    ("requirement", "here"),
    [
        ("kfp", True),
        ("kfp==2.17.0", True),
        ("kfp>=99", False),
        ("no-such-package", False),
        ("no-such-package; python_version < '3'", True),
        ("kfp[kubernetes]", True),
        ("kfp[notebooks]", False),
        ("git+https://example.com/kfp.git", False),
        ("./kfp.whl", False),
    ],
)
def test_a_requirement_is_met_by_this_python_or_not(requirement, here):
    assert is_installed(requirement) is here


def test_the_marker_of_this_python_is_looked_at():
    assert not is_installed(f"no-such-package; python_version == '{sys.version_info[0]}.{sys.version_info[1]}'")
