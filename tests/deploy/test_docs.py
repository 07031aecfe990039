"""What docs/deploying.md says of deploy/ is whole; tests/test_docs.py runs what it tells to type."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")


def test_shell_is_sound() -> None:
    """Every block of shell is."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", DEPLOYING)
    assert len(blocks) >= 6
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), block


def test_files_of_deploy_are_named() -> None:
    """Each file of deploy/ is named in the document, or lies in a folder that is linked there."""
    links = re.findall(r"\]\(\.\./(deploy[^)]*)\)", DEPLOYING)
    for path in (ROOT / "deploy").rglob("*"):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and "__pycache__" not in name:
            is_told = name in DEPLOYING or f"{Path(name).parent}" in set(links) - {"deploy"}
            assert is_told or path.name in PARTS, f"say in docs/deploying.md what {name} is for"


# Parts of what is named: the Dockerfile, lock.py, compose.yaml.
PARTS = {
    "Dockerfile.dockerignore",
    "build-requirements.txt",
    "healthcheck.py",
    "collector.yml",
    "prometheus.yml",
}
