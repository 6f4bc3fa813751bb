"""What handing on costs a hub, and 64 clients that write at once.

How: processor time of the hub's process for a forwarded `echo hi`, over one keep-alive connection; the wall time of the
same beside that of asking the worker itself, interleaved, each after a pause in which the worker has
started its next shell; then 64 threads write tasks for 10 s (POST, and two PATCHes of
different fields of one task of their own), each answer is checked, and afterwards every value. `postgres` as argument:
with Postgres.
"""
import json
import statistics
import sys
import threading
import time
from contextlib import ExitStack

from tests import postgres
from tests.bench._measure import Client, ananta, line, scratch

ROUNDS, CLIENTS, SECONDS, PAUSE_S = 200, 64, 10.0, 0.02


def call(client: Client, method: str, path: str, body: dict, good: tuple[int, ...] = (200, 201)) -> dict:
    status, answer = client.call(method, path, json.dumps(body).encode())
    if status not in good:
        raise SystemExit(f"{method} {path}: {status} {answer[:200]!r}")
    return json.loads(answer)


def forwarded(hub, worker) -> None:
    ours, theirs = Client(hub.address), Client(worker.address)
    task_id = call(ours, "POST", "/tasks", {"title": "x"})["id"]
    address = f"http://{worker.address[0]}:{worker.address[1]}"
    call(ours, "POST", f"/tasks/{task_id}/assign", {"agent_url": address})
    order = {"command": "echo hi"}
    walls: dict[str, list[float]] = {"hub": [], "worker": []}
    for _ in range(20):
        call(ours, "POST", f"/tasks/{task_id}/step/execute", order)
    before = hub.cpu_s()
    for _ in range(ROUNDS):
        call(ours, "POST", f"/tasks/{task_id}/step/execute", order)
    spent = hub.cpu_s() - before
    for _ in range(ROUNDS):
        time.sleep(PAUSE_S)
        begun = time.perf_counter()
        call(ours, "POST", f"/tasks/{task_id}/step/execute", order)
        walls["hub"].append(time.perf_counter() - begun)
        time.sleep(PAUSE_S)
        begun = time.perf_counter()
        call(theirs, "POST", "/step/execute", order | {"task_id": "direct"})
        walls["worker"].append(time.perf_counter() - begun)
    own, through = (statistics.median(walls[name]) * 1000 for name in ("worker", "hub"))
    cpu_ms = spent / ROUNDS * 1000
    line("a forwarded `echo hi`, processor time of the hub", f"{cpu_ms:.2f} ms", "<= 2 ms", cpu_ms <= 2)
    line(f"the same by the clock, beside {own:.1f} ms at the worker itself", f"{through / own:.2f} x", "<= 2", through <= 2 * own)


def written(hub) -> None:
    walls, wrong, until = [], [], time.monotonic() + SECONDS

    def write(number: int) -> None:
        client = Client(hub.address)
        mine, turn, times = None, 0, []
        while time.monotonic() < until:
            begun = time.perf_counter()
            if turn % 3 == 0 or mine is None:
                mine = call(client, "POST", "/tasks", {"title": f"{number}-{turn}"})["id"]
            else:
                name = "priority" if turn % 3 == 1 else "description"
                call(client, "PATCH", f"/tasks/{mine}", {name: str(turn)})
            times.append(time.perf_counter() - begun)
            if turn % 3 == 2:
                shown = call(client, "GET", f"/tasks/{mine}", {})
                if (shown["priority"], shown["description"]) != (str(turn - 1), str(turn)):
                    wrong.append(mine)
            turn += 1
        walls.extend(times)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(CLIENTS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    walls.sort()
    p99 = walls[int(len(walls) * 0.99)] * 1000
    line(f"{CLIENTS} clients write for {SECONDS:g} s: {len(walls) / SECONDS:.0f} writes/s, p99", f"{p99:.0f} ms", "< 250 ms", p99 < 250)
    line("of these, lost or wrong", str(len(wrong)), "0", not wrong)


def main() -> None:
    with ExitStack() as stack:
        url = stack.enter_context(postgres.server()).database() if "postgres" in sys.argv[1:] else None
        extra = {"DATABASE_URL": url} if url else {}
        hub = ananta(stack.enter_context(scratch()), "--role", "hub", DISABLE_INITIAL_ADMIN="1", DEFAULT_PROVIDER="mock", **extra)
        stack.callback(hub.stop)
        worker = ananta(stack.enter_context(scratch()), DEFAULT_PROVIDER="mock")
        stack.callback(worker.stop)
        forwarded(hub, worker)
        written(hub)


if __name__ == "__main__":
    main()
