"""Cost of an answer, beside a bare Bottle route on Waitress in the same run; and quick answers beside slow work.

How: processor time (user + system, from the system's accounting) of the server process per request over one
keep-alive connection, the median of seven interleaved rounds of 2,000 requests (300 for lists).
"""
import json
import sys
import threading
import time

from tests.bench._measure import Client, ananta, bare, cpu_per_request_us, line, medians, scratch
from tests.fake_llm import FakeLLM

RECORDS = 1_000_000


def main() -> int:
    good = [costs(), starvation()]
    return 0 if all(good) else 1


def write_log(folder, count: int) -> None:
    folder.mkdir(parents=True)
    with (folder / "terminal_log.jsonl").open("w") as file:
        for number in range(count):
            file.write(json.dumps({
                "timestamp": 1_700_000_000.0 + number, "agent": "other", "step": number // 100 + 1, "direction": "exec",
                "command": f"echo {number}", "tool_calls": None, "reason": "manual", "output": f"{number}",
                "exit_code": 0, "returncode": 0, "task_id": f"T-{number % 100}", "duration": 0.01}) + "\n")


def costs() -> bool:
    with scratch() as folder:
        write_log(folder / "small" / "data", 1_000)
        write_log(folder / "large" / "data", RECORDS)
        plain, small = bare(folder), ananta(folder / "small")
        begun = time.monotonic()
        large = ananta(folder / "large")
        client = Client(large.address)
        client.call("GET", "/health")
        first = time.monotonic() - begun
        while json.loads(client.call("GET", "/logs?limit=1&task_id=T-99")[1])[0]["output"] != str(RECORDS - 1):
            raise SystemExit("a wrong answer while the records are read in")
        while _indexed(large.folder) < RECORDS:
            time.sleep(0.5)
        print(f"     {RECORDS:,} records of another program read in after {time.monotonic() - begun:.1f} s; the first "
              f"/health after {first * 1000:.0f} ms")
        client.close()

        def get(server, path, times):
            return lambda: cpu_per_request_us(server, lambda client: client.call("GET", path), times)

        found = medians(7, bare=get(plain, "/constant", 2000), health=get(small, "/health", 2000),
                        small=get(small, "/logs?limit=100", 300), large=get(large, "/logs?limit=100", 300),
                        small_task=get(small, "/logs?limit=10&task_id=T-7", 300),
                        large_task=get(large, "/logs?limit=10&task_id=T-7", 300))
        for each in (plain, small, large):
            each.stop()
    base = found["bare"]
    print(f"     bare Bottle route: {base:.0f} us of processor time per request")
    ratios = {name: found[name] / base for name in found}
    spread = found["large"] / found["small"]
    spread_task = found["large_task"] / found["small_task"]
    return all([
        line("GET /health", f"{found['health']:.0f} us = {ratios['health']:.2f} x", "<= 1.4 x", ratios["health"] <= 1.4),
        line("GET /logs?limit=100, 1,000 records", f"{found['small']:.0f} us = {ratios['small']:.1f} x", "<= 10 x",
             ratios["small"] <= 10),
        line("GET /logs?limit=100, 1,000,000 records", f"{found['large']:.0f} us = {ratios['large']:.1f} x", "<= 10 x",
             ratios["large"] <= 10),
        line("  the second to the first", f"{spread:.2f}", "0.8 to 1.2", 0.8 <= spread <= 1.2),
        line("GET /logs?limit=10&task_id=…, 1,000,000 records to 1,000", f"{spread_task:.2f}", "0.8 to 1.2",
             0.8 <= spread_task <= 1.2)])


def _indexed(folder) -> int:
    import sqlite3

    connection = sqlite3.connect(f"file:{folder / 'data' / 'ananta.db'}?mode=ro", uri=True)
    try:
        return connection.execute("select count(*) from journal").fetchone()[0]
    finally:
        connection.close()


def starvation(clients: int = 64) -> bool:
    with scratch() as folder, FakeLLM() as model:
        model.slow(10)
        for name in ("idle", "busy"):
            (folder / name).mkdir()
        server = ananta(folder / "busy", LMSTUDIO_URL=model.url)
        outcomes: list[tuple[int, float]] = []

        def propose() -> None:
            client = Client(server.address)
            start = time.monotonic()
            status, _ = client.call("POST", "/step/propose", b'{"prompt": "x"}')
            outcomes.append((status, time.monotonic() - start))
            client.close()

        threads = [threading.Thread(target=propose) for _ in range(clients)]
        for each in threads:
            each.start()
        time.sleep(1)
        client, waits = Client(server.address), []
        until = time.monotonic() + 6
        while time.monotonic() < until:
            start = time.monotonic()
            client.call("GET", "/health")
            waits.append(time.monotonic() - start)
            time.sleep(0.005)
        for each in threads:
            each.join()
        client.close()
        server.stop()
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)] * 1000
    refused = [seconds for status, seconds in outcomes if status == 503]
    served = sum(status == 200 for status, _ in outcomes)
    return all([
        line(f"GET /health p99 beside {clients} proposals that take 10 s", f"{p99:.1f} ms", "< 50 ms", p99 < 50),
        line("surplus proposals refused with 503", f"{len(refused)} of {clients}, {served} served", "all but the places",
             len(refused) + served == clients and served == 16),
        line("  slowest refusal", f"{max(refused, default=0) * 1000:.0f} ms", "at once (< 1 s)", max(refused, default=0) < 1)])


if __name__ == "__main__":
    sys.exit(main())
