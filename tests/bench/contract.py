"""Whether a hub does what its /openapi.json says: schemathesis sends thousands of right and wrong requests.

How: `python -m tests.bench.contract [--examples N] [--postgres]` starts a hub with the mock model, an agent token, a user and one of
each thing, and lets schemathesis (phases coverage and fuzzing) call every operation but those that never end and
/rotate-token, after which no other call would be let in. Wanted: no 500, no undeclared status, no body that differs
from its schema. Only harmless commands are run, and nothing is sent to other machines (see _contract_hooks.py).
"""
import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests import postgres
from tests.bench._measure import ROOT, Client, Process, ananta, environment, line, scratch

TOKEN, PASSWORD = "contract-token-0123456789", "a long enough pass phrase"
CHECKS = "no_unexpected_failure,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = r"rotate-token$|/events$|stream-logs$|stream-output$"


def prepared(hub: Process) -> dict[str, list[str]]:
    """Makes one of each thing; returns their ids by the name of the path parameter."""
    client = Client(hub.address)

    def made(path: str, body: dict) -> dict:
        status, answer = client.call("POST", f"{path}?token={TOKEN}", json.dumps(body).encode())
        return json.loads(answer) if status < 300 else {}

    tasks = [made("/tasks", {"title": f"Task {number}"}).get("id", "") for number in range(3)]
    made(f"/tasks/{tasks[0]}/step/execute", {"command": "echo there"})
    proposal = made(f"/tasks/{tasks[0]}/step/propose", {"prompt": "Say hi"}).get("id", "")
    template = made("/templates", {"name": "One", "prompt_template": "Do {{task_title}}"}).get("id", "")
    team = made("/teams/setup-scrum", {"name": "One"}).get("team") or {}
    role = made("/teams/roles", {"name": "Tester"}).get("id", "")
    schedule = made("/schedule", {"command": "true", "interval_seconds": 3600}).get("id", "")
    made("/users", {"username": "someone", "password": PASSWORD})
    client.close()
    known = {"task_id": tasks, "template_id": [template], "proposal_id": [proposal], "username": ["someone"],
             "team_id": [team.get("id", "")], "type_id": [team.get("team_type_id", "")], "role_id": [role],
             "schedule_id": [schedule]}
    return {name: [each for each in ids if each] for name, ids in known.items() if any(ids)}


def signed_in(hub: Process) -> str:
    client = Client(hub.address)
    _, answer = client.call("POST", "/login", json.dumps({"username": "caller", "password": PASSWORD}).encode())
    client.close()
    return json.loads(answer)["access_token"]


def run(folder: Path, url: str | None, *, examples: int, phases: str = "coverage,fuzzing", seed: int | None = None) -> tuple[int, str, int]:
    """Returns how many cases were sent, what schemathesis printed, and its exit code: 0 when nothing was found."""
    (folder / "data").mkdir(exist_ok=True)
    # Whatever is asked for: only these are ever run.
    (folder / "data" / "blacklist.txt").write_text("^(?!(echo hi|echo there|true|false|pwd)$)\n")
    extra = {"DATABASE_URL": url} if url else {}
    hub = ananta(folder, "--role", "hub", AGENT_TOKEN=TOKEN, DEFAULT_PROVIDER="mock", INITIAL_ADMIN_USER="caller",
                 INITIAL_ADMIN_PASSWORD=PASSWORD, **extra)
    try:
        known, user = prepared(hub), signed_in(hub)
        address = f"http://{hub.address[0]}:{hub.address[1]}"
        done = subprocess.run(
            [str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/openapi.json", "--checks", CHECKS,
             "--exclude-path-regex", LEFT_OUT, "--max-examples", str(examples), "--phases", phases,
             "--continue-on-failure", "--request-timeout", "60", "--suppress-health-check", "all", "--warnings", "off",
             *(["--seed", str(seed)] if seed is not None else [])],
            cwd=folder, capture_output=True, text=True, check=False,
            env=environment(folder, SCHEMATHESIS_HOOKS="tests.bench._contract_hooks", NO_COLOR="1", COLUMNS="200",
                            CONTRACT_KNOWN=json.dumps(known), CONTRACT_TOKENS=json.dumps({"system": TOKEN, "user": user})))
        alive = hub.process.poll() is None
    finally:
        hub.stop()
    printed = done.stdout + done.stderr
    found = re.search(r"([\d,]+) generated", printed)
    return int(found[1].replace(",", "")) if found else 0, printed, done.returncode if alive else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.contract")
    parser.add_argument("--examples", type=int, default=60, help="random requests per operation at most (60)")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    with scratch() as folder, contextlib.ExitStack() as stack:
        url = stack.enter_context(postgres.server()).database() if options.postgres else None
        cases, printed, code = run(folder, url, examples=options.examples)
    if code:
        print(printed)
    line(f"requests as /openapi.json allows and forbids, {'Postgres' if url else 'SQLite'}", f"{cases}", "-", True)
    return 0 if line("of these answered otherwise than it says", "none" if code == 0 else "see above", "none", code == 0) else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
