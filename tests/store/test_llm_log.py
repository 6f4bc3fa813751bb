import json
import logging
import threading

from ananta.domain.redaction import Redactor
from ananta.store.llm_log import LLMLog


def test_a_line_is_masked_and_complete(tmp_path):
    LLMLog(tmp_path / "llm_log.jsonl", mask=Redactor(["known-secret"]), now=lambda: 5.0).write(
        "llm_request", request_id="r", prompt="known-secret \ud800", history=[{"api_key": "abc"}], stream=False)
    path = tmp_path / "llm_log.jsonl"
    assert json.loads(path.read_bytes()) == {"timestamp": 5.0, "event": "llm_request", "request_id": "r", "prompt": "******** ?",
                                             "history": [{"api_key": "********"}], "stream": False}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failure_stays_here_and_is_told_once(tmp_path, caplog):
    (tmp_path / "llm_log.jsonl").mkdir()
    log = LLMLog(tmp_path / "llm_log.jsonl", mask=str)
    with caplog.at_level(logging.WARNING):
        log.write("a")
        log.write("b")
        log.write("c", odd=object())
    assert len(caplog.records) == 1 and "cannot be written" in caplog.text


def test_full_files_are_kept_for_a_while(tmp_path):
    log = LLMLog(tmp_path / "llm_log.jsonl", mask=str, rotate_bytes=400, keep=2)
    for number in range(60):
        log.write("event", number=number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llm_log.1.jsonl", "llm_log.2.jsonl", "llm_log.jsonl"]
    kept = [json.loads(line)["number"] for name in ("llm_log.2.jsonl", "llm_log.1.jsonl", "llm_log.jsonl")
            for line in (tmp_path / name).read_bytes().splitlines()]
    assert kept == list(range(kept[0], 60)) and all(path.stat().st_size <= 400 for path in tmp_path.iterdir())


def test_threads_write_whole_lines(tmp_path):
    log = LLMLog(tmp_path / "llm_log.jsonl", mask=str)
    threads = [threading.Thread(target=lambda: [log.write("e", text="x" * 5000) for _ in range(50)]) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len([json.loads(line) for line in (tmp_path / "llm_log.jsonl").read_bytes().splitlines()]) == 300
