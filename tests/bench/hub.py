"""What tasks cost on a hub with 10,000 of them, beside a bare Bottle route on Waitress in the same run.

How: processor time of the server process per request over one keep-alive connection, in 21 interleaved rounds; the median
of what each round says of a request beside the bare route in the same round. The memory beyond what it had before, for the whole list, from its resident size read while the list is sent.
`python -m tests.bench.hub` measures with SQLite, `python -m tests.bench.hub postgres` with Postgres, whose own process is
not counted.
"""
import contextlib
import http.client
import json
import statistics
import sys
import threading
import time

from ananta.domain.tasks import Step, Task
from ananta.store import database, tasks
from tests import postgres
from tests.bench._measure import ananta, bare, cpu_per_request_us, line, medians, scratch

TASKS, STEPS, ROUNDS = 10_000, 2_000, 21


def whole(address: tuple[str, int]) -> list:
    """Returns the whole list, which comes in chunks and ends the connection."""
    connection = http.client.HTTPConnection(*address, timeout=120)
    connection.request("GET", "/tasks")
    with contextlib.closing(connection), connection.getresponse() as answer:
        if not answer.chunked:
            raise SystemExit("the whole list did not come in chunks")
        found = json.loads(answer.read())
    if len(found) < TASKS:
        raise SystemExit("tasks are missing")
    return found


def fill(folder, url: str | None) -> None:
    database.open(url or folder / "data" / "ananta.db", local_path=folder / "data" / "journal.db")
    step = Step("What next?", "to see what is there", "ls -l", None, "total 0\n" * 20, 0, 1.0)
    for start in range(0, TASKS, 500):
        with database.writing():
            for number in range(start, start + 500):
                task = tasks.create(Task("", f"Task {number} of many", "what is to be done, in a sentence or two " * 3,
                                         tags=("one", "two"), created_at=float(number), updated_at=float(number)))
                if number % 3 == 0:
                    tasks.set_proposal(task.id, {"reason": "to see", "command": "ls -l"}, number + 1.0)
                    tasks.record(task.id, f"run-{number}", step, number + 2.0)
    with database.writing():
        for number in range(STEPS):
            tasks.record("T-123457", f"long-{number}", step, 1e6 + number)
    database.close()


def cost_of_a_step(folder, url: str | None) -> tuple[float, float]:
    """Returns the processor time of recording a step, in microseconds, for an empty task and for one with many."""
    database.open(url or folder / "data" / "ananta.db", local_path=folder / "data" / "journal.db")
    step = Step("What next?", "to see what is there", "ls -l", None, "total 0\n" * 20, 0, 1.0)
    counter = iter(range(10**9))

    def of(task_id):
        def measure():
            start = time.process_time()
            for _ in range(100):
                tasks.begin(task_id(), 2e6)
                tasks.record(task_id(), f"measured-{next(counter)}", step, 2e6)
            return (time.process_time() - start) / 100 * 1e6
        return measure

    empty = iter(f"T-{number}" for number in range(124_000, 130_000) for _ in range(2) if (number - 123_456) % 3)
    found = medians(7, empty=of(lambda: next(empty)), long=of(lambda: "T-123457"))
    database.close()
    return found["empty"], found["long"]


def main() -> int:
    on_postgres = sys.argv[1:] == ["postgres"]
    with scratch() as folder, contextlib.ExitStack() as stack:
        url = stack.enter_context(postgres.server()).database() if on_postgres else None
        fill(folder, url)
        empty, long = cost_of_a_step(folder, url)
        plain = bare(folder)
        stack.callback(plain.stop)
        hub = ananta(folder, "--role", "hub", **({"DATABASE_URL": url} if url else {}))
        stack.callback(hub.stop)
        found, more_mb = measured(plain, hub)
    base = found["bare"]
    print(f"     {'Postgres' if on_postgres else 'SQLite'}, {TASKS:,} tasks; bare Bottle route: {base:.0f} us")

    def times(what: str, name: str, most: float) -> bool:
        most *= 2 if on_postgres else 1
        ratio = found[f"{name} x"]
        return line(what, f"{found[name]:.0f} us = {ratio:.2f} x", f"<= {most} x", ratio <= most)

    return 0 if all([
        times("GET /health, to compare", "health", 2), times("GET /tasks/{id}", "find", 2), times("POST /tasks", "create", 3.5), times("PATCH /tasks/{id}", "change", 3.5),
        times("GET /tasks?limit=100", "page", 8), times("GET /tasks?status=todo&limit=100", "filtered", 8),
        times("GET /stats", "stats", 10),
        line("GET /tasks, all of them", f"{found['all'] / 1000:.0f} ms", "<= 100 ms", found["all"] <= 100_000),
        line("  memory beyond before", f"{more_mb:.1f} MB", "<= 25 MB", more_mb <= 25),
        line(f"a step of a task with {STEPS:,}, beside an empty one", f"{long:.0f} us, {empty:.0f} us", "<= 1.25 x",
             long / empty <= 1.25)]) else 1


def measured(plain, hub) -> tuple[dict[str, float], float]:
    numbers = iter(range(10**9))

    def call(method: str, path: str, body=None, times: int = 1000, server=hub):
        def one(client):
            status, answer = client.call(method, path, json.dumps(body()).encode() if body else b"")
            if status >= 300:
                raise SystemExit(f"{method} {path}: {status} {answer[:200]!r}")
        return lambda: cpu_per_request_us(server, one, times)

    def everything():
        before = hub.cpu_s()
        for _ in range(5):
            whole(hub.address)
        return (hub.cpu_s() - before) / 5 * 1e6

    def listing(path):
        return call("GET", path, times=100)

    listing("/tasks?limit=100")()
    more_mb = _memory(hub)
    costs = {
        "bare": call("GET", "/constant", times=500, server=plain), "health": call("GET", "/health", times=500),
        "find": call("GET", "/tasks/T-123460", times=500),
        "create": call("POST", "/tasks", lambda: {"title": f"Task {next(numbers)}", "description": "what is to be done"}, 200),
        "change": call("PATCH", "/tasks/T-123461", lambda: {"status": f"s-{next(numbers)}"}, 200),
        "stats": call("GET", "/stats", times=200),
        "page": listing("/tasks?limit=100"), "filtered": listing("/tasks?status=todo&limit=100")}
    rounds = [{name: measure() for name, measure in costs.items()} for _ in range(ROUNDS)]
    found = {name: statistics.median(each[name] for each in rounds) for name in costs}
    found |= {f"{name} x": statistics.median(each[name] / each["bare"] for each in rounds) for name in costs}
    return found | {"all": statistics.median(everything() for _ in range(3))}, more_mb


def _memory(hub) -> float:
    """Returns how many MB more the hub takes, at most, while it sends the whole list."""
    before = hub.facts.memory_info().rss
    most, done = before, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, hub.facts.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(3):
            whole(hub.address)
    finally:
        done.set()
        watcher.join()
    return (most - before) / 1e6


if __name__ == "__main__":
    sys.exit(main())
