"""The command `simulate`: the five simulated exchanges, for another process to connect to."""

import orjson
import trio
import typer

from trio_collector.simulator.server import serve_simulator
from trio_collector.simulator.settings import Simulation


async def run_simulator(settings: Simulation, stop: trio.Event) -> None:
    """Serve until `stop` is set; first print where, as one line of JSON for the parent process."""
    async with trio.open_nursery() as nursery:
        simulator = await nursery.start(serve_simulator, settings)
        typer.echo(orjson.dumps(simulator.describe()).decode())
        await stop.wait()
        nursery.cancel_scope.cancel()
