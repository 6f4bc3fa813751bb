import hashlib

import pytest

from ananta.domain.proposals import ENDS, EXPIRED, FOLLOWS, OPEN, REFUSED, RUN, StoredProposal, digest


def test_the_digest_is_one_that_others_can_compute():
    assert digest("ls -l", "/tmp", "T-1", "here") == hashlib.sha256(b'["ls -l","/tmp","T-1","here"]').hexdigest()
    assert digest("echo ü", "/", "", "") == hashlib.sha256('["echo ü","/","",""]'.encode()).hexdigest()


CASES = [
    ("ls", "/tmp", "T", "here"), ("ls ", "/tmp", "T", "here"), ("ls", "/tmp/", "T", "here"), ("ls", "/tmp", "t", "here"),
    ("ls", "/tmp", "T", "there"), ("ls/tmp", "", "T", "here"), ("ls", "/tmpT", "", "here"), ("", "ls", "/tmp", "There"),
    ('ls","/tmp', "", "T", "here"), ("ls", '/tmp","T', "", "here"), ("ls\n", "/tmp", "T", "here"), ("ls\0", "/tmp", "T", "here"),
    ("ls \udcff", "/tmp", "T", "here"), ("ls \udcfe", "/tmp", "T", "here"), ("ls \\udcff", "/tmp", "T", "here"),
    ("ls ?", "/tmp", "T", "here"), ("ls \U0001f600", "/tmp", "T", "here"), ("ls \ud83d\ude00", "/tmp", "T", "here"),
    ("ls é", "/tmp", "T", "here"), ("ls e\u0301", "/tmp", "T", "here"),
]


def test_what_differs_has_another_digest():
    assert len({digest(*case) for case in CASES}) == len(CASES)


def test_an_open_proposal_ends_in_one_of_three_ways_and_stays_there():
    assert set(FOLLOWS[OPEN]) == {RUN, REFUSED, EXPIRED} == set(ENDS)
    assert len(set(FOLLOWS)) == 4 and all(not FOLLOWS[end] for end in ENDS)


@pytest.mark.parametrize(("state", "now", "waits"), [
    (OPEN, 99, True), (OPEN, 100, False), (OPEN, 101, False), (RUN, 50, False), (REFUSED, 50, False), (EXPIRED, 50, False)])
def test_only_an_open_one_can_be_decided_and_only_in_time(state, now, waits):
    proposal = StoredProposal(
        id="p", digest="", command="ls", cwd="/", session="", target="here", task_id=None, prompt="", reason="",
        decision="ask", reasons=(), model=None, created_at=0, expires_at=100, state=state)
    assert proposal.waits(now) is waits
