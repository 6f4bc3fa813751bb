"""Kills the service with `kill -9` again and again at random moments, on one data directory, and then asks: did
anything run twice, is anything missing from the log, is anything reported as failed that has not failed?

    python -m tests.faults.crash --rounds 50 [--seed N] [--threads 8] [--keep FOLDER]

Every command appends a number of its own to the file `marker`, and succeeds. Several clients execute them directly,
with an Idempotency-Key, and as proposals; they reject, edit and ask again, also at the same time and after a restart.
The service is killed within 400 ms after the load began, and while it starts. Exit code 1: something is wrong, and
which number or id it is about is printed.
"""
import argparse
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from ananta.store import journal
from tests.conftest import ROOT, WAIT_S, ananta, clean_environment

LOAD_S = 0.4
THREADS = 8
PROPOSED = 1000  # a start; more than can be asked for in LOAD_S
FORMS = ("echo {} >> marker", "echo {} >> marker", "sleep 0.03; echo {} >> marker", "echo {} >> marker; sleep 0.03",
         "echo {} >> marker; seq 1 5000")
NUMBER = re.compile(r"echo (\d+) >> marker")
# What an execute may be answered with when it runs nothing (any more).
REFUSALS = {"busy", "shutting_down", "proposal_used", "proposal_refused", "outcome_unknown", "in_progress"}
GONE = (OSError, http.client.HTTPException, ValueError)


@dataclass
class Command:
    """One command and all answers to the requests that were to run it: (status, body)."""

    number: int
    body: dict
    key: str | None = None
    proposal_id: str | None = None
    sent: int = 0
    answers: list[tuple[int, dict]] = field(default_factory=list)

    def ids(self) -> list[str]:
        return [body["id"] for status, body in self.answers if status < 300]


class Ledger:
    """What the clients know: what was sent, and what was answered."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.commands: dict[int, Command] = {}
        self.repeatable: list[Command] = []
        self.withdrawn: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def command(self, number: int, body: dict, *, key: str | None = None, proposal_id: str | None = None) -> Command:
        made = Command(number, body, key, proposal_id)
        with self._lock:
            if number in self.commands:
                self.wrong.append(f"number {number} was proposed twice")
            self.commands[number] = made
            if key or proposal_id:
                self.repeatable.append(made)
        return made

    def sending(self, command: Command) -> None:
        with self._lock:
            command.sent += 1

    def answered(self, command: Command, status: int, body: dict) -> None:
        code = body.get("error")
        with self._lock:
            command.answers.append((status, body))
            if status >= 300:
                self.refusals[str(code)] += 1
                if code not in REFUSALS:
                    self.wrong.append(f"number {command.number} was answered {status} {body}")

    def withdrew(self, proposal_id: str, how: str) -> None:
        with self._lock:
            self.withdrawn[proposal_id] = how

    def count(self, what: str) -> None:
        with self._lock:
            self.requests[what] += 1

    def note(self, wrong: str) -> None:
        with self._lock:
            self.wrong.append(wrong)


class Server:
    """The service, started as users start it. What the mock provider proposes are commands with new numbers."""

    def __init__(self, folder: Path, ledger: Ledger, rng: random.Random):
        answers = folder / "answers.jsonl"
        answers.write_text("".join(json.dumps({"reason": "to count", "command": rng.choice(FORMS).format(next(ledger.numbers))})
                                   + "\n" for _ in range(PROPOSED)))
        self.started_at = time.monotonic()
        self.errors = folder / "stderr.txt"
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "ananta.py"), "--port", "0"], cwd=folder, stdout=subprocess.PIPE, stderr=errors,
                env=clean_environment(folder, DISABLE_LLM_CHECK="1", DEFAULT_PROVIDER="mock", MOCK_ANSWERS=str(answers),
                                      LOG_ROTATE_MB="1"), text=True, start_new_session=True)

    def address(self) -> tuple[str, int] | None:
        """Waits until it listens; None when it ended instead."""
        found = re.search(r"http://([\d.]+):(\d+)", self.process.stdout.readline())
        return (found[1], int(found[2])) if found else None

    def end(self, number: signal.Signals) -> int:
        os.kill(self.process.pid, number)
        code = self.process.wait(WAIT_S)
        self.process.stdout.close()
        return code


class Client:
    """One connection; does one random thing after another until the service is gone."""

    def __init__(self, address: tuple[str, int], ledger: Ledger, seed: str):
        self.connection = http.client.HTTPConnection(*address, timeout=WAIT_S)
        self.ledger, self.rng = ledger, random.Random(seed)

    def work(self) -> None:
        try:
            while True:
                self.one()
        except GONE:
            pass
        except Exception as failure:
            self.ledger.note(f"a client failed: {failure!r}")
        finally:
            self.connection.close()

    def one(self) -> None:
        self.rng.choices((self.plain, self.keyed, self.proposed, self.withdrawn, self.again), (25, 20, 25, 10, 20))[0]()

    def plain(self) -> None:
        number = next(self.ledger.numbers)
        self.execute(self.ledger.command(number, self._body(number)))

    def keyed(self) -> None:
        number = next(self.ledger.numbers)
        self.execute(self.ledger.command(number, self._body(number), key=f"key-{number}"))

    def proposed(self) -> None:
        command = self._propose()
        if command and self.rng.random() < 0.8:
            self.execute(command)

    def withdrawn(self) -> None:
        command = self._propose()
        if command and self.rng.random() < 0.7:
            self._reject(command)
        elif command:
            self._edit(command)

    def again(self) -> None:
        """What may be sent more than once is sent again, by several clients and after restarts."""
        known = self.ledger.repeatable
        if not known:
            return
        command = known[-self.rng.randint(1, min(len(known), 20))]
        if command.proposal_id and self.rng.random() < 0.2:
            self._reject(command)
        else:
            self.execute(command)

    def execute(self, command: Command) -> None:
        self.ledger.sending(command)
        headers = {"Idempotency-Key": command.key} if command.key else {}
        self.ledger.answered(command, *self._call("/step/execute", command.body, headers))

    def _body(self, number: int) -> dict:
        return {"command": self.rng.choice(FORMS).format(number), "task_id": f"task-{number}"}

    def _propose(self) -> Command | None:
        status, body = self._call("/step/propose", {"prompt": "count", "task_id": f"task-p{next(self.ledger.numbers)}"})
        if status != 200:
            if body.get("error") not in REFUSALS:
                self.ledger.note(f"a proposal was answered {status} {body}")
            return None
        return self._shown(body)

    def _shown(self, body: dict) -> Command:
        number = int(NUMBER.search(body["command"])[1])
        return self.ledger.command(number, {"proposal_id": body["id"]}, proposal_id=body["id"])

    def _reject(self, command: Command) -> None:
        self._withdraw(command, "/step/reject", {"proposal_id": command.proposal_id, "reason": "not this one"})

    def _edit(self, command: Command) -> None:
        text = self.rng.choice(FORMS).format(next(self.ledger.numbers))
        new = self._withdraw(command, "/step/edit", {"proposal_id": command.proposal_id, "command": text})
        if new:
            self.execute(self._shown(new))

    def _withdraw(self, command: Command, path: str, body: dict) -> dict | None:
        status, answer = self._call(path, body)
        if status == 200:
            self.ledger.withdrew(command.proposal_id, path)
            return answer
        if answer.get("error") not in REFUSALS:
            self.ledger.note(f"{path} of proposal {command.proposal_id} was answered {status} {answer}")
        return None

    def _call(self, path: str, body: dict, headers: dict | None = None) -> tuple[int, dict]:
        self.ledger.count("sent")
        self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
        answer = self.connection.getresponse()
        status, found = answer.status, json.loads(answer.read())
        self.ledger.count("answered")
        return status, found


class Crash:
    """`run` does everything; then `wrong` has the violations and `summary` the figures."""

    def __init__(self, folder: Path, *, rounds: int, seed: int, threads: int = THREADS):
        self.folder, self.rounds, self.seed, self.threads = folder, rounds, seed, threads
        self.rng, self.ledger = random.Random(seed), Ledger()
        self.start_s, self.killed_at_start, self.killed_under_load = 0.5, 0, 0
        self.wrong: list[str] = []
        self.summary: dict[str, object] = {}

    def run(self) -> None:
        # The first ones find no directory and no tables yet.
        for _ in range(2):
            self._kill_at_start()
        for number in range(self.rounds):
            self._kill_under_load(number)
            while self.rng.random() < 0.4:
                self._kill_at_start()
        self._settle()
        self.wrong = self.ledger.wrong + self._violations()

    def _kill_at_start(self) -> None:
        server = Server(self.folder, self.ledger, self.rng)
        time.sleep(self.rng.uniform(0, 1.2 * self.start_s))
        if server.process.poll() is not None:
            self.ledger.note(f"a start ended by itself with exit code {server.process.returncode}")
        server.end(signal.SIGKILL)
        self.killed_at_start += 1

    @contextmanager
    def _listening(self) -> Iterator[tuple[Server, tuple[str, int]]]:
        server = Server(self.folder, self.ledger, self.rng)
        try:
            address = server.address()
            if address is None:
                told = server.errors.read_text(errors="replace")[-2000:]
                raise SystemExit(f"VIOLATION: the service does not start again, exit code {server.process.wait()}\n{told}")
            self.start_s = time.monotonic() - server.started_at
            yield server, address
        finally:
            if server.process.returncode is None:
                server.end(signal.SIGKILL)

    def _kill_under_load(self, number: int) -> None:
        moment = self.rng.uniform(0, LOAD_S)
        with self._listening() as (server, address):
            clients = [Client(address, self.ledger, f"{self.seed} {number} {each}") for each in range(self.threads)]
            working = [threading.Thread(target=each.work) for each in clients]
            for each in working:
                each.start()
            time.sleep(moment)
            if server.process.poll() is not None:
                self.ledger.note(f"round {number}: the service ended by itself with exit code {server.process.returncode}")
            server.end(signal.SIGKILL)
            for each in working:
                each.join()
        self.killed_under_load += 1

    def _settle(self) -> None:
        """Once more all that got no answer, then something new in each way, then an orderly stop."""
        with self._listening() as (server, address):
            client = Client(address, self.ledger, f"{self.seed} settle")
            try:
                for each in list(self.ledger.repeatable):
                    if len(each.answers) < each.sent or (each.key and each.ids()):
                        client.execute(each)
                for way in (client.plain, client.keyed, client.proposed, client.withdrawn):
                    for _ in range(3):
                        way()
            except GONE as failure:
                self.ledger.note(f"the service did not answer after the last start: {failure!r}")
            finally:
                client.connection.close()
            code = server.end(signal.SIGTERM)
            if code:
                self.ledger.note(f"the orderly stop ended with exit code {code}")

    # ---

    def _violations(self) -> list[str]:
        ledger, data = self.ledger, self.folder / "data"
        marker = self.folder / "marker"
        ran = Counter(map(int, marker.read_text().split() if marker.exists() else ()))
        records = [json.loads(line) for path in [*sorted(data.glob("terminal_log.0*.jsonl")), data / "terminal_log.jsonl"]
                   for line in path.read_bytes().splitlines()]
        by_number: dict[int, list[dict]] = {}
        for each in records:
            by_number.setdefault(int(NUMBER.search(each["command"])[1]), []).append(each)
        wrong = [f"number {number} ran {times} times" for number, times in ran.items() if times > 1]
        wrong += [f"id {run_id} stands {times} times in the log"
                  for run_id, times in Counter(each["id"] for each in records).items() if times > 1]
        wrong += [f"number {number} ran and is not in the log" for number in ran.keys() - by_number.keys()]
        wrong += [f"number {number} ran, and nobody sent it" for number in ran
                  if number not in ledger.commands or not ledger.commands[number].sent]
        for number, found in by_number.items():
            if len(found) > 1:
                wrong.append(f"number {number} has {len(found)} records: {[each['id'] for each in found]}")
            for each in found:
                if each["state"] not in ("finished", "unknown") or (each["state"] == "finished" and each["exit_code"] != 0):
                    wrong.append(f"number {number} is reported as {each['state']} with exit code {each['exit_code']}: "
                                 f"{each['output'][:200]!r}")
                elif each["state"] == "finished" and number not in ran:
                    wrong.append(f"number {number} is reported as finished and did not run")
        for each in ledger.commands.values():
            wrong += self._of_answers(each, by_number.get(each.number, []), ran)
        states, more = self._of_proposals(data, records, by_number, ran)
        wrong += more + self._of_the_whole(data)
        unknown = [int(NUMBER.search(each["command"])[1]) for each in records if each["state"] == "unknown"]
        sent = [each for each in ledger.commands.values() if each.sent]
        self.summary = {
            "rounds": f"{self.rounds}, seed {self.seed}, {self.threads} clients",
            "killed": f"{self.killed_under_load} under load, {self.killed_at_start} while starting",
            "requests": f"{ledger.requests['sent']} sent, {ledger.requests['answered']} answered",
            "commands sent": f"{len(sent)}, {sum(bool(each.ids()) for each in sent)} of them answered with a result",
            "sent again": f"{sum(each.sent - 1 for each in sent)} times, "
                          f"{sum(max(0, len(each.ids()) - 1) for each in sent)} times answered with the stored result",
            "ran": f"{len(ran)}",
            "in the log": f"{len(records)}, {len(records) - len(unknown)} finished, {len(unknown)} unknown "
                          f"({sum(number in ran for number in unknown)} of them ran)",
            "not run": ", ".join(f"{times} {code}" for code, times in sorted(ledger.refusals.items())) or "none",
            "proposals": ", ".join(f"{times} {state}" for state, times in sorted(states.items())),
            "violations": f"{len(wrong) + len(ledger.wrong)}"}
        return wrong

    def _of_answers(self, command: Command, found: list[dict], ran: Counter[int]) -> Iterator[str]:
        ids, what = command.ids(), f"number {command.number}"
        for run_id in set(ids):
            stored = [each for each in found if each["id"] == run_id]
            if [each["state"] for each in stored] != ["finished"]:
                yield f"{what} was answered as run {run_id}, and the log has {stored or 'nothing'}"
        for status, body in command.answers:
            if status < 300 and body["exit_code"] != 0:
                yield f"{what} was answered with exit code {body['exit_code']}"
            if body.get("error") == "outcome_unknown" and ids:
                yield f"{what} was answered with a result and as unknown: {body}"
        if len(set(ids)) > 1 or (len(ids) > 1 and not command.key):
            yield f"{what} was answered with {len(ids)} results: {ids}"
        if command.proposal_id in self.ledger.withdrawn and (found or ids or command.number in ran):
            yield f"{what}, proposal {command.proposal_id}, ran although {self.ledger.withdrawn[command.proposal_id]} had ended it"
        refused = [body.get("error") for _, body in command.answers]
        if len(refused) == command.sent and set(refused) <= {"busy", "shutting_down", "proposal_refused"} and (
                refused and (found or command.number in ran)):
            yield f"{what} was answered {refused}, and ran"

    def _of_proposals(self, data: Path, records: list[dict], by_number: dict[int, list[dict]],
                      ran: Counter[int]) -> tuple[Counter[str], list[str]]:
        with closing(sqlite3.connect(f"{(data / 'ananta.db').as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT id, state, run_id, command FROM proposals").fetchall()
        by_id = {each["id"]: each for each in records}
        wrong, known = [], {}
        for proposal_id, state, run_id, command in rows:
            number = int(NUMBER.search(bytes(command).decode())[1])
            known[proposal_id] = state
            if state == "run":
                record = by_id.get(run_id)
                if record is None:
                    wrong.append(f"proposal {proposal_id}, number {number}, is in state run and its run {run_id} is not in the log")
                elif record.get("proposal_id") != proposal_id:
                    wrong.append(f"proposal {proposal_id} names the run {run_id}, which is of {record.get('proposal_id')}")
            elif number in ran or number in by_number:
                wrong.append(f"proposal {proposal_id}, number {number}, ran and is in state {state}")
        for proposal_id, how in self.ledger.withdrawn.items():
            if known.get(proposal_id) != "refused":
                wrong.append(f"proposal {proposal_id} is in state {known.get(proposal_id)} although {how} had ended it")
        wrong += [f"proposal {each.proposal_id} was shown and is gone" for each in self.ledger.commands.values()
                  if each.proposal_id and each.proposal_id not in known]
        return Counter(known.values()), wrong

    def _of_the_whole(self, data: Path) -> list[str]:
        checked = ananta(self.folder, "log", "verify")
        wrong = [f"ananta log verify: {checked.stdout}{checked.stderr}"] if checked.returncode else []
        if left := journal.unfinished(data):
            wrong.append(f"{left} runs have no record after an orderly stop")
        errors = (self.folder / "stderr.txt").read_text(errors="replace")
        return wrong + ([f"the service reported: {errors[errors.index('Traceback'):][:3000]}"] if "Traceback" in errors else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="of the moments and of what the clients do")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--keep", type=Path, help="an empty folder in which everything is left to be looked at")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ananta-crash-") as scratch:
        folder = options.keep.absolute() if options.keep else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        crash = Crash(folder, rounds=options.rounds, seed=seed, threads=options.threads)
        crash.run()
    for name, figure in crash.summary.items():
        print(f"{name:<14} {figure}")
    for each in crash.wrong:
        print(f"VIOLATION: {each}")
    return 1 if crash.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
