"""The terminal log: what is on disk, what is served, and that both are the same at any moment."""
import json
import threading
from itertools import pairwise

import pytest

from ananta.domain.steps import ToolCall
from ananta.store import database
from ananta.store.intents import EMPTY_BYTES
from ananta.store.journal import Journal, tail, unfinished


def served(journal, limit=1000, task_id=None):
    return [json.loads(each) for each in journal.last(limit, task_id)]


def lines(data):
    return [json.loads(each) for each in (data / "terminal_log.jsonl").read_bytes().splitlines()]


def test_a_finished_run_is_one_line_with_the_fields_of_the_contract(journal, record, data):
    journal.started(record(1, task_id="T-1"))
    journal.finished(record(1, task_id="T-1", exit_code=3, duration=0.5, decision="allow", cwd="/tmp",
                            tool_calls=(ToolCall("ls", {"path": "."}),)))
    line = lines(data)[0]
    assert list(line) == ["timestamp", "agent", "step", "direction", "command", "tool_calls", "reason", "output",
                          "exit_code", "returncode", "task_id", "duration", "id", "state", "decision", "cwd", "prev", "hash"]
    assert line["exit_code"] == line["returncode"] == 3 and line["direction"] == "exec" and line["step"] == 1
    assert line["tool_calls"] == [{"name": "ls", "args": {"path": "."}}]
    assert unfinished(data) == 0
    assert served(journal) == [line]


def test_files_are_for_their_owner_only(journal, record, data):
    journal.started(record(1))
    assert {path.stat().st_mode & 0o777 for path in data.iterdir()} == {0o600} and data.stat().st_mode & 0o777 == 0o700


def test_an_intent_is_on_disk_before_the_run(journal, record, data):
    assert unfinished(data) == 0
    journal.started(record(1, command="echo token=abc"))
    assert unfinished(data) == 1
    line = json.loads((data / "started.jsonl").read_bytes())
    assert line["id"] == "run-1" and line["command"] == "echo token=********"
    assert served(journal) == []


def test_steps_are_counted_per_task(journals, record):
    first = journals()
    assert [first.finished(record(n, task_id="A")).step for n in range(3)] == [1, 2, 3]
    assert first.finished(record(9, task_id="B")).step == 1 and first.finished(record(10)).step == 0
    first.close()
    again = journals()
    assert again.finished(record(11, task_id="A")).step == 4 and again.finished(record(12, task_id="B")).step == 2


def test_secrets_do_not_reach_the_disk(journal, record, data):
    hidden = record(1, command="curl -H 'Authorization: Bearer abcdef12345'", output="x known-secret y", reason="known-secret",
                    cwd="/known-secret", tool_calls=(ToolCall("t", {"password": "pw", "list": ["known-secret"]}),))
    journal.started(hidden)
    journal.finished(hidden)
    stored = b"".join(path.read_bytes() for path in data.iterdir())
    assert b"known-secret" not in stored and b"abcdef12345" not in stored and b'"pw"' not in stored


def test_a_long_output_keeps_head_and_tail(journal, record):
    kept = journal.finished(record(1, output="ä" * 40_000 + "m" * 100_000 + "end", output_cut=7))
    assert len(kept.output.encode()) <= 64 << 10 and kept.output.startswith("ää") and kept.output.endswith("mmend")
    cut = kept.output_cut - 7
    assert f"[… {cut} bytes cut …]" in kept.output
    head, _, end = kept.output.partition(f"\n[… {cut} bytes cut …]\n")
    assert len(head.encode()) + len(end.encode()) + cut == 180_003


@pytest.mark.parametrize("text", ["\ud800 lone", "a\nb\r\n\u2028c", "\x00\x1b[31m", "\U0001f600", "</script>"])
def test_any_text_can_be_stored_and_served(journal, record, text):
    journal.finished(record(1, command=text, output=text, cwd=text, task_id=text, tool_calls=(ToolCall(text, {text: text}),)))
    plain = text.encode("utf-8", "replace").decode()
    assert served(journal)[0]["output"] == plain and len(served(journal, task_id=plain)) == 1


def test_the_last_ones_in_order_of_time(journals, record):
    journal = journals(start=True)
    for number in range(250):
        journal.finished(record(number, task_id=f"T-{number % 2}"))
    assert [each["id"] for each in served(journal, 100)] == [f"run-{n}" for n in range(150, 250)]
    assert [each["id"] for each in served(journal, 3, "T-1")] == ["run-245", "run-247", "run-249"]
    assert served(journal, 5, "T-none") == []


def test_reads_are_the_same_with_and_without_the_index(journals, record, data, eventually):
    journal = journals()
    for number in range(50):
        journal.finished(record(number, task_id=f"T-{number % 3}"))
    before = [journal.last(limit, task) for limit in (1, 7, 100) for task in (None, "T-1")]
    journal.start()
    eventually(lambda: journal.count() == 50)
    assert before == [journal.last(limit, task) for limit in (1, 7, 100) for task in (None, "T-1")]
    assert before == [tail(data, limit, task) for limit in (1, 7, 100) for task in (None, "T-1")]


def test_a_file_of_another_program_is_imported(journals, foreign, record, data, eventually):
    foreign(data / "terminal_log.jsonl", *({"command": f"c{n}", "task_id": f"T-{n % 10}", "exit_code": n % 3} for n in range(20_000)))
    journal = journals()
    journal.finished(record(1, task_id="T-3"))
    tasks = [served(journal, 3, "T-3")]
    assert journal.importing() and journal.count() == 0
    assert [each["command"] for each in tasks[0]] == ["c19983", "c19993", "echo 1"]
    assert all(each["exit_code"] == each["returncode"] for each in served(journal))
    journal.start()
    while journal.count() < 20_001:
        tasks.append(served(journal, 3, "T-3"))
    eventually(lambda: not journal.importing())
    assert all(each == tasks[0] for each in tasks) and served(journal, 3, "T-3") == tasks[0]


def test_an_import_goes_on_after_a_stop(journals, foreign, data, eventually):
    foreign(data / "terminal_log.jsonl", *({"command": f"c{n}"} for n in range(40_000)))
    first = journals(start=True)
    eventually(lambda: first.count())
    first.close()
    second = journals(start=True)
    eventually(lambda: second.count() == 40_000)
    assert [row[0] for row in database.rows("SELECT seq FROM journal ORDER BY seq")] == list(range(1, 40_001))


def test_lines_of_the_reference_layout_are_served_as_one(journals, foreign, data, eventually):
    foreign(data / "terminal_log.jsonl",
            {"timestamp": 1, "direction": "out", "task_id": "A", "step": 1, "command": "one", "reason": "r"},
            {"timestamp": 2, "direction": "out", "task_id": "B", "step": 1, "command": "two"},
            {"timestamp": 3, "direction": "in", "task_id": "A", "step": 1, "output": "first", "returncode": 4},
            b"not json\n", b"[1]\n", b"\n", b'{"command": "latin \xe4"}\n', {"timestamp": "noon", "step": "x", "exit_code": "0"},
            {"timestamp": 4, "direction": "in", "task_id": "B", "step": 1, "output": "second", "exit_code": 0},
            {"timestamp": 5, "direction": "out", "task_id": "B", "step": 2, "command": "three"})
    journal = journals()
    direct = served(journal)
    a = served(journal, 10, "A")
    assert len(a) == 1 and a[0]["command"] == "one" and a[0]["output"] == "first" and a[0]["direction"] == "exec"
    assert a[0]["exit_code"] == a[0]["returncode"] == 4 and a[0]["reason"] == "r" and a[0]["timestamp"] == 3
    assert [each.get("command") for each in direct] == ["one", "latin \ufffd", None, "two", "three"]
    journal.start()
    eventually(lambda: journal.count() == 5)
    assert served(journal) == direct
    foreign(data / "terminal_log.jsonl", {"direction": "in", "task_id": "B", "step": 2, "output": "third", "exit_code": 1})
    for limit in (1, 2, 10):
        latest = served(journal, limit, "B")[-1]
        assert latest["command"] == "three" and latest["output"] == "third" and latest["returncode"] == 1
    journal.close()
    assert served(journals(), 10, "B") == served(journals(), 10, "B") and len(served(journals(), 10, "B")) == 2


def test_a_half_line_of_another_program_does_not_swallow_ours(journal, record, foreign, data):
    journal.finished(record(1))
    foreign(data / "terminal_log.jsonl", b'{"command": "half')
    journal.finished(record(2))
    assert [each["id"] for each in served(journal)] == ["run-1", "run-2"]


def test_the_log_is_rotated_by_size_and_read_across_files(journals, record, data, eventually):
    journal = journals(start=True, rotate_bytes=2000)
    for number in range(60):
        journal.finished(record(number, task_id="T"))
    assert (data / "terminal_log.000001.jsonl").exists() and (data / "terminal_log.000003.jsonl").exists()
    assert all(path.stat().st_size <= 2000 for path in data.glob("terminal_log*.jsonl"))
    ids = [f"run-{n}" for n in range(60)]
    assert [each["id"] for each in served(journal)] == ids
    eventually(lambda: journal.count() == 60)
    assert [each["id"] for each in served(journal, 60, "T")] == ids == [json.loads(each)["id"] for each in tail(data, 60, "T")]
    journal.close()
    again = journals(rotate_bytes=2000)
    assert again.finished(record(60, task_id="T")).step == 61
    assert [each["id"] for each in served(again, 2)] == ["run-59", "run-60"]


def test_a_file_cut_or_replaced_by_others_is_indexed_anew(journals, record, foreign, data, eventually):
    journal = journals(start=True)
    for number in range(10):
        journal.finished(record(number, task_id="T"))
    eventually(lambda: journal.count() == 10)
    path = data / "terminal_log.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    assert [each["id"] for each in served(journal, 100, "T")] == [f"run-{n}" for n in range(4)]
    journal.finished(record(20, task_id="T"))
    eventually(lambda: journal.count() == 5)
    assert [each["id"] for each in served(journal)] == ["run-0", "run-1", "run-2", "run-3", "run-20"]
    path.unlink()
    journal.finished(record(21))
    eventually(lambda: journal.count() == 1)
    assert [each["id"] for each in served(journal)] == ["run-21"]


def test_many_threads_append_whole_lines_in_one_chain(journals, record, data):
    journal = journals(start=True)

    def work(which):
        for number in range(25):
            run = record(f"{which}-{number}", task_id=f"T-{number % 2}", output="x" * 3000)
            journal.started(run)
            journal.finished(run)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    stored = lines(data)
    assert len(stored) == 200 and all(after["prev"] == before["hash"] for before, after in pairwise(stored))
    for task in ("T-0", "T-1"):
        assert sorted(each["step"] for each in stored if each["task_id"] == task) == list(range(1, 1 + sum(
            each["task_id"] == task for each in stored)))
    assert unfinished(data) == 0 and journals().lost == []


def test_unfinished_counts_what_began_and_has_no_record_and_changes_nothing(journal, record, data, foreign):
    for number in range(5):
        journal.started(record(number, task_id="T"))
    journal.finished(record(1))
    journal.finished(record(3))
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    assert unfinished(data) == 3
    assert before == {path.name: path.read_bytes() for path in data.iterdir()}
    # What cannot be read is no run, and a run begun twice is one.
    twice = (data / "started.jsonl").read_bytes().splitlines(keepends=True)[0]
    foreign(data / "started.jsonl", b"not json\n", b"[1]\n", b'{"id": 7}\n', twice, b'{"id": "torn')
    assert unfinished(data) == 3
    for number in (0, 2, 4):
        journal.finished(record(number))
    assert unfinished(data) == 0
    assert unfinished(data / "nothing") == 0 and not (data / "nothing").exists()


def test_unfinished_finds_records_in_files_that_are_full(journals, record, data):
    journal = journals(rotate_bytes=2000)
    journal.started(record("waits"))
    journal.started(record("early"))
    journal.finished(record("early"))
    for number in range(30):
        journal.started(record(number))
        journal.finished(record(number))
    assert (data / "terminal_log.000002.jsonl").exists() and unfinished(data) == 1


def test_what_was_begun_is_forgotten_once_it_is_much_and_nothing_runs(journal, record, data):
    journal.started(record("first", command="c" * EMPTY_BYTES))
    journal.started(record("second"))
    journal.finished(record("first"))
    assert (data / "started.jsonl").stat().st_size > EMPTY_BYTES and unfinished(data) == 1
    journal.finished(record("second"))
    assert (data / "started.jsonl").read_bytes() == b"" and unfinished(data) == 0


def test_intents_are_compacted_while_something_runs(journal, record, data):
    journal.started(record("long"))
    for number in range(60):
        run = record(number, command="c" * 40_000)
        journal.started(run)
        journal.finished(run)
    content = (data / "started.jsonl").read_bytes()
    assert len(content) < 2 << 20 and json.loads(content.splitlines()[0])["id"] == "run-long"


def test_tail_needs_no_database(tmp_path, foreign):
    foreign(tmp_path / "terminal_log.jsonl", {"command": "a", "task_id": "T"}, {"command": "b"})
    assert [json.loads(each)["command"] for each in tail(tmp_path, 5)] == ["a", "b"]
    assert [json.loads(each)["command"] for each in tail(tmp_path, 5, "T")] == ["a"]
    assert tail(tmp_path / "nothing", 5) == []
    assert not list(tmp_path.glob("ananta*"))


def test_the_clock_is_an_argument(data, record):
    journal = Journal(data, agent="here", mask=str, now=lambda: 5.0)
    assert journal.open() == []
    journal.close()
