"""The metrics of the process: one registry, which every test finds as a new process has it."""

from prometheus_client import Counter, Gauge, Histogram

from trio_collector.telemetry import metrics


def reset() -> None:
    """Remove every series with labels, and set the others to 0; histograms without labels stay.

    Health, the status page and the minute line read the registry, so that what one test counted
    would decide how another's collector is.
    """
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            metric.clear()
            _set_to_zero(metric)


def _set_to_zero(metric: Counter | Gauge | Histogram) -> None:
    is_single = any(family.samples for family in metric.collect())
    if is_single and isinstance(metric, Counter):
        metric.reset()
    elif is_single and isinstance(metric, Gauge):
        metric.set(0)
