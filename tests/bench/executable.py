"""The one-file executable beside the source: start, size, idle memory.

How: processor time (user + system) of all its processes when the first /health answers 200, the median of nine starts of
each, executable and source in turn, with compiled modules in place; resident memory of both processes together after a
second of idling; the size of the file, and of it packed as the download is. The executable is built first when these
sources have none.
"""
import lzma
import statistics
import sys
import time

from tests.bench._measure import Client, Process, ananta, line, scratch
from tests.executable import built

ROUNDS = 10


def main() -> int:
    executable = built.path()
    cpu: dict[str, list[float]] = {"source": [], "executable": []}
    wall: dict[str, list[float]] = {"source": [], "executable": []}
    memory = []
    with scratch() as folder:
        begin = {"source": lambda: ananta(folder), "executable": lambda: Process([str(executable), "--port", "0"], folder)}
        for number in range(ROUNDS):
            for name, call in begin.items():
                begun = time.monotonic()
                server = call()
                client = Client(server.address)
                status, _ = client.call("GET", "/health")
                wall[name].append((time.monotonic() - begun) * 1000)
                cpu[name].append(_cpu_s(server) * 1000)
                client.close()
                if status != 200:
                    raise SystemExit(f"status {status}")
                if name == "executable" and number >= ROUNDS - 3:
                    time.sleep(1)
                    memory.append(sum(each.memory_info().rss for each in _processes(server)) / 1e6)
                server.stop()
    packed_mb = len(lzma.compress(executable.read_bytes(), preset=6)) / 1e6
    source, frozen = (statistics.median(cpu[name][1:]) for name in ("source", "executable"))
    for name, values in wall.items():
        print(f"     wall time of the {name} from the call to the first 200: {statistics.median(values[1:]):.0f} ms in the median")
    size_mb, idle_mb = executable.stat().st_size / 1e6, max(memory)
    return 0 if all([
        line("start to the first 200, processor time", f"{frozen:.0f} ms", "< 300 ms", frozen < 300),
        line("the same, to that of the source", f"{frozen / source:.2f} times {source:.0f} ms", "<= 1.6 times", frozen <= 1.6 * source),
        line("size of the file", f"{size_mb:.1f} MB", "<= 55 MB", size_mb <= 55),
        line("size of the download", f"{packed_mb:.1f} MB", "<= 20 MB", packed_mb <= 20),
        line("idle memory of both processes (resident)", f"{idle_mb:.1f} MB", "< 50 MB", idle_mb < 50)]) else 1


def _processes(server: Process) -> list:
    return [server.facts, *server.facts.children(recursive=True)]


def _cpu_s(server: Process) -> float:
    return sum(times.user + times.system for times in (each.cpu_times() for each in _processes(server)))


if __name__ == "__main__":
    sys.exit(main())
