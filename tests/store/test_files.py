import os
import threading

import pytest

from ananta.errors import JournalFailed, StoreFailed
from ananta.store import files


def test_replace_makes_the_whole_content_for_the_owner_only(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    files.replace(path, b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600 and list(tmp_path.iterdir()) == [path]


def test_a_failed_replacement_leaves_the_old_content(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(StoreFailed, match="cannot be written"):
        files.replace(tmp_path / "file", b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_readers_see_the_old_or_the_new_content(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([letter]) * 100_000 for letter in b"ab"]
    files.replace(path, contents[0])
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(40):
        files.replace(path, contents[number % 2])
    stop.set()
    reader.join()
    assert seen <= set(contents)


def test_a_line_that_cannot_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(JournalFailed, match=str(path)):
            files.append_line(fd, b"second\n", path)
    finally:
        os.close(fd)
    assert path.read_bytes() == b"first\n"
