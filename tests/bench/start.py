"""Start, idle memory, stop.

How: processor time (user + system) of the process when the first /health answers 200, the median of nine starts from
source with compiled modules in place; wall time from SIGTERM to the exit; resident memory after a second of idling.
"""
import statistics
import sys
import time

from tests.bench._measure import Client, ananta, line, scratch


def main() -> int:
    cpu, wall, stops, memory = [], [], [], []
    with scratch() as folder:
        for number in range(10):
            begun = time.monotonic()
            server = ananta(folder)
            client = Client(server.address)
            status, _ = client.call("GET", "/health")
            cpu.append(server.cpu_s() * 1000)
            wall.append((time.monotonic() - begun) * 1000)
            client.close()
            if status != 200:
                raise SystemExit(f"status {status}")
            if number > 6:
                time.sleep(1)
                memory.append(server.facts.memory_info().rss / (1 << 20))
            else:
                time.sleep(0.2)
            stops.append(server.stop())
    cpu_ms, stop_s, idle = statistics.median(cpu[1:]), statistics.median(stops), max(memory)
    print(f"     wall time from the call to the first 200: {statistics.median(wall[1:]):.0f} ms in the median")
    return 0 if all([
        line("start to the first 200, processor time", f"{cpu_ms:.0f} ms", "<= 250 ms", cpu_ms <= 250),
        line("SIGTERM to the exit when idle", f"{stop_s:.2f} s", "< 0.5 s", stop_s < 0.5),
        line("idle memory (resident)", f"{idle:.1f} MiB", "< 40 MB (38.1 MiB)", idle < 38.1)]) else 1


if __name__ == "__main__":
    sys.exit(main())
