"""What the tests of deploy/ share: the folder, YAML, the parsed Dockerfile, programs of Debian's."""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def deploy() -> Path:
    """The folder."""
    return ROOT / "deploy"


@pytest.fixture
def read_yaml(deploy: Path) -> Callable[[str], list[Any]]:
    """Return the documents of a YAML file below deploy/."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

    def read(name: str) -> list[Any]:
        return list(yaml.safe_load_all((deploy / name).read_text(encoding="utf-8")))

    return read


@pytest.fixture
def dockerfile(deploy: Path) -> list[list[Any]]:
    """The stages of the Dockerfile, each a list of instructions with name, rest and line."""
    parser = runpy.run_path(str(ROOT / "tests" / "bench" / "container_steps.py"))
    text = (deploy / "Dockerfile").read_text(encoding="utf-8")
    found: list[list[Any]] = parser["stages"](parser["parse_dockerfile"](text))
    return found


@pytest.fixture
def program() -> Callable[[str], str]:
    """Return the path of a program, or skip the test with the package that has it."""
    packages = {
        "kubectl": "kubernetes-client",
        "prometheus": "prometheus",
        "promtool": "prometheus",
        "systemd-analyze": "systemd",
    }

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed; on Debian: apt-get install {packages[name]}")
        return path

    return find
