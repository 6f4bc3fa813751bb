"""What 500 open event streams cost everybody else, and how soon they hear.

How: a real hub and 500 raw connections to /events. Waits are wall time of one keep-alive connection, in rounds with
and without the streams by turns, so that a busy moment of the machine hits both alike; processor time is user + system
of the server process. An event is made by POST /config, and counts as heard when the last client has read it.
"""
import selectors
import socket
import statistics
import sys
import time

from tests.bench._measure import Client, ananta, line, scratch

CLIENTS, ROUNDS, REQUESTS, EVENTS = 500, 7, 400, 40


class Watchers:
    """Clients of /events, read in this thread."""

    def __init__(self, address: tuple[str, int], count: int, path: str = "/events"):
        self.selector = selectors.DefaultSelector()
        self.sockets = []
        for _ in range(count):
            each = socket.create_connection(address)
            each.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.sockets.append(each)
        for each in self.sockets:
            data = b""
            while b": open\n\n" not in data:
                data += each.recv(65536)
            each.setblocking(False)
            self.selector.register(each, selectors.EVENT_READ)

    def wait(self) -> None:
        """Returns when every one of them has read an event."""
        left = set(self.sockets)
        while left:
            for key, _ in self.selector.select(10):
                if b"data: " in key.fileobj.recv(65536):
                    left.discard(key.fileobj)

    def close(self) -> None:
        self.selector.close()
        for each in self.sockets:
            each.close()


def waits_ms(client: Client, path: str) -> list[float]:
    found = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        client.call("GET", path)
        found.append((time.perf_counter() - start) * 1000)
    return found


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def change(client: Client, number: int) -> None:
    client.call("POST", "/config", b'{"http_timeout": %d}' % (30 + number % 30))


def main() -> int:
    with scratch() as folder:
        hub = ananta(folder, "--role", "hub")
        client = Client(hub.address)
        client.call("POST", "/step/execute", b'{"command": "echo there", "task_id": "T-1"}')
        created = client.call("POST", "/tasks", b'{"title": "there", "id": "T-2"}')[0] == 201
        paths = ["/health", "/tasks/T-1/logs", *(["/tasks/T-2"] if created else [])]
        for path in paths:
            waits_ms(client, path)
        memory = hub.facts.memory_info().rss
        waits: dict[tuple, list[float]] = {(path, open_): [] for path in paths for open_ in (False, True)}
        spent: dict[bool, list[float]] = {False: [], True: []}
        heard, grown = [], 0.0
        for number in range(ROUNDS):
            for open_ in (False, True):
                watchers = Watchers(hub.address, CLIENTS if open_ else 0)
                for path in paths:
                    waits[path, open_] += waits_ms(client, path)
                before = hub.cpu_s()
                for each in range(EVENTS):
                    start = time.perf_counter()
                    change(client, number * EVENTS + each)
                    watchers.wait()
                    if open_:
                        heard.append((time.perf_counter() - start) * 1000)
                spent[open_].append((hub.cpu_s() - before) / EVENTS * 1000)
                grown = max(grown, (hub.facts.memory_info().rss - memory) / 1e6)
                watchers.close()
                time.sleep(0.3)
        watchers = Watchers(hub.address, CLIENTS)
        client.close()
        stopped = hub.stop()
        watchers.close()
    good = []
    for path in paths:
        alone, beside = p99(waits[path, False]), p99(waits[path, True])
        good.append(line(f"GET {path} p99 beside {CLIENTS} streams", f"{beside:.2f} ms = {beside / alone:.2f} x", "< 3 x",
                         beside < 3 * alone))
    good += [
        line("an event reaches the last of them, p99", f"{p99(heard):.1f} ms", "< 100 ms", p99(heard) < 100),
        line("  median", f"{statistics.median(heard):.1f} ms", "-", True),
        line("processor time of one event for all of them",
             f"{statistics.median(spent[True]) - statistics.median(spent[False]):.1f} ms", "< 20 ms",
             statistics.median(spent[True]) - statistics.median(spent[False]) < 20),
        line("memory they add", f"{grown:.1f} MB", "< 20 MB", grown < 20),
        line("a stop while they are open", f"{stopped * 1000:.0f} ms", "< 500 ms", stopped < 0.5)]
    return 0 if all([*good, records()]) else 1


def records() -> bool:
    """What the listener of the log adds to a record, with nobody looking at its task."""
    import dataclasses

    from ananta.agent.events import Events
    from ananta.domain.events import TASK_RECORD, Event
    from ananta.domain.steps import Record
    from ananta.store import database
    from ananta.store.journal import Journal
    from ananta.web.streams import Streams

    with scratch() as folder:
        database.open(folder / "data" / "ananta.db")
        journal = Journal(folder / "data", agent="here", mask=lambda text: text)
        journal.open()
        events, streams = Events(), Streams()
        events.listen(streams.on_event)

        def told(record: Record, raw: bytes) -> None:
            events.tell(Event(TASK_RECORD, {"task_id": record.task_id, "run_id": record.id, "record": raw}, record.timestamp))

        record = Record(id="x", timestamp=1.0, agent="here", command="echo 1", output="1", exit_code=0, task_id="T-1")
        seen: dict[bool, list[float]] = {False: [], True: []}
        for number in range(20):
            for wired in (False, True):
                journal.on_record = told if wired else None
                start = time.process_time()
                for each in range(200):
                    journal.finished(dataclasses.replace(record, id=f"{number}-{wired}-{each}"))
                seen[wired].append((time.process_time() - start) / 200 * 1e6)
        journal.close()
        database.close()
    alone, wired_us = statistics.median(seen[False]), statistics.median(seen[True])
    return line("processor time of a record with a listener of the log", f"{wired_us:.0f} us, without {alone:.0f} us", "< 20 us more",
                wired_us - alone < 20)


if __name__ == "__main__":
    sys.exit(main())
