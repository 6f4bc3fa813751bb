import json
import os
import subprocess
import sys

import pytest

from ananta.errors import CannotStart, DirectoryBusy
from ananta.store import directory

HOLD = """
import sys, time
from pathlib import Path
from ananta.store import directory
import os
held = directory.claim(Path(sys.argv[1]), {"pid": os.getpid(), "url": None})
held.update({"pid": os.getpid(), "url": "http://127.0.0.1:5001", "version": "1"})
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_process_is_told_who_holds_it(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(DirectoryBusy, match=rf"process {process.pid}, http://127.0.0.1:5001"):
            directory.claim(tmp_path / "data", {"pid": os.getpid()})
        assert directory.holder(tmp_path / "data") == {"pid": process.pid, "url": "http://127.0.0.1:5001", "version": "1"}
    finally:
        process.kill()
        process.communicate()
    assert json.loads((tmp_path / "data" / "ananta.lock").read_bytes())["pid"] == process.pid
    assert directory.holder(tmp_path / "data") is None
    directory.claim(tmp_path / "data", {"pid": 1}).release()


def test_a_claim_ends_with_release(tmp_path):
    first = directory.claim(tmp_path, {"pid": 1, "url": "a long address that becomes a short one"})
    first.update({"pid": 2})
    assert directory.holder(tmp_path) == {"pid": 2}
    with pytest.raises(DirectoryBusy, match="process 2"):
        directory.claim(tmp_path, {"pid": 3})
    first.release()
    first.release()
    assert directory.holder(tmp_path) is None
    directory.claim(tmp_path, {"pid": 3}).release()


def test_a_made_directory_and_the_lock_are_for_their_owner(tmp_path):
    held = directory.claim(tmp_path / "a" / "data", {})
    assert (tmp_path / "a" / "data").stat().st_mode & 0o777 == 0o700 and held.path.stat().st_mode & 0o777 == 0o600
    held.release()


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="cannot be made"):
        directory.claim(tmp_path / "file" / "data", {})


def test_nobody_holds_what_is_not_there(tmp_path):
    assert directory.holder(tmp_path / "none") is None
    (tmp_path / "ananta.lock").write_text("garbage")
    assert directory.holder(tmp_path) is None
