"""What the views of the reference client cost on a large hub, and what fifty open dashboards do.

How: a hub with 10,000 tasks and 2,000 in the archive, 200 agents, 1,000 templates, 50 teams and 100,000 audit entries; each call
of each view five times over one keep-alive connection (the whole list of tasks over one of its own), the first one when nothing is
known yet: the longest wall time of each, and the median. No model server is there, the addresses of both swallow what is sent.
Then fifty clients with an open event stream each ask the five calls of the dashboard every ten seconds, spread evenly; the processor
time of the hub's process over 40 s.
`postgres` as argument: with Postgres.
"""
import contextlib
import http.client
import json
import random
import socket
import statistics
import sys
import threading
import time
from pathlib import Path

from ananta.domain.agents import Agent
from ananta.domain.tasks import Step, Task
from ananta.domain.teams import NewMember
from ananta.domain.templates import Template
from ananta.hub.teams import Teams
from ananta.store import agents, archive, database, stats, tasks, templates
from tests import postgres
from tests.bench._measure import Client, ananta, line, scratch
from tests.bench.streams import Watchers

TOKEN = "views-token-0123456789"
TASKS, ARCHIVED, AGENTS, TEMPLATES, TEAMS, AUDIT = 12_000, 2_000, 200, 1_000, 50, 100_000
BROWSERS, EVERY_S, MEASURED_S, CALLS = 50, 10.0, 40.0, 5
DASHBOARD = ("/stats", "/stats/history", "/teams", "/teams/roles", "/agents")
VIEWS = {
    "dashboard": DASHBOARD, "agents": ("/agents", "/health", "/ready", "/config"),
    "panel": ("/logs?limit=50", "/config", "/metrics"), "board": ("/tasks",),
    "task": ("/tasks/T-123461", "/tasks", "/providers", "/tasks/T-123461/logs"), "graph": ("/tasks",),
    "archive": ("/tasks/archived", "/tasks/archived?limit=100&offset=1900"),
    "templates": ("/templates", "/teams/roles", "/teams/types", "/teams", "/config"),
    "teams": ("/teams", "/teams/types", "/teams/roles", "/templates", "/config"),
    "settings": ("/config", "/llm/history", "/users"),
    "audit": ("/audit-logs?limit=20", f"/audit-logs?limit=20&offset={AUDIT - 40}")}


def fill(folder: Path, url: str | None) -> None:
    database.open(url or folder / "data" / "ananta.db", local_path=folder / "data" / "journal.db")
    now, rng = time.time(), random.Random(1)
    step = Step("What next?", "to see what is there", "ls -l", None, "total 0\n" * 20, 0, now)
    with database.writing():
        for number in range(TEMPLATES):
            templates.add(Template(f"template-{number}", f"Template {number}", "Review {{task_title}}. " * 40, "what it is for",
                                   created_at=now, updated_at=now))
        for number in range(AGENTS):
            agents.save(Agent(f"http://10.0.{number // 250}.{number % 250}:5001", f"agent-{number}", last_seen=now, registered_at=now,
                              resources={"cpu_percent": 1.5, "ram_bytes": 60_000_000}), None)
        for number in range(60):
            stats.add({"timestamp": now - 60 * number, "agents": {"total": AGENTS, "online": AGENTS, "offline": 0},
                       "tasks": {"total": TASKS, "completed": 1, "failed": 1}, "shell_pool": {"total": 8, "free": 8, "busy": 0},
                       "resources": {"cpu_percent": 1.0, "ram_bytes": 60_000_000}}, keep=60)
    teams = Teams(lambda task: None)
    kinds = teams.types()
    made = [teams.create(f"Team {number}", type_id=kinds[0].id, members=[
        NewMember(f"http://10.0.0.{(number * 4 + each) % 200}:5001", kinds[0].role_ids[each % len(kinds[0].role_ids)], None)
        for each in range(4)]) for number in range(TEAMS)]
    for start in range(0, TASKS, 500):
        with database.writing():
            for number in range(start, start + 500):
                task = tasks.create(Task("", f"Task {number} of many", "what is to be done, in a sentence or two " * 3,
                                         status=rng.choice(["backlog", "to-do", "in-progress", "done"]), team_id=made[number % TEAMS].id,
                                         created_at=now - number, updated_at=now - number))
                if number % 3 == 0:
                    tasks.record(task.id, f"run-{number}", step, now)
    for number in range(ARCHIVED):
        archive.archive(f"T-{133_455 - number}", now)
    for start in range(0, AUDIT, 5000):
        with database.writing():
            database.change_many(
                "INSERT INTO audit_logs (timestamp, username, ip, action, details, hash) VALUES (?, ?, ?, ?, ?, ?)",
                [(now - AUDIT + number, "admin", "10.0.0.1", "task_created", '{"task_id":"T-123456"}', f"{number:064x}")
                 for number in range(start, start + 5000)])
    database.close()


def with_token(path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}token={TOKEN}"


def wall_ms(address: tuple[str, int], client: Client, path: str) -> float:
    start = time.perf_counter()
    if path == "/tasks":
        connection = http.client.HTTPConnection(*address, timeout=60)  # the whole list ends its connection
        connection.request("GET", with_token(path))
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
    else:
        status, body = client.call("GET", with_token(path))
    taken = (time.perf_counter() - start) * 1000
    if status != 200 or not body:
        raise SystemExit(f"GET {path}: {status} {body[:200]!r}")
    return taken


def views(hub) -> bool:
    client, good, known = Client(hub.address), [], {}
    for view, paths in VIEWS.items():
        for path in paths:
            if path not in known:
                known[path] = [wall_ms(hub.address, client, path) for _ in range(CALLS)]
            longest = max(known[path])
            good.append(line(f"{view}: GET {path}", f"{longest:.1f} ms (median {statistics.median(known[path]):.1f})", "< 200 ms", longest < 200))
    for view, method, path, body, wanted in (
            ("board", "POST", "/tasks", {"title": "new", "status": "backlog"}, 201),
            ("board", "PATCH", "/tasks/T-123470", {"status": "done"}, 200),
            ("task", "POST", "/tasks/T-123471/step/propose", {"prompt": "say hi"}, 200),
            ("task", "POST", "/tasks/T-123471/step/execute", {"command": "echo hi"}, 200),
            ("teams", "POST", "/teams/setup-scrum", {"name": "Another"}, 201),
            ("assistant", "POST", "/llm/generate", {"prompt": "hello"}, 200)):
        start = time.perf_counter()
        status, answer = client.call(method, with_token(path), json.dumps(body).encode())
        taken = (time.perf_counter() - start) * 1000
        good.append(line(f"{view}: {method} {path}", f"{taken:.1f} ms", "< 200 ms", status == wanted and taken < 200))
        if status != wanted:
            print(answer[:300])
    return all(good)


def polling(hub) -> bool:
    streams, stop, wrong = Watchers(hub.address, BROWSERS, with_token("/events")), threading.Event(), []
    def browse(number: int) -> None:
        client = Client(hub.address)
        stop.wait(EVERY_S * number / BROWSERS)
        while not stop.is_set():
            begun = time.monotonic()
            wrong.extend(path for path in DASHBOARD if client.call("GET", with_token(path))[0] != 200)
            stop.wait(max(0.0, EVERY_S - (time.monotonic() - begun)))
        client.close()

    browsers = [threading.Thread(target=browse, args=(number,)) for number in range(BROWSERS)]
    for each in browsers:
        each.start()
    time.sleep(EVERY_S)
    before, begun = hub.cpu_s(), time.monotonic()
    time.sleep(MEASURED_S)
    share = (hub.cpu_s() - before) / (time.monotonic() - begun) * 100
    stop.set()
    for each in browsers:
        each.join()
    streams.close()
    return line(f"{BROWSERS} dashboards, {BROWSERS} event streams", f"{share:.1f} % of a core", "< 15 %", share < 15 and not wrong)


def main() -> int:
    on_postgres = sys.argv[1:] == ["postgres"]
    with scratch() as folder, contextlib.ExitStack() as stack:
        url = stack.enter_context(postgres.server()).database() if on_postgres else None
        fill(folder, url)
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        hub = ananta(folder, "--role", "hub", AGENT_TOKEN=TOKEN, DEFAULT_PROVIDER="mock", AGENT_OFFLINE_TIMEOUT="86400",
                     LMSTUDIO_URL=f"{address}/v1", OLLAMA_URL=address, **({"DATABASE_URL": url} if url else {}))
        stack.callback(hub.stop)
        return 0 if all([views(hub), polling(hub)]) else 1


if __name__ == "__main__":
    sys.exit(main())
