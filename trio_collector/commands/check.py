"""The command `check`: what was found in a configuration, for people and as JSON."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from trio_collector.config.settings import Config
from trio_collector.errors import Problem
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.planning.start_up_time import in_words, plan_startup, startup_hints
from trio_collector.uploader.probe import ProbeFinding


class Check(NamedTuple):
    """The results of checking the configuration at `path`."""

    path: str
    config: Config
    connections: list[ConnectionPlan]
    warnings: list[Problem]
    findings: list[ProbeFinding]  # about the bucket, if that was tried

    @property
    def is_good(self) -> bool:
        return all(finding.is_ok for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return everything in plain values."""
        return {
            "connections": [_connection_as_json(*each) for each in self._feed_lines()],
            "startup": [each._asdict() for each in plan_startup(self.connections)],
            "hints": startup_hints(self.connections),
            "warnings": [warning._asdict() for warning in self.warnings],
            "bucket": [finding._asdict() for finding in self.findings],
        }

    def show(self, console: Console) -> None:
        """Print everything for people."""
        console.print(self._connection_table())
        console.print(self._startup_table())
        for line in self._lines():
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _feed_lines(self) -> Iterator[tuple[ConnectionPlan, str, str]]:
        for each in self.connections:
            for line, name in enumerate(each.names):
                yield each, name, each.adapter.websocket_url(line)

    def _connection_table(self) -> Table:
        table = Table("connection", "streams", "url")
        for each, name, url in self._feed_lines():
            table.add_row(name, str(len(each.subscriptions)), url)
        return table

    def _startup_table(self) -> Table:
        table = Table("exchange", "connections", "subscriptions", "all subscribed after")
        for each in plan_startup(self.connections):
            subscribed = in_words(each.subscribed_after_s)
            table.add_row(each.exchange, str(each.connections), str(each.subscriptions), subscribed)
        return table

    def _lines(self) -> Iterator[str]:
        for hint in startup_hints(self.connections):
            yield f"hint: {hint}"
        for warning in self.warnings:
            yield f"warning: {warning}"
        connections = sum(1 for _line in self._feed_lines())
        streams = sum(len(each.subscriptions) for each in self.connections)
        counts = f"{connections} connections, {streams} streams"
        yield f"{self.path} is valid: {counts}, storage mode {self.config.storage.mode!r}"
        for finding in self.findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            bucket = self.config.aws.bucket
            yield f"bucket {bucket}: {finding.step}: {finding.text}{remedy}"


def _connection_as_json(connection: ConnectionPlan, name: str, url: str) -> dict[str, Any]:
    return {
        "name": name,
        "exchange": connection.adapter.name,
        "url": url,
        "data_timeout_s": connection.data_timeout_s,
        "streams": ["/".join(stream) for stream in connection.streams],
    }
