"""What /step/execute adds to a command.

How: wall time over one keep-alive connection, the median of 200 calls, beside subprocess.run of the same shell and
command in this process, interleaved; processor time of the server and its ended children for `seq 1 50000`.
"""
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time

from tests.bench._measure import Client, ananta, line, scratch


def main() -> int:
    with scratch() as folder:
        server = ananta(folder)
        client = Client(server.address)
        good = [added(client), parallel(server), large(server, client)]
        client.close()
        server.stop()
    return 0 if all(good) else 1


def body(command: str, task: str = "bench") -> bytes:
    return json.dumps({"command": command, "task_id": task}).encode()


def added(client: Client) -> bool:
    shell = shutil.which("bash") or "sh"
    own, plain = [], []
    for _ in range(200):
        start = time.perf_counter()
        subprocess.run([shell, "-c", "true"], capture_output=True, check=True)
        plain.append(time.perf_counter() - start)
        start = time.perf_counter()
        status, _ = client.call("POST", "/step/execute", body("true"))
        own.append(time.perf_counter() - start)
        if status != 200:
            raise SystemExit(f"status {status}")
    more = (statistics.median(own) - statistics.median(plain)) * 1000
    return line(f"/step/execute of true, beyond {statistics.median(plain) * 1000:.1f} ms of subprocess.run",
                f"{more:.2f} ms", "<= 2 ms", more <= 2)


def parallel(server) -> bool:
    clients = [Client(server.address) for _ in range(8)]
    taken = []
    for _ in range(5):
        threads = [threading.Thread(target=each.call, args=("POST", "/step/execute", body("sleep 0.1", f"s-{number}")))
                   for number, each in enumerate(clients)]
        start = time.monotonic()
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        taken.append(time.monotonic() - start)
    for each in clients:
        each.close()
    middle = statistics.median(taken)
    return line("eight sessions, sleep 0.1 each", f"{middle:.3f} s", "about 0.1 s, not 0.8 s", middle < 0.3)


def large(server, client: Client) -> bool:
    def cpu() -> float:
        times = server.facts.cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    costs = []
    for _ in range(21):
        before = cpu()
        client.call("POST", "/step/execute", body("seq 1 50000"))
        costs.append(cpu() - before)
    mean = statistics.fmean(costs) * 1000
    return line("seq 1 50000, processor time of server, shell and seq", f"{mean:.1f} ms", "<= 20 ms", mean <= 20)


if __name__ == "__main__":
    sys.exit(main())
