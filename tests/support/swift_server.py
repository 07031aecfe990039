"""OpenStack Swift on this machine: a real S3 server, which verifies what it receives.

    python -m tests.support.swift_server FOLDER [--min-part-bytes N]

It prints one line of JSON when it serves (`endpoint_url`, `access_key`, `secret_key`, `region`), and
serves until its standard input ends. Four servers of Swift, each one process: accounts, containers
and objects on one "device", which is a folder, and the proxy in front of them, which speaks S3.
They end with this script, and the script ends when its standard input is closed.

Swift checks signatures, payload hashes, checksums (BadDigest), the clock, and If-None-Match. It
shows no checksums on HEAD, and its If-None-Match is not atomic. The filesystem of FOLDER has to
have user xattrs; root is not needed. https://docs.openstack.org/swift/latest/s3_compat.html
"""

import argparse
import contextlib
import ctypes
import getpass
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ACCESS_KEY = "test:collector"
SECRET_KEY = "swift+secret/key"
REGION = "us-east-1"
PATIENCE_S = 60.0
MIN_PART_BYTES = 5 * 2**20  # as S3's own

STORES = ("account", "container", "object")
# In their order. Where `listing_formats` is not named, Swift puts it behind `proxy-logging`; there it
# makes plain text of listings that s3api wants as JSON, and every listing is an InternalError.
FILTERS = {
    "catch_errors": "",
    "gatekeeper": "",
    "listing_formats": "",
    "healthcheck": "",
    "bulk": "",
    "s3api": "location = {region}\ns3_acl = no\nallow_no_owner = true\nmin_segment_size = {part}\n",
    "tempauth": "user_{user} = {secret} .admin\n",
    "copy": "",
    "slo": "",
    "dlo": "",
    "versioned_writes": "allow_object_versioning = true\n",
    "symlink": "",
    "proxy-logging": "",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where its configuration and objects go")
    parser.add_argument("--min-part-bytes", type=int, default=MIN_PART_BYTES)
    options = parser.parse_args()
    folder = options.folder.resolve()
    ports = {name: free_port() for name in (*STORES, "proxy")}
    configure(folder, ports, options.min_part_bytes)
    endpoint_url = f"http://127.0.0.1:{ports['proxy']}"
    with servers(folder):
        wait_ready(endpoint_url, folder)
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "region": REGION}
        sys.stdout.write(json.dumps({"endpoint_url": endpoint_url, **keys}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


def free_port() -> int:
    """Return a port that was free just now: Swift cannot tell which one the system gave it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configure(folder: Path, ports: dict[str, int], min_part_bytes: int) -> None:
    """Write the configuration of all servers, and the rings that tell where things are."""
    (folder / "devices" / "one").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n"
        "[storage-policy:0]\nname = only\ndefault = yes\n"
    )
    for name in STORES:
        text = (
            f"devices = {folder}/devices\nmount_check = false\nfallocate_reserve = 0\n"
            f"[pipeline:main]\npipeline = {name}-server\n"
            f"[app:{name}-server]\nuse = egg:swift#{name}\n"
        )
        (folder / f"{name}.conf").write_text(_head(folder, ports[name]) + text)
        _build_ring(folder / f"{name}.builder", ports[name])
    (folder / "proxy.conf").write_text(_head(folder, ports["proxy"]) + _pipeline(min_part_bytes))


def _head(folder: Path, port: int) -> str:
    return (
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\n"
        f"user = {getpass.getuser()}\nswift_dir = {folder}\nlog_facility =\nlog_level = WARNING\n"
    )


def _pipeline(min_part_bytes: int) -> str:
    user = ACCESS_KEY.replace(":", "_")
    names = {"user": user, "secret": SECRET_KEY, "region": REGION, "part": min_part_bytes}
    filters = "".join(
        f"[filter:{name}]\nuse = egg:swift#{name.replace('-', '_')}\n{options.format_map(names)}"
        for name, options in FILTERS.items()
    )
    return (
        f"[pipeline:main]\npipeline = {' '.join(FILTERS)} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\n"
        "account_autocreate = true\nallow_account_management = true\n" + filters
    )


def _build_ring(builder: Path, port: int) -> None:
    """Say that all of 2^4 partitions are on the one device, once."""
    steps = (
        ("create", "4", "1", "1"),
        ("add", f"r1z1-127.0.0.1:{port}/one", "1"),
        ("rebalance",),
    )
    builder.unlink(missing_ok=True)
    for step in steps:
        subprocess.run(
            [_program("ring-builder"), builder, *step], check=True, stdout=subprocess.DEVNULL
        )


def _program(name: str) -> Path:
    """Return the path of one of Swift's programs, which are beside the Python that it is in."""
    return Path(sys.executable).parent / f"swift-{name}"


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[None]:
    """Run the four servers; they write to FOLDER/*.log."""
    running = []
    try:
        for name in (*STORES, "proxy"):
            with (folder / f"{name}.log").open("wb") as log:
                command = [_program(f"{name}-server"), folder / f"{name}.conf"]
                running.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        preexec_fn=_die_with_parent,  # noqa: PLW1509 - safe, because this process has one thread
                    )
                )
        yield
    finally:
        for server in running:
            server.kill()  # nothing that it has stored is needed any more
        for server in running:
            server.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # prctl(2)
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def wait_ready(endpoint_url: str, folder: Path) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"{endpoint_url}/healthcheck", timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"no answer from {endpoint_url}: see {folder}/*.log") from None
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()
