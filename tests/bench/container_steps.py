"""Do what deploy/Dockerfile says without a container engine: `python -m tests.bench.container_steps`.

Each COPY and RUN of the build stage is carried out in an empty folder that stands for the root of
the image, with a fresh environment that stands for the image's Python. Then the result is used as
the container would be: by a user who is not root, with a root that this user cannot write to, and
one folder for /data. What this cannot show: the base image, and the runtime of containers.

Run it as root for the second half to mean something. It downloads about 70 MB.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
USER_ID = 10001


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its lines joined."""

    name: str
    rest: str
    line: int


def parse_dockerfile(text: str) -> list[Instruction]:
    """Return the instructions of the Dockerfile `text`."""
    found: list[Instruction] = []
    joined, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not joined and not line.strip()):
            continue
        start = start if joined else number
        joined += line.removesuffix("\\").strip() + " "
        if not line.endswith("\\"):
            name, _, rest = joined.strip().partition(" ")
            found.append(Instruction(name.upper(), rest.strip(), start))
            joined = ""
    return found


def stages(instructions: list[Instruction]) -> list[list[Instruction]]:
    """Return the instructions of each stage, FROM first; what is before the first is left out."""
    found: list[list[Instruction]] = []
    for each in instructions:
        if each.name == "FROM":
            found.append([])
        if found:
            found[-1].append(each)
    return found


class Image:
    """A folder that stands for the root of the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._workdir = folder
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_FIND", "PYTHON"))
        }

    def place(self, path: str) -> Path:
        """Return where `path` of the image is."""
        return self.folder / path.lstrip("/") if path.startswith("/") else self._workdir / path

    def do(self, step: Instruction) -> None:
        """Carry out `step`, if it is one that does something."""
        if step.name == "WORKDIR":
            self._workdir = self.place(step.rest)
            self._workdir.mkdir(parents=True, exist_ok=True)
        elif step.name == "ENV":
            for pair in shlex.split(step.rest):
                name, _, value = pair.partition("=")
                self._environment[name] = value
        elif step.name == "COPY":
            self._copy(shlex.split(step.rest))
        elif step.name == "RUN":
            self._run(step.rest)

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        for source in sources:
            to = self.place(target)
            if target.endswith(("/", ".")):
                to /= Path(source).name
            to.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, to)

    def _run(self, command: str) -> None:
        for folder in ("/opt/", "/wheels"):
            command = command.replace(folder, f"{self.folder}{folder}")
        path = f"{self.folder}/usr/local/bin:/usr/bin:/bin"
        environment = {**self._environment, "PATH": path}
        began = time.monotonic()
        shell = ["/bin/sh", "-c", command]
        subprocess.run(
            shell, cwd=self._workdir, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        print(f"  {time.monotonic() - began:5.1f} s  RUN {command[:100]}")


def as_collector(image: Image, *arguments: str) -> Iterator[str]:
    """Yield the lines that the image's program says, run as its user in /data."""
    program = [str(image.place("/opt/collector/bin/python")), "-m", "trio_collector", *arguments]
    if os.geteuid() == 0:
        user = f"{USER_ID}"
        program = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *program]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/data", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        program,
        cwd=image.place("/data"),
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield from done.stdout.splitlines()


def written_by_user(image: Image) -> list[Path]:
    """Return what the user has written outside of /data."""
    return [
        path
        for path in image.folder.rglob("*")
        if path.lstat().st_uid == USER_ID and not path.is_relative_to(image.place("/data"))
    ]


def main() -> None:
    """Build, then use what was built."""
    build, _final = stages(parse_dockerfile(DOCKERFILE.read_text(encoding="utf-8")))
    # Not below a folder that only root may enter.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        image = Image(folder)
        subprocess.run([sys.executable, "-m", "venv", folder / "usr/local"], check=True)
        for step in build:
            image.do(step)
        data = image.place("/data")
        data.mkdir(mode=0o750)
        if os.geteuid() == 0:
            os.chown(data, USER_ID, USER_ID)
        environment = image.place("/opt/collector")
        size = sum(path.lstat().st_size for path in environment.rglob("*"))
        print(
            f"  /opt/collector has {size / 1e6:.0f} MB; pip in it: {(environment / 'bin/pip').exists()}"
        )
        shutil.copy(ROOT / "deploy" / "config.toml", folder / "config.toml")
        for arguments in (
            ("--version",),
            ("check", "--config", str(folder / "config.toml")),
            ("demo", "--seconds", "5", "--dir", "demo"),
        ):
            print(f"$ trio_collector {' '.join(arguments)}")
            for line in as_collector(image, *arguments):
                print(f"  {line}")
        print(f"  written outside of /data: {written_by_user(image)}")


if __name__ == "__main__":
    main()
