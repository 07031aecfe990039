"""Pin what the container installs: `python deploy/lock.py` writes the two requirements files.

pip resolves the dependencies of `pyproject.toml` for each platform of the image, from wheels alone
and without installing anything, and reports the SHA-256 of each file it chose. What is written is
exact: `pip install --require-hashes` takes these files and no others.

Run it with the Python version of the image, because pip judges conditions such as
`python_version < "3.12"` by its own Python.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
PYTHON = "3.11"
# glibc 2.36 of Debian 12 runs wheels for all of these. https://peps.python.org/pep-0600/
GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
MACHINES = ("x86_64", "aarch64")
# What builds our own wheel in the image's first stage; setuptools makes wheels itself from 70.1.
BUILD = ("setuptools>=80",)


def resolve(requirements: list[str], machine: str) -> dict[str, str]:
    """Return the SHA-256 of the wheel for `machine` of each `name==version` that is needed."""
    platforms = [f"--platform={glibc}_{machine}" for glibc in GLIBC]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report=-"),
            *("--ignore-installed", "--only-binary=:all:", f"--target={folder}"),
            *(f"--python-version={PYTHON}", "--implementation=cp", *platforms, *requirements),
        ]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {
        f"{re.sub(r'[-_.]+', '-', each['metadata']['name']).lower()}=={each['metadata']['version']}": (
            each["download_info"]["archive_info"]["hashes"]["sha256"]
        )
        for each in report["install"]
    }


def render(requirements: list[str]) -> str:
    """Return the text of a requirements file, with the hashes for all machines."""
    hashes: dict[str, set[str]] = defaultdict(set)
    resolved = [resolve(requirements, machine) for machine in MACHINES]
    if len({frozenset(each) for each in resolved}) > 1:
        sys.exit(f"the machines need different versions: {resolved}")
    for each in resolved:
        for pin, digest in each.items():
            hashes[pin].add(digest)
    blocks = [
        " \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in sorted(hashes[pin]))])
        for pin in sorted(hashes)
    ]
    head = f"# Written by deploy/lock.py: wheels for Python {PYTHON} on {' and '.join(MACHINES)}.\n"
    return head + "\n".join(blocks) + "\n"


def main() -> None:
    """Write both files."""
    if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
        sys.exit(f"run this with Python {PYTHON}, which the image has")
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
    for name, wanted in (
        ("requirements.txt", project["project"]["dependencies"]),
        ("build-requirements.txt", list(BUILD)),
    ):
        (DEPLOY / name).write_text(render(wanted), encoding="utf-8")


if __name__ == "__main__":
    main()
