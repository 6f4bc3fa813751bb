"""A backup of 100,000 tasks and a log of 1 GiB while 16 clients write, and its restoring: memory, time, and is it the same?

Memory is the largest resident set of the command's process; a backup of next to nothing beside it shows what is the program."""
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

from ananta.store import chain
from tests.bench._measure import ROOT, Client, ananta, environment, line, scratch

TASKS, LOG_BYTES, CLIENTS = 100_000, 1 << 30, 16
MORE_MEMORY_MB, SLOWER_S = 40, 5.0
# What restoring changes on purpose: everybody is signed out.
SETTLED = {"users", "refresh_tokens", "proposals", "sqlite_sequence"}


def main() -> int:
    with scratch() as folder:
        small = folder / "small"
        small.mkdir()
        ananta(small, "--role", "hub").stop()
        _, least, _ = _command(small, "backup", str(folder / "small.zip"))

        big = folder / "big"
        _fill(big)
        server = ananta(big, "--role", "hub", LOG_ROTATE_MB="100000")
        try:
            _wait_indexed(big)
            ended, written, slowest = threading.Event(), [0] * CLIENTS, [0.0] * CLIENTS
            clients = [threading.Thread(target=_write, args=(server.address, number, ended, written, slowest)) for number in range(CLIENTS)]
            for each in clients:
                each.start()
            time.sleep(1)
            before, file = sum(written), folder / "big.zip"
            seconds, memory, said = _command(big, "backup", str(file))
            meanwhile = sum(written) - before
            ended.set()
            for each in clients:
                each.join()
        finally:
            server.stop()
        good = [line("backup: memory beyond that of an empty one", f"{memory - least:.0f} MB of {memory:.0f}", f"< {MORE_MEMORY_MB} MB",
                     memory - least < MORE_MEMORY_MB),
                line(f"backup of {_size(big):.1f} GB while {CLIENTS} clients write", f"{seconds:.1f} s, {file.stat().st_size >> 20} MiB", "", True),
                line("writes answered meanwhile; the slowest", f"{meanwhile}; {max(slowest):.2f} s", f"> 0; < {SLOWER_S} s",
                     meanwhile > 0 and max(slowest) < SLOWER_S)]
        print(f"     {said}")

        seconds, memory, said = _command(big, "restore", str(file))
        good += [line("restore: memory beyond that of an empty backup", f"{memory - least:.0f} MB of {memory:.0f}", f"< {2 * MORE_MEMORY_MB} MB",
                      memory - least < 2 * MORE_MEMORY_MB),
                 line("restore, with hashes, tables and chain looked at", f"{seconds:.1f} s", "", True)]
        with zipfile.ZipFile(file) as archive:
            archive.extract("ananta.db", folder)
        then, now = _tables(folder / "ananta.db"), _tables(big / "data" / "ananta.db")
        same = [name for name in then if then[name] == now.get(name)]
        good.append(line("tables that are the same, row by row", f"{len(same)} of {len(then)}", f"all but {len(SETTLED & set(then))}",
                         then.keys() == now.keys() and then.keys() - set(same) <= SETTLED and then["tasks"][0] >= TASKS))
        kept = next((big / "data" / "restored").glob("before-restore-*"))
        good.append(line("the log is what was there, as far as it goes", f"{(big / 'data' / 'terminal_log.jsonl').stat().st_size >> 20} MiB", "a prefix",
                         _is_prefix(big / "data" / "terminal_log.jsonl", kept / "terminal_log.jsonl")))
        _, _, said = _command(big, "log", "verify")
        print(f"     {said}")
    return 0 if all(good) else 1


def _fill(folder: Path) -> None:
    """100,000 tasks made from one, and a log of chained lines."""
    folder.mkdir()
    server = ananta(folder, "--role", "hub", LOG_ROTATE_MB="100000")
    client = Client(server.address)
    client.call("POST", "/tasks", json.dumps({"id": "T-0", "title": "the first", "description": "x" * 300}).encode())
    client.close()
    server.stop()
    database = sqlite3.connect(folder / "data" / "ananta.db")
    columns = [row[1] for row in database.execute("PRAGMA table_info(tasks)") if row[1] != "id"]
    names = ", ".join(columns)
    database.execute(f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {TASKS}) "
                     f"INSERT INTO tasks (id, {names}) SELECT 'T-' || i, {names} FROM tasks, n WHERE id = 'T-0'")
    database.commit()
    database.close()
    # Not so old that it would be put away.
    link, size, now = chain.FIRST, 0, time.time() - 3600
    with (folder / "data" / "terminal_log.jsonl").open("wb") as file:
        number = 0
        while size < LOG_BYTES:
            text, link = chain.seal({"timestamp": now + number / 1e6, "agent": "bench", "step": number, "direction": "exec", "command": f"echo {number}",
                                     "output": os.urandom(3000).hex(), "exit_code": 0, "returncode": 0, "task_id": f"T-{number % 1000}",
                                     "id": f"{number:016x}"}, link)
            size += file.write(text)
            number += 1


def _wait_indexed(folder: Path) -> None:
    size = (folder / "data" / "terminal_log.jsonl").stat().st_size
    database = sqlite3.connect(folder / "data" / "ananta.db", timeout=30)
    until = time.monotonic() + 600
    while time.monotonic() < until:
        found = database.execute('SELECT max("offset") FROM journal_position').fetchone()[0]
        if found and found >= size:
            break
        time.sleep(0.5)
    database.close()


def _write(address: tuple[str, int], number: int, ended: threading.Event, written: list[int], slowest: list[float]) -> None:
    client = Client(address)
    while not ended.is_set():
        begun = time.monotonic()
        status, _ = client.call("POST", "/tasks", json.dumps({"title": f"{number} {written[number]}"}).encode())
        slowest[number] = max(slowest[number], time.monotonic() - begun)
        written[number] += status == 201
    client.close()


def _command(folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Returns seconds, megabytes at most, and what was said."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, str(ROOT / "ananta.py"), *arguments], cwd=folder, env=environment(folder, LOG_ROTATE_MB="100000"), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = process.stdout.read()  # type: ignore[union-attr]
    _, status, usage = os.wait4(process.pid, 0)
    process.stdout.close()  # type: ignore[union-attr]
    if status:
        raise SystemExit(f"{arguments} failed: {said}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024, said.strip().replace("\n", "\n     ")


def _size(folder: Path) -> float:
    return sum(each.stat().st_size for each in (folder / "data").rglob("*") if each.is_file()) / 1e9


def _tables(path: Path) -> dict[str, tuple[int, str]]:
    """Returns for each table how many rows it has, and a hash of them in their order."""
    database = sqlite3.connect(path)
    found = {}
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        rows, digest = 0, hashlib.sha256()
        for row in database.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2'):
            digest.update(repr(row).encode())
            rows += 1
        found[name] = rows, digest.hexdigest()
    database.close()
    return found


def _is_prefix(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while piece := first.read(1 << 20):
            if second.read(len(piece)) != piece:
                return False
    return LOG_BYTES <= one.stat().st_size <= other.stat().st_size


if __name__ == "__main__":
    raise SystemExit(main())
