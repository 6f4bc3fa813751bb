"""Every kind of tampering is found, named, and told from the others."""
import hashlib
import json

import pytest

from ananta.store import chain, database
from ananta.store.verification import ALTERED, INSERTED, REMOVED, verify


@pytest.fixture
def log(journals, record, data, foreign):
    """Ten records of ours, indexed, and closed."""
    def make(*, indexed=True, before=(), **options):
        foreign(data / "terminal_log.jsonl", *before)
        journal = journals(**options)
        for number in range(10):
            journal.finished(record(number, task_id="T"))
        journal.close()
        if not indexed:
            database.close()
            (data / "ananta.db").unlink()
        return data / "terminal_log.jsonl"
    return make


def edit(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def sealed(line, prev=None, **fields):
    """The line with other fields and a hash that fits."""
    record = json.loads(line) | fields
    record.pop("hash")
    return chain.seal({key: value for key, value in record.items() if key != "prev"}, prev or record["prev"])[0]


def found(data):
    finding = verify(data).finding
    return finding and (finding.kind, finding.id)


def test_the_hash_is_that_of_the_bytes_before_it(log):
    first, second = log().read_bytes().splitlines()[:2]
    body, _, rest = first.rpartition(b',"hash":"')
    assert hashlib.sha256(body + b"}").hexdigest().encode() + b'"}' == rest
    assert json.loads(first)["prev"] == "0" * 64 and json.loads(second)["prev"] == json.loads(first)["hash"]


@pytest.mark.parametrize("indexed", [True, False])
def test_an_untouched_log_is_sound(log, data, indexed):
    log(indexed=indexed, before=({"command": "old"}, b"broken\n"))
    result = verify(data)
    assert result.ok and (result.lines, result.chained, result.unchained) == (12, 10, 2)


@pytest.mark.parametrize("indexed", [True, False])
def test_an_altered_record_is_named(log, data, indexed):
    def change(lines):
        lines[4] = lines[4].replace(b"echo 4", b"echo 5")
    edit(log(indexed=indexed), change)
    finding = verify(data).finding
    assert (finding.kind, finding.id, finding.file, finding.line) == (ALTERED, "run-4", "terminal_log.jsonl", 5)
    assert finding.timestamp == 1000.0 and finding.command == ("echo 4" if indexed else "echo 5")


def test_an_altered_record_with_a_new_hash_is_named(log, data):
    def change(lines):
        lines[4] = sealed(lines[4], command="rm")
    edit(log(), change)
    finding = verify(data).finding
    assert (finding.kind, finding.id, finding.line, finding.command) == (ALTERED, "run-4", 5, "echo 4")


def test_a_log_rewritten_to_its_end_is_found_by_the_index(log, data):
    def change(lines):
        prev = None
        for number in range(4, 10):
            lines[number] = sealed(lines[number], prev, output="other")
            prev = json.loads(lines[number])["hash"]
    edit(log(), change)
    assert found(data) == (ALTERED, "run-4")


@pytest.mark.parametrize("which", [0, 4, 8, 9])
def test_a_removed_record_is_named(log, data, which):
    edit(log(), lambda lines: lines.pop(which))
    finding = verify(data).finding
    assert (finding.kind, finding.id, finding.command) == (REMOVED, f"run-{which}", f"echo {which}")


def test_several_removed_records_the_first_is_named(log, data):
    def change(lines):
        del lines[3:6]
    edit(log(), change)
    assert found(data) == (REMOVED, "run-3")


def test_without_the_index_a_removed_record_is_found_by_its_place(log, data):
    edit(log(indexed=False), lambda lines: lines.pop(4))
    finding = verify(data).finding
    assert (finding.kind, finding.id, finding.line) == (REMOVED, None, 5)


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("fits", [True, False])
def test_an_inserted_record_is_named(log, data, indexed, own, fits):
    def change(lines):
        line = sealed(lines[0], json.loads(lines[3])["hash"] if fits else "1" * 64, id="planted") if own else b'{"id": "planted"}\n'
        lines.insert(4, line)
    edit(log(indexed=indexed), change)
    assert found(data) == (INSERTED, "planted")


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("at", [5, 10])
def test_a_record_copied_to_another_place_is_inserted(log, data, indexed, at):
    edit(log(indexed=indexed), lambda lines: lines.insert(at, lines[2]))
    finding = verify(data).finding
    assert (finding.kind, finding.id, finding.line) == (INSERTED, "run-2", at + 1)


def test_a_cut_off_end_is_found_also_after_the_service_has_gone_on(log, data, journals, record):
    def change(lines):
        del lines[7:]
    edit(log(), change)
    assert found(data) == (REMOVED, "run-7")
    journal = journals()
    journal.finished(record(20))
    journal.close()
    assert found(data) == (REMOVED, "run-7")


OLD = tuple({"id": f"old-{n}", "command": f"c{n}"} for n in range(5))


def test_lines_of_other_programs_are_compared_with_the_index(log, data):
    path = log(before=OLD)
    whole = path.read_bytes()

    def check(change, expected):
        path.write_bytes(whole)
        edit(path, change)
        assert found(data) == expected

    check(lambda lines: lines.__setitem__(2, lines[2].replace(b"c2", b"c9")), (ALTERED, "old-2"))
    check(lambda lines: lines.pop(2), (REMOVED, "old-2"))
    check(lambda lines: lines.insert(2, b'{"id": "planted"}\n'), (INSERTED, "planted"))
    check(lambda lines: lines.__setitem__(7, b'{"id": "run-2"}\n'), (ALTERED, "run-2"))


def test_full_files_are_part_of_the_chain(log, data):
    path = log(rotate_bytes=1000)
    assert verify(data).ok and len(list(data.glob("terminal_log.0*.jsonl"))) > 2
    second = data / "terminal_log.000002.jsonl"
    content = second.read_bytes()
    names = [json.loads(line)["id"] for line in content.splitlines()]
    second.write_bytes(content.replace(b"echo", b"ECHO", 1))
    finding = verify(data).finding
    assert (finding.kind, finding.file, finding.id) == (ALTERED, second.name, names[0])
    second.unlink()
    assert found(data) == (REMOVED, names[0])
    (data / "terminal_log.000001.jsonl").unlink()
    result = verify(data)
    assert result.ok and result.missing == ("terminal_log.000001.jsonl", "terminal_log.000002.jsonl")
    assert path.exists()


def test_it_may_run_beside_the_service(journals, record, data):
    journal = journals(start=True, rotate_bytes=3000)
    for number in range(60):
        journal.finished(record(number))
        assert verify(data).ok


def test_nothing_is_sound_too(tmp_path):
    assert verify(tmp_path).ok and list(tmp_path.iterdir()) == []


def test_a_line_planted_behind_ours_is_found_also_when_it_was_indexed_since(data, log):
    path = log()
    with path.open("ab") as file:
        file.write(b'{"command": "planted", "timestamp": 1, "exit_code": 0, "output": "", "task_id": null}\n')
    finding = verify(data).finding
    assert finding.kind == INSERTED and finding.command == "planted"
