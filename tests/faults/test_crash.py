"""Killed at random moments under load: nothing runs twice, nothing is missing from the log, nothing is misreported."""
import sys

import pytest

from tests.faults.crash import Crash


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and a POSIX shell")
def test_killed_at_random_moments(tmp_path):
    crash = Crash(tmp_path, rounds=3, seed=3)
    crash.run()
    assert crash.wrong == [], crash.summary
    assert crash.killed_under_load == 3 and any(each.ids() for each in crash.ledger.commands.values())
