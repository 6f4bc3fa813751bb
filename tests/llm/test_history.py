"""The file of model statistics."""
import json
import os
import stat

import pytest

from ananta.llm.history import MAX_MODELS, History


@pytest.fixture
def path(tmp_path):
    return tmp_path / "llm_model_history.json"


def test_the_file_has_the_documented_form(path):
    history = History(path, now=lambda: 1000.5)
    history.record("m", success=True)
    history.record("m", success=False)
    assert json.loads(path.read_text()) == {"models": {"m": {
        "success": 1, "fail": 1, "last_success": 1000.5, "last_fail": 1000.5, "last_used": 1000.5,
        "first_seen": 1000.5}}}
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_it_is_read_again(path):
    History(path).record("m", success=True)
    again = History(path)
    again.record("m", success=True)
    assert again.entries()[0]["success"] == 2


def test_entries_are_newest_first_and_readable(path):
    times = iter([100.0, 200.0])
    history = History(path, now=lambda: next(times))
    history.record("old", success=True)
    history.record("new", success=False)
    first, second = history.entries()
    assert (first["id"], first["model"], first["provider"]) == ("new", "new", "lmstudio")
    assert first["last_success"] is None and first["last_seen"] == "1970-01-01T00:03:20+00:00"
    assert second["id"] == "old"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"models": []}', b"\xff", b"[" * 100_000, b" " * 2_000_000])
def test_a_damaged_file_counts_as_empty(path, content, caplog):
    path.write_bytes(content)
    history = History(path)
    assert history.entries() == [] and "counts as empty" in caplog.text
    history.record("m", success=True)
    assert History(path).entries()[0]["success"] == 1


def test_strange_values_count_as_none(path):
    path.write_text('{"models": {"a": {"success": "x", "fail": -1, "last_used": 1e300}, "b": 5}}')
    assert [(each["id"], each["success"], each["fail"], each["last_seen"]) for each in History(path).entries()] == [
        ("a", 0, 0, None)]


def test_a_folder_that_is_gone_is_no_error(tmp_path, caplog):
    history = History(tmp_path / "gone" / "file.json")
    for _ in range(2):
        history.record("m", success=True)
    assert caplog.text.count("cannot be written") == 1 and history.entries()[0]["success"] == 2


def test_it_does_not_grow_without_end(path):
    history = History(None)
    for number in range(MAX_MODELS + 5):
        history.record(f"m{number}", success=True)
    assert len(history.entries()) == MAX_MODELS


def test_better_models_rate_higher():
    history = History(None)
    history.record("good", success=True)
    history.record("bad", success=False)
    assert history.rating("good") > history.rating("unknown") > history.rating("bad")
