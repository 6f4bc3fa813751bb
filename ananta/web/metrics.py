"""The text of /metrics, in the exposition format of Prometheus."""
from collections.abc import Callable, Iterator

from ananta.agent.lanes import Lane
from ananta.agent.meter import BUCKETS_S, Histogram, Meter

COUNTERS = {"task_received": "tasks made and executions accepted", "task_completed": "executions that ended with exit code 0",
            "task_failed": "executions that ended otherwise", "retries": "repeated commands"}


class MetricsText:
    """Makes the text when asked; nothing is computed before."""

    def __init__(self, meter: Meter, commands: Lane, usage: Callable[[], tuple[float, int]]):
        self.meter, self.commands, self.usage = meter, commands, usage

    def text(self) -> bytes:
        from prometheus_client import CollectorRegistry, generate_latest  # most starts are never asked for metrics

        registry = CollectorRegistry()
        registry.register(self)  # type: ignore[arg-type]
        return generate_latest(registry)

    def collect(self) -> Iterator:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, meaning in COUNTERS.items():
            yield CounterMetricFamily(name, meaning, value=self.meter.counters[name])
        yield _histogram("llm_call_duration_seconds", "model calls", [], self.meter.llm_calls)
        yield _histogram("http_request_duration_seconds", "requests to other servers", ["method", "target"],
                         self.meter.http_requests)
        cpu_percent, memory_bytes = self.usage()
        gauges = {"shell_pool_size": (self.commands.places, "commands that may run at once"),
                  "shell_pool_busy": (self.commands.busy, "commands running"),
                  "shell_pool_free": (self.commands.places - self.commands.busy, "commands that could start now"),
                  "process_cpu_usage_percent": (cpu_percent, "processor time used since the last look"),
                  "process_ram_usage_bytes": (memory_bytes, "resident memory")}
        for name, (amount, meaning) in gauges.items():
            yield GaugeMetricFamily(name, meaning, value=amount)


def _histogram(name: str, meaning: str, labels: list[str], histogram: Histogram):
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, meaning, labels=labels)
    empty: list = [] if labels else [((), ([0] * (len(BUCKETS_S) + 1), 0.0))]
    for values, (counts, total) in list(histogram.series.items()) or empty:
        running, buckets = 0, []
        for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], counts, strict=True):
            running += count
            buckets.append((bound, running))
        family.add_metric(list(values), buckets=buckets, sum_value=total)
    return family
