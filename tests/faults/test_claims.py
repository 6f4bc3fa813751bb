"""After a crash: a claim whose run never began is taken back, and nothing that ran is open again."""
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ananta.agent.decisions import LOOK_BACK, Decisions
from ananta.domain.proposals import StoredProposal
from ananta.domain.steps import Record
from ananta.store import database, proposals
from ananta.store.journal import Journal

MUCH = 3 * LOOK_BACK
SHOWN = StoredProposal(id="P-1", digest="d", command="true", cwd="/", session="s", target="here", task_id=None, prompt="",
                       reason="", decision="ask", reasons=(), model=None, created_at=0.0, expires_at=1e9)


@pytest.fixture
def data(tmp_path):
    database.open(tmp_path / "data/ananta.db")
    yield tmp_path / "data"
    database.close()


def run(run_id: str, at: float) -> Record:
    return Record(id=run_id, timestamp=at, agent="here", command="true", output="", exit_code=0)


def claimed(number: int, at: float) -> None:
    proposals.add(replace(SHOWN, id=f"P-{number}"))
    proposals.claim(f"P-{number}", f"run-{number}", "admin", at)


def others(data, at: float) -> None:
    with (data / "terminal_log.jsonl").open("a") as log:
        # Short lines: so many bytes are indexed by the next close, and not left to the next start.
        log.writelines(json.dumps({"id": f"{n}", "timestamp": at + n * 0.001, "command": "w"}) + "\n" for n in range(MUCH))


def restarted(data) -> dict[str, str]:
    """Opens everything as a start does, and returns the states of the proposals."""
    journal = Journal(data, agent="here", mask=str)
    journal.open()
    decisions = Decisions(target="here", lifetime_s=60, judge=None, directory=None, now=lambda: 1000.0)
    decisions.open(journal)
    journal.close()
    return dict(database.rows("SELECT id, state FROM proposals"))


def ran(data, number: int, at: float) -> None:
    journal = Journal(data, agent="here", mask=str)
    journal.open()
    claimed(number, at)
    journal.started(run(f"run-{number}", at))
    journal.finished(run(f"run-{number}", at))
    journal.close()


@pytest.mark.parametrize("later", [1.0, -500.0], ids=["within a second", "the clock was set back"])
def test_what_ran_stays_run_however_much_ran_since(data, later):
    ran(data, 1, 100.0)
    others(data, 100.0 + later)
    ran(data, 2, 105.0 + later)
    assert restarted(data) == {"P-1": "run", "P-2": "run"} == restarted(data)


def test_a_claim_whose_run_never_began_is_open_again(data):
    others(data, 90.0)
    ran(data, 1, 95.0)
    claimed(2, 100.0)
    assert restarted(data) == {"P-1": "run", "P-2": "open"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="nothing that is always full")
def test_a_run_that_may_have_begun_stays_run_also_when_its_record_cannot_be_written_yet(data):
    journal = Journal(data, agent="here", mask=str)
    journal.open()
    claimed(1, 100.0)
    journal.started(run("run-1", 100.0))
    journal.close()

    def fill(run_id: str) -> str:
        (data / "terminal_log.jsonl").unlink()
        (data / "terminal_log.jsonl").symlink_to("/dev/full")
        return ""

    again = Journal(data, agent="here", mask=str)
    assert again.open(on_unknown=fill) == []
    Decisions(target="here", lifetime_s=60, judge=None, directory=None, now=lambda: 1000.0).open(again)
    assert proposals.find("P-1").state == "run"
    (data / "terminal_log.jsonl").unlink()
    again.close()
    assert '"id":"run-1","state":"unknown"' in (data / "terminal_log.jsonl").read_text()
