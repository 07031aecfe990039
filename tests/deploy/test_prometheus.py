"""Alerts and dashboard: known to Prometheus, made of metrics that exist, and told in the documents."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trio

from trio_collector.events import DataType, Stream
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.simulator import DEFAULT_EXCHANGES, Simulation, Simulator
from trio_collector.telemetry import metrics

ROOT = Path(__file__).resolve().parents[2]
# What a name of ours looks like in PromQL.
NAME = re.compile(r"\b(?:collector|process)_[a-z0-9_]+")
# Labels that Prometheus itself, or the alerts, add.
FOREIGN_LABELS = {"job", "instance", "le", "alertname", "alertstate", "severity"}

PATIENCE_S = 30.0

ReadYaml = Callable[[str], list[Any]]
Program = Callable[[str], str]
WaitUntil = Callable[[Callable[[], bool]], Awaitable[None]]


class Collector(NamedTuple):
    """A collector in another process, and where its endpoint is."""

    process: trio.Process
    url: str


def preset() -> None:
    """Create every series, as the collector does when it starts."""
    streams = [
        Stream(exchange, "btcusdt", data_type)
        for exchange in ("binance", "okx")
        for data_type in (DataType.ORDERBOOK, DataType.TRADE)
    ]
    metrics.preset(streams, EndReason)
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
    """Each metric that is the collector's own is on the dashboard."""
    asked = set(NAME.findall(" ".join(expression for _title, expression in queries())))
    own = [each for each in metrics.REGISTRY.collect() if each.name.startswith("collector_")]
    for family in own:
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
    """Each says what it is, how bad, what to do, and has a heading of its own in operations.md."""
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        anchor = rule["alert"].lower()
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{anchor}"
        assert anchor in anchors(ROOT / "docs" / "operations.md"), f"no heading {rule['alert']}"


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


# A real Prometheus, which asks a real collector.


@pytest.fixture
async def collector(
    tmp_path: Path,
    nursery: trio.Nursery,
    start_simulator: Callable[[Simulation], Awaitable[Simulator]],
    write_config: Callable[[Simulator], Path],
    cli_environment: Callable[..., dict[str, str]],
    wait_until: WaitUntil,
) -> Collector:
    """A collector in a process of its own that collects from five simulated exchanges."""
    config = write_config(await start_simulator(Simulation()))
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "trio_collector", "run", "--config", str(config)]
        run = partial(trio.run_process, command, env=cli_environment(), stderr=stderr)
        process: trio.Process = await nursery.start(run)
    told = re.compile(rb'"event": "endpoint listens".*"url": "([^"]+)"')
    await wait_until(lambda: bool(told.search(log.read_bytes())))
    match = told.search(log.read_bytes())
    assert match
    return Collector(process, match[1].decode())


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[[Simulator], Path]:
    """Write the configuration that collects all that a simulator has."""

    def write(simulator: Simulator) -> Path:
        markets = "".join(
            f'[[markets]]\nexchange = "{name}"\nsymbols = {json.dumps(symbols)}\n'
            f'base_url = "{simulator.base_url(name)}"\n'
            for name, symbols in DEFAULT_EXCHANGES.items()
        )
        path = tmp_path / "config.toml"
        path.write_text(
            "[collector]\nmetrics_port = 0\n"
            f'[storage]\nmode = "local"\ndata_dir = "{tmp_path}/spool"\n'
            f'local_path = "{tmp_path}/archive"\nmin_free_bytes = 0\n{markets}'
        )
        return path

    return write


class Answers:
    """What a Prometheus says; None as long as it does not answer."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, path: str, **parameters: str) -> Any:
        try:
            answer = (await self._client.get(path, params=parameters)).json()
        except (httpx.TransportError, json.JSONDecodeError):
            return None  # it is starting
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> list[Any]:
        answer = await self.ask("query", query=expression)
        return list(answer["result"]) if answer else []

    async def wait_for(self, expression: str) -> list[Any]:
        """Wait until `expression` has an answer; return it."""
        with trio.fail_after(PATIENCE_S):
            while not (result := await self.query(expression)):  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.1)
        return result


@pytest.fixture
async def prometheus(
    tmp_path: Path, deploy: Path, nursery: trio.Nursery, program: Program, collector: Collector
) -> AsyncIterator[Answers]:
    """Run deploy/'s Prometheus, but with the collector of the test for a target, each second."""
    config = tmp_path / "prometheus.yml"
    config.write_text(prometheus_config(deploy, collector.url))
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    await nursery.start(trio.run_process, command)
    # Trusts no proxy of the environment.
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False
    ) as client:
        yield Answers(client)


def prometheus_config(deploy: Path, url: str) -> str:
    """Return deploy/'s configuration, with `url` for a target, and in a hurry."""
    text = (deploy / "prometheus" / "prometheus.yml").read_text()
    for ours, here in (
        ("collector:9090", url.removeprefix("http://").rstrip("/")),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("scrape_timeout: 10s", "scrape_timeout: 1s"),
        ("evaluation_interval: 30s", "evaluation_interval: 1s"),
        ("- alerts.yml", f"- {deploy}/prometheus/alerts.yml"),
    ):
        assert ours in text
        text = text.replace(ours, here)
    return text


def free_port() -> int:
    """Return a port that was free a moment ago; Prometheus does not tell which one it took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.slow
async def test_a_real_prometheus(collector: Collector, prometheus: Answers) -> None:
    """It scrapes a running collector, answers the whole dashboard, and judges every alert.

    While all is well none fires; when the collector has gone, CollectorDown is the one that is due.
    """
    rows = (
        "sum(rate(collector_messages_received_total[1m])) > 0 and min(count_over_time(up[1m])) >= 4"
    )
    await prometheus.wait_for(rows)
    up = await prometheus.query('up{job="collector"}')
    assert [each["value"][1] for each in up] == ["1"]
    for title, expression in queries():
        answer = await prometheus.query(in_promql(expression))
        # What asks only for what is more than 0 may have nothing to show.
        assert answer or expression.endswith("> 0"), f"{title}: {expression}"
    await check_rules(prometheus)
    collector.process.terminate()
    assert await collector.process.wait() == 0
    due = 'ALERTS{alertname="CollectorDown", alertstate="pending"}'
    await prometheus.wait_for(due)


async def check_rules(prometheus: Answers) -> None:
    """Fail unless all rules were evaluated without an error, on data, and are content."""
    (group,) = (await prometheus.ask("rules"))["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    for rule in group["rules"]:
        for selector in re.findall(rf"{NAME.pattern}(?:\{{[^}}]*\}})?", rule["query"]):
            assert await prometheus.query(selector), f"{rule['name']}: {selector} has no data"
    assert await prometheus.query('ALERTS{alertstate="firing"}') == []
