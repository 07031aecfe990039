"""Alerts and dashboard: known to Prometheus, made of metrics that exist, and told in the documents."""

import itertools
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry, make_wsgi_app

from trio_collector import metrics
from trio_collector.events import DataType, Stream
from trio_collector.feed.ending import Ending

ROOT = Path(__file__).resolve().parents[2]
# What a name of ours looks like in PromQL.
NAME = re.compile(r"\bcollector_[a-z0-9_]+")
# Labels that Prometheus itself, or the alerts, add.
FOREIGN_LABELS = {"job", "instance", "le", "alertname", "alertstate", "severity"}

ReadYaml = Callable[[str], list[Any]]
Program = Callable[[str], str]


def preset() -> None:
    """Create every series, as the collector does when it starts."""
    streams = [
        Stream(exchange, "btcusdt", data_type)
        for exchange in ("binance", "okx")
        for data_type in (DataType.ORDERBOOK, DataType.TRADE)
    ]
    metrics.preset(streams, Ending)
    metrics.log_lines_dropped.labels("queue")


def known() -> dict[str, set[str]]:
    """Return the label names of every sample that the collector can expose, by the sample's name."""
    preset()
    found: dict[str, set[str]] = {}
    for family in metrics.REGISTRY.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def dashboard() -> Any:
    return json.loads((ROOT / "deploy" / "grafana" / "collector.json").read_text())


def queries() -> list[tuple[str, str]]:
    """Return title and expression of every query of the dashboard."""
    board = dashboard()
    panels = [
        (panel["title"], target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
    annotations = [(each["name"], each["expr"]) for each in board["annotations"]["list"]]
    variables = [
        (each["name"], each["query"]["query"])
        for each in board["templating"]["list"]
        if each["type"] == "query"
    ]
    return [*panels, *annotations, *variables]


def in_promql(expression: str) -> str:
    """Return `expression` with Grafana's variables filled in, as for all of everything."""
    for variable, value in (
        ("$__rate_interval", "1m"),
        ("$instance", ".*"),
        ("$exchange", ".*"),
        ("$symbol", ".*"),
    ):
        expression = expression.replace(variable, value)
    return re.sub(r"^label_values\((.*), \w+\)$", r"\1", expression)


def check_names(where: str, expression: str) -> None:
    """Fail unless every metric of `expression` exists, with the labels that it is asked by."""
    exposed = known()
    names = NAME.findall(expression)
    assert names, f"{where}: asks for none of our metrics"
    labels: set[str] = set()
    for name in names:
        assert name in exposed, f"{where}: there is no {name}"
        labels |= exposed[name]
    grouped = re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression)
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    asked = {label.strip() for each in grouped for label in each.split(",")} | set(matched)
    assert asked <= labels | FOREIGN_LABELS, f"{where}: no such label in {expression}"


@pytest.mark.parametrize(("title", "expression"), queries())
def test_dashboard_asks_for_what_exists(title: str, expression: str) -> None:
    """Every query of the dashboard names metrics that the collector exposes, and their labels."""
    check_names(title, expression)


def test_dashboard_shows_everything() -> None:
    """Each metric of the collector is on the dashboard."""
    asked = set(NAME.findall(" ".join(expression for _title, expression in queries())))
    for family in metrics.REGISTRY.collect():
        names = {sample.name for sample in family.samples} | {family.name, f"{family.name}_total"}
        names |= {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
        assert asked & names, f"{family.name} is on no panel"


def test_dashboard_is_whole() -> None:
    """Panels have a number and a title of their own, use the chosen source, and do not overlap."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert target["legendFormat"]
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _y in cells)


# Alerts.


@pytest.fixture
def rules(read_yaml: ReadYaml) -> list[Any]:
    (document,) = read_yaml("prometheus/alerts.yml")
    return [rule for group in document["groups"] for rule in group["rules"]]


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a Markdown file, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_alerts_ask_for_what_exists(rules: list[Any]) -> None:
    """Every alert names metrics that the collector exposes, or Prometheus' own `up`."""
    for rule in rules:
        if "up{" not in rule["expr"]:
            check_names(rule["alert"], rule["expr"])


def test_alerts_tell_what_to_do(rules: list[Any]) -> None:
    """Each says what it is, how bad, what to do, and where to read on, which exists."""
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in anchors(ROOT / path), f"{rule['alert']}: {path} has no #{anchor}"


def test_alerts_are_documented(rules: list[Any]) -> None:
    """docs/deploying.md lists every alert, and none that does not exist."""
    told = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    listed = re.findall(r"(?m)^\| `(Collector\w+)` \|", told)
    assert listed == [rule["alert"] for rule in rules]


def test_every_alert_has_a_test(rules: list[Any], deploy: Path) -> None:
    """promtool's tests expect each alert to fire at least once."""
    tested = (deploy / "prometheus" / "alerts_test.yml").read_text()
    for rule in rules:
        assert f'ALERTS{{alertname="{rule["alert"]}", alertstate="firing"' in tested


@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool(command: tuple[str, ...], deploy: Path, program: Program) -> None:
    """promtool accepts the configuration and the rules, and its tests of the rules pass."""
    done = subprocess.run(
        [program("promtool"), *command],
        cwd=deploy / "prometheus",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# A real Prometheus.


class Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def exporter() -> Iterator[int]:
    """Serve the collector's metrics on a port."""
    preset()
    # The text format alone: what Debian's Prometheus asks for is not ours to test.
    app = make_wsgi_app(metrics.REGISTRY)
    assert isinstance(metrics.REGISTRY, CollectorRegistry)
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def prometheus_config(tmp_path: Path, deploy: Path, exporter: int) -> Path:
    """Make deploy/'s configuration, but with the exporter for a target, asked each second."""
    text = (deploy / "prometheus" / "prometheus.yml").read_text()
    for ours, here in (
        ("collector:9090", f"127.0.0.1:{exporter}"),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("scrape_timeout: 10s", "scrape_timeout: 1s"),
        ("evaluation_interval: 30s", "evaluation_interval: 1s"),
        ("- alerts.yml", f"- {deploy}/prometheus/alerts.yml"),
    ):
        assert ours in text
        text = text.replace(ours, here)
    path = tmp_path / "prometheus.yml"
    path.write_text(text)
    return path


def free_port() -> int:
    """Return a port that was free a moment ago; Prometheus does not tell which one it took."""
    with make_server("127.0.0.1", 0, lambda *_: []) as server:
        return server.server_port


@pytest.mark.slow
async def test_a_real_prometheus(
    prometheus_config: Path,
    tmp_path: Path,
    program: Program,
) -> None:
    """It scrapes the metrics, loads the alerts, and has an answer to every query of the dashboard."""
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={prometheus_config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(trio.run_process, command)
        # Trusts no proxy of the environment.
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False
        ) as client:

            async def ask(path: str, **parameters: str) -> Any:
                try:
                    answer = (await client.get(path, params=parameters)).json()
                except (httpx.TransportError, json.JSONDecodeError):
                    return None  # it is starting
                assert answer["status"] == "success", answer
                return answer["data"]

            with trio.fail_after(30):
                for _try in itertools.count():
                    scraped = await ask("query", query="min(count_over_time(up[1m])) >= 4")
                    if scraped and scraped["result"]:
                        break
                    await trio.sleep(0.1)
            up = await ask("query", query='up{job="collector"}')
            assert [each["value"][1] for each in up["result"]] == ["1"]
            (group,) = (await ask("rules"))["groups"]
            assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
            for title, expression in queries():
                answer = await ask("query", query=in_promql(expression))
                # What is asked with a condition may have nothing to show.
                assert answer["result"] or " > 0" in expression, f"{title}: {expression}"
        process.terminate()
