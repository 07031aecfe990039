"""Compose, Kubernetes and systemd: what they promise the collector fits what it needs."""

import configparser
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_collector import __version__
from trio_collector.config.loading import load_config, parse_config
from trio_collector.config.settings import CollectorSection, Config
from trio_collector.config.sharding import Shard, parse_shard, select

GRACE_S = CollectorSection().shutdown_grace_secs
# Beside the grace period: the file that is being written, and the exit.
MARGIN_S = 10.0

ReadYaml = Callable[[str], list[Any]]
MANIFESTS = ("namespace", "statefulset", "podmonitor", "sidecar")
PATHS = {"/live", "/ready", "/health", "/metrics"}


def image_is_pinned(image: str) -> bool:
    """Return whether `image` names a release."""
    tag = image.rpartition(":")[2]
    return bool(re.search(r"\d", tag)) and tag != "latest" and ":" in image


def test_configurations(deploy: Path) -> None:
    """The configurations that are shown are good, and listen where the others can ask."""
    for name in ("config.toml", "kubernetes/config.toml"):
        config = load_config(deploy / name)
        assert config.collector.metrics_host == "0.0.0.0"
        assert config.collector.shutdown_grace_secs == GRACE_S
        assert config.storage.data_dir.startswith("/data/")
        assert config.collector.log_format == "json"


# Compose.


@pytest.fixture
def compose(read_yaml: ReadYaml) -> Any:
    (document,) = read_yaml("compose.yaml")
    return document


def test_compose_collector(compose: Any) -> None:
    """The collector has a root that is read-only, no rights, a bound on memory, and time to stop."""
    collector = compose["services"]["collector"]
    assert collector["read_only"] is True
    assert collector["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in collector["security_opt"]
    assert [mount.partition(":")[0] for mount in collector["tmpfs"]] == ["/tmp"]
    assert "collector-data:/data" in collector["volumes"]
    assert "user" not in collector, "the image has one"
    assert float(collector["stop_grace_period"].removesuffix("s")) >= GRACE_S + MARGIN_S


def test_compose_is_for_this_machine(compose: Any) -> None:
    """No port is open to the network, no image is unpinned, and each service comes back."""
    for service in compose["services"].values():
        assert image_is_pinned(service["image"])
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        assert service["restart"] == "unless-stopped"


def test_compose_files_exist(compose: Any, deploy: Path) -> None:
    """What is mounted is a declared volume or a file of deploy/."""
    build = compose["services"]["collector"]["build"]
    assert (deploy / build["context"] / build["dockerfile"]).samefile(deploy / "Dockerfile")
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (deploy / source).exists()
                assert volume.endswith(":ro")
            else:
                assert source in compose["volumes"]


def test_compose_store(compose: Any, deploy: Path) -> None:
    """The S3 server has the keys and the port that the collector uses, in one network with it."""
    collector, store = compose["services"]["collector"], compose["services"]["s3"]
    assert collector["network_mode"] == store["network_mode"] == "service:pod"
    assert collector["environment"]["AWS_ACCESS_KEY"] == store["environment"]["ROOT_ACCESS_KEY_ID"]
    assert (
        collector["environment"]["AWS_SECRET_KEY"] == store["environment"]["ROOT_SECRET_ACCESS_KEY"]
    )
    port = store["command"][store["command"].index("--port") + 1]
    assert load_config(deploy / "config.toml").aws.endpoint_url == f"http://127.0.0.1{port}"


def test_compose_scrape_target(compose: Any, read_yaml: ReadYaml) -> None:
    """Prometheus asks the name and port that the collector has there, and Grafana asks Prometheus."""
    (prometheus,) = read_yaml("prometheus/prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    assert job["job_name"] == "collector"
    assert job["static_configs"] == [{"targets": [f"collector:{CollectorSection().metrics_port}"]}]
    assert compose["services"]["pod"]["networks"]["default"]["aliases"] == ["collector"]
    (sources,) = read_yaml("grafana/provisioning/datasources/prometheus.yml")
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"


# Kubernetes.


@pytest.fixture
def objects(read_yaml: ReadYaml) -> list[Any]:
    """All objects of all manifests."""
    return [each for name in MANIFESTS for each in read_yaml(f"kubernetes/{name}.yaml")]


def pods(objects: list[Any]) -> list[tuple[str, Any]]:
    """Return name and pod specification of whatever makes pods."""
    return [
        (each["metadata"]["name"], each["spec"]["template"]["spec"])
        for each in objects
        if each["kind"] in ("StatefulSet", "Deployment")
    ]


def collector_of(pod: Any) -> Any:
    """Return the container of `pod` that collects."""
    (found,) = (
        each
        for each in (*pod["containers"], *pod.get("initContainers", ()))
        if each["name"] == "collector"
    )
    return found


def test_objects_have_what_they_need(objects: list[Any]) -> None:
    """Each has version, kind and name; what makes pods selects just those."""
    assert [each["kind"] for each in objects] == [
        "Namespace",
        "ServiceAccount",
        "Service",
        "StatefulSet",
        "PodDisruptionBudget",
        "PodMonitor",
        "ConfigMap",
        "Deployment",
    ]
    versions = {
        "StatefulSet": "apps/v1",
        "Deployment": "apps/v1",
        "PodDisruptionBudget": "policy/v1",
        "PodMonitor": "monitoring.coreos.com/v1",
    }
    for each in objects:
        assert each["apiVersion"] == versions.get(each["kind"], "v1")
        assert re.fullmatch(r"[a-z0-9-]+", each["metadata"]["name"])
        if each["kind"] in ("StatefulSet", "Deployment"):
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"] == labels


def test_pods_are_restricted(objects: list[Any]) -> None:
    """Every container meets the Pod Security Standard `restricted`, and writes to volumes alone."""
    assert len(pods(objects)) == 2
    for _name, pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert image_is_pinned(container["image"])


def test_pods_mount_what_there_is(objects: list[Any]) -> None:
    """/data, /tmp and the configuration are mounted, each from a volume of the pod."""
    claims = {
        claim["metadata"]["name"]
        for each in objects
        if each["kind"] == "StatefulSet"
        for claim in each["spec"]["volumeClaimTemplates"]
    }
    for _name, pod in pods(objects):
        volumes = {each["name"] for each in pod["volumes"]} | claims
        mounts = {each["mountPath"]: each["name"] for each in collector_of(pod)["volumeMounts"]}
        assert set(mounts) == {"/data", "/tmp", "/etc/trio_collector"}
        assert set(mounts.values()) <= volumes


def test_probes(objects: list[Any]) -> None:
    """Alive is asked of /live, ready of /ready, on a port that the container has."""
    for _name, pod in pods(objects):
        container = collector_of(pod)
        assert container["ports"] == [{"name": "metrics", "containerPort": 9090}]
        asked = {
            name: container[name]["httpGet"]
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert asked == {
            "startupProbe": {"path": "/live", "port": "metrics"},
            "livenessProbe": {"path": "/live", "port": "metrics"},
            "readinessProbe": {"path": "/ready", "port": "metrics"},
        }


def sidecar_config(objects: list[Any]) -> Config:
    """Return the configuration in the example of a sidecar."""
    (found,) = (each for each in objects if each["kind"] == "ConfigMap")
    return parse_config(found["data"]["config.toml"])


def test_pods_have_time_to_stop(objects: list[Any], deploy: Path) -> None:
    """A pod is killed only some time after the collector's own grace period is over."""
    grace_s = {
        "trio-collector": load_config(
            deploy / "kubernetes" / "config.toml"
        ).collector.shutdown_grace_secs,
        "strategy": sidecar_config(objects).collector.shutdown_grace_secs,
    }
    for name, pod in pods(objects):
        assert pod["terminationGracePeriodSeconds"] >= grace_s[name] + MARGIN_S


def test_shards(objects: list[Any], deploy: Path) -> None:
    """Each pod takes the shard of its ordinal, of as many as there are, and none idles."""
    (each,) = (each for each in objects if each["kind"] == "StatefulSet")
    container = collector_of(each["spec"]["template"]["spec"])
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["REPLICAS"]["value"] == str(each["spec"]["replicas"])
    assert environment["ORDINAL"]["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.labels['apps.kubernetes.io/pod-index']"
    )
    config = load_config(deploy / "kubernetes" / "config.toml")
    for ordinal in range(each["spec"]["replicas"]):
        run, option, shard = container["args"]
        text = shard.replace("$(ORDINAL)", str(ordinal)).replace(
            "$(REPLICAS)", environment["REPLICAS"]["value"]
        )
        assert (run, option) == ("run", "--shard")
        assert parse_shard(text) == Shard(ordinal, each["spec"]["replicas"])
        assert select(config, parse_shard(text)).markets


def test_volumes_outlive_pods(objects: list[Any]) -> None:
    """What is not delivered yet is not thrown away with a pod or the whole set."""
    (each,) = (each for each in objects if each["kind"] == "StatefulSet")
    policy = each["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_kustomization(read_yaml: ReadYaml, deploy: Path) -> None:
    """It names files that exist, and makes the ConfigMap that the pods mount."""
    (document,) = read_yaml("kubernetes/kustomization.yaml")
    for name in document["resources"]:
        assert (deploy / "kubernetes" / name).exists()
    (made,) = document["configMapGenerator"]
    assert made == {"name": "trio-collector", "files": ["config.toml"]}


def test_kustomization_is_rendered(deploy: Path, program: Callable[[str], str]) -> None:
    """kubectl makes of it the objects of the namespace, and the pods mount the ConfigMap it makes."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    command = [program("kubectl"), "kustomize", str(deploy / "kubernetes")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    made = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    for kind, each in made.items():
        assert kind == "Namespace" or each["metadata"]["namespace"] == "market-data"
    config = made["ConfigMap"]
    assert parse_config(config["data"]["config.toml"]).markets
    volumes = made["StatefulSet"]["spec"]["template"]["spec"]["volumes"]
    mounted = [each["configMap"]["name"] for each in volumes if "configMap" in each]
    assert mounted == [config["metadata"]["name"]]
    assert re.fullmatch(r"trio-collector-\w{10}", mounted[0]), "a change would restart no pod"


def test_pod_monitor(objects: list[Any], read_yaml: ReadYaml) -> None:
    """It selects the pods, asks the port they have, and names the job as the alerts do."""
    (monitor,) = (each for each in objects if each["kind"] == "PodMonitor")
    (stateful,) = (each for each in objects if each["kind"] == "StatefulSet")
    assert monitor["spec"]["selector"] == stateful["spec"]["selector"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    assert {"targetLabel": "job", "replacement": "collector"} in endpoint["relabelings"]


# systemd.


@pytest.fixture
def unit(deploy: Path) -> configparser.RawConfigParser:
    # Not strict: SystemCallFilter stands there twice, as it may.
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    parser.read(deploy / "trio-collector.service")
    return parser


def test_unit(unit: configparser.RawConfigParser) -> None:
    """It stops by SIGTERM with time to spare, restarts but for a bad configuration, is not root."""
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) >= GRACE_S + MARGIN_S
    assert service["KillSignal"] == "SIGTERM"
    assert service["KillMode"] == "mixed"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["User"] not in ("", "root")
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectory"] in service["WorkingDirectory"]
    assert service["ExecStart"].startswith("/opt/trio_collector/bin/python -m trio_collector run ")
    assert "/bin/sh" not in service["ExecStart"]


def test_unit_as_systemd_sees_it(
    deploy: Path, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """systemd knows every line of the unit, and finds little that it could do to the machine."""
    analyze = program("systemd-analyze")
    unit = tmp_path / "trio-collector.service"
    shutil.copy(deploy / unit.name, unit)
    # It looks whether the program exists, which is not installed here.
    text = unit.read_text().replace("/opt/trio_collector/bin/python", "/bin/true")
    unit.write_text(text)
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = [analyze, "security", "--offline=true", "--json=short", "--threshold=20", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True)
    # 0 is closed, 10 is wide open; the threshold is 2.0 in tenths.
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)


def test_version_is_one(deploy: Path, compose: Any, objects: list[Any]) -> None:
    """The image is called by the version of the package everywhere."""
    image = f"trio_collector:{__version__}"
    assert compose["services"]["collector"]["image"] == image
    assert [collector_of(pod)["image"] for _name, pod in pods(objects)] == [image, image]
    assert f"--tag {image} " in (deploy / "Dockerfile").read_text()
