"""What is counted while running; /metrics prints it."""
import threading
from bisect import bisect_left

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SERIES_LIMIT = 200


class Histogram:
    """Counts of durations per label values; further label values than SERIES_LIMIT are counted as "other"."""

    def __init__(self):
        self.series: dict[tuple[str, ...], list] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        if labels not in self.series and len(self.series) >= SERIES_LIMIT:
            labels = ("other",) * len(labels)
        series = self.series.setdefault(labels, [[0] * (len(BUCKETS_S) + 1), 0.0])
        series[0][bisect_left(BUCKETS_S, seconds)] += 1
        series[1] += seconds


class Meter:
    """Counters and histograms of one process."""

    def __init__(self):
        self._lock = threading.Lock()
        self.counters = dict.fromkeys(("task_received", "task_completed", "task_failed", "retries"), 0)
        self.llm_calls, self.http_requests = Histogram(), Histogram()

    def count(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self.counters[name] += amount

    def llm_call(self, seconds: float, host: str) -> None:
        """One call of a model server; it is also an outbound HTTP request to that host."""
        with self._lock:
            self.llm_calls.observe(seconds)
            self.http_requests.observe(seconds, "POST", host)
