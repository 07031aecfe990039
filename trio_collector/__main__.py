"""`python -m trio_collector`."""

from trio_collector.cli import main

main()
