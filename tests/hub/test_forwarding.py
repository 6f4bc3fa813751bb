"""What a hub makes of what workers answer, and of what they do not."""
import socket
import threading

import pytest

from ananta.errors import ApprovalRequired, Busy, CommandDenied, Conflict, ForwardingFailed, InvalidInput
from ananta.hub.forwarding import OutcomeUnknown, Workers
from tests.hub.stranger import Stranger, reply

TOKEN = "token-of-the-worker"
PROPOSAL = {"reason": "because", "command": "ls", "tool_calls": None, "raw": "x"}
DONE = {"output": "hi", "stdout": "hi", "stderr": "", "exit_code": 0, "task_id": None, "status": "completed", "id": "run-1"}
GUARD_S = 60


@pytest.fixture
def stranger():
    """Starts such servers: stranger(answer)."""
    running = []

    def begin(answer):
        running.append(Stranger(answer))
        return running[-1]

    yield begin
    for each in running:
        each.close()


@pytest.fixture
def workers():
    calls = Workers(own_urls=lambda: frozenset({"http://localhost:5000"}), per_worker=4,
                    mask=lambda text: text.replace("hub-secret", "********"))
    calls.pauses_s = (0.05,) * 4
    yield calls
    calls.close()


def test_an_answer_comes_back_as_it_is(stranger, workers):
    worker = stranger(lambda number, request, connection: reply(PROPOSAL if "propose" in request["path"] else DONE))
    assert workers.propose(worker.url, [TOKEN], {"prompt": "p", "task_id": "T-1"}, timeout_s=GUARD_S) == PROPOSAL
    assert workers.execute(worker.url, [TOKEN], {"command": "ls"}, idempotency_key="k-1", timeout_s=5) == DONE
    first, second = worker.requests
    assert (first["method"], first["path"], first["body"]) == ("POST", "/step/propose", {"prompt": "p", "task_id": "T-1"})
    assert first["headers"]["authorization"] == f"Bearer {TOKEN}" and "idempotency-key" not in first["headers"]
    assert second["path"] == "/step/execute" and second["headers"]["idempotency-key"] == "k-1"
    assert worker.connections == 1


def test_without_a_token_none_is_sent(stranger, workers):
    worker = stranger(lambda *_: reply(PROPOSAL))
    workers.propose(worker.url, [None], {}, timeout_s=GUARD_S)
    assert "authorization" not in worker.requests[0]["headers"]


def test_an_envelope_is_opened(stranger, workers):
    worker = stranger(lambda *_: reply({"status": "success", "data": PROPOSAL, "message": "ok"}))
    assert workers.propose(worker.url, [TOKEN], {}, timeout_s=GUARD_S) == PROPOSAL


def test_a_gigabyte_is_not_read(stranger, workers):
    sent = []

    def flood(number, request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(1024):
            connection.sendall(b" " * (1 << 20))
            sent.append(1)

    worker = stranger(flood)
    with pytest.raises(ForwardingFailed, match="more than 16 MiB"):
        workers.propose(worker.url, [TOKEN], {}, timeout_s=GUARD_S)
    assert len(sent) < 100


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
                                  b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""])
def test_a_dripping_answer_is_cut_off_as_a_whole(stranger, workers, part):
    over = threading.Event()

    def drip(number, request, connection):
        connection.sendall(part)
        while not over.wait(0.05):
            connection.sendall(b" " if part else b"")

    worker = stranger(drip)
    try:
        with pytest.raises(ForwardingFailed, match="no answer in time"):
            workers.propose(worker.url, [TOKEN], {}, timeout_s=0.5)
    finally:
        over.set()


def test_a_redirect_is_not_followed(stranger, workers):
    other = stranger(lambda *_: reply(PROPOSAL))
    worker = stranger(lambda *_: reply(b"", 307, [f"Location: {other.url}/step/propose"]))
    with pytest.raises(ForwardingFailed, match="redirect"):
        workers.propose(worker.url, [TOKEN], {}, timeout_s=GUARD_S)
    assert other.requests == []


def test_proxies_and_netrc_of_the_environment_do_not_count(stranger, workers, monkeypatch, tmp_path):
    other = stranger(lambda *_: reply(b"", 500))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, other.url)
    worker = stranger(lambda *_: reply(PROPOSAL))
    assert workers.propose(worker.url, [TOKEN], {}, timeout_s=GUARD_S) == PROPOSAL
    assert other.connections == 0 and worker.requests[0]["headers"]["authorization"] == f"Bearer {TOKEN}"


def test_what_a_worker_says_is_shown_without_secrets_and_cut(stranger, workers):
    told = {"code": "x_failed", "message": f"{TOKEN} and hub-secret " + "y" * 10_000}
    worker = stranger(lambda *_: reply(told, 500))
    with pytest.raises(ForwardingFailed) as failure:
        workers.propose(worker.url, [TOKEN], {}, timeout_s=GUARD_S)
    shown = str(vars(failure.value))
    assert TOKEN not in shown and "hub-secret" not in shown and len(failure.value.message) < 1000


@pytest.mark.parametrize("loss", ["reset", "closed", "half", "gateway", "in_progress"])
def test_a_lost_answer_is_asked_for_with_the_same_key(stranger, workers, loss):
    def lose(number, request, connection):
        if number > 1:
            return reply(DONE)
        if loss == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif loss == "half":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"output\"")
        elif loss == "gateway":
            return reply(b"<html>", 504)
        elif loss == "in_progress":
            return reply({"code": "in_progress", "message": "It runs.", "run_id": "r"}, 409)
        return None

    worker = stranger(lose)
    assert workers.execute(worker.url, [TOKEN], {"command": "x"}, idempotency_key="k", timeout_s=GUARD_S) == DONE
    assert len(worker.requests) == 3 and {each["headers"]["idempotency-key"] for each in worker.requests} == {"k"}
    assert worker.requests[0]["body"] == worker.requests[2]["body"]


def test_an_answer_that_takes_too_long_is_asked_for_again(stranger, workers):
    first_over = threading.Event()

    def slow(number, request, connection):
        if number == 0:
            first_over.wait(GUARD_S)
            return None
        return reply(DONE)

    worker = stranger(slow)
    assert workers.execute(worker.url, [TOKEN], {}, idempotency_key="k", timeout_s=0.3) == DONE
    first_over.set()
    assert len(worker.requests) == 2


def test_a_401_after_a_loss_does_not_say_that_nothing_ran(stranger, workers):
    worker = stranger(lambda number, *_: reply({"code": "unauthorized", "message": "no"}, 401) if number else None)
    with pytest.raises(OutcomeUnknown, match="401"):
        workers.execute(worker.url, [TOKEN], {}, idempotency_key="k", timeout_s=GUARD_S)


def test_nobody_there_is_a_failure_at_once(workers):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ForwardingFailed, match="nothing listens") as failure:
            workers.execute(url, [TOKEN], {}, idempotency_key="k", timeout_s=GUARD_S)
    assert not isinstance(failure.value, OutcomeUnknown)


def test_a_connection_that_was_closed_meanwhile_is_replaced(stranger, workers):
    def once(number, request, connection):
        connection.sendall(reply(PROPOSAL))

    worker = stranger(once)
    for _ in range(3):
        assert workers.propose(worker.url, [TOKEN], {}, timeout_s=GUARD_S) == PROPOSAL
    assert worker.connections == 3 and len(worker.requests) == 3


def test_a_slow_worker_takes_only_its_own_places(stranger, workers):
    go_on, entered = threading.Event(), threading.Semaphore(0)

    def slow(*_):
        entered.release()
        go_on.wait(GUARD_S)
        return reply(PROPOSAL)

    slow_one, quick_one = stranger(slow), stranger(lambda *_: reply(PROPOSAL))
    threads = [threading.Thread(target=workers.propose, args=(slow_one.url, [TOKEN], {}), kwargs={"timeout_s": GUARD_S}) for _ in range(4)]
    try:
        for each in threads:
            each.start()
        for _ in threads:
            assert entered.acquire(timeout=GUARD_S)
        with pytest.raises(Busy) as busy:
            workers.propose(slow_one.url, [TOKEN], {}, timeout_s=GUARD_S)
        assert busy.value.extras["retry_after"] > 0
        assert workers.propose(quick_one.url, [TOKEN], {}, timeout_s=GUARD_S) == PROPOSAL
    finally:
        go_on.set()
        for each in threads:
            each.join()
    assert workers.lane.busy == 0


@pytest.mark.parametrize(("status", "told", "kind"), [
    (403, {"code": "command_denied", "message": "Denied.", "reasons": ["a", "b"]}, CommandDenied),
    (409, {"code": "approval_required", "message": "Ask.", "reasons": ["a"]}, ApprovalRequired),
    (409, {"code": "proposal_used", "message": "Used."}, Conflict), (400, {"code": "command_required", "message": "Give."}, InvalidInput)])
def test_what_a_worker_decides_is_passed_on_without_its_token(stranger, workers, status, told, kind):
    worker = stranger(lambda *_: reply({**told, "message": told["message"] + TOKEN, "reasons": [TOKEN]}, status))
    with pytest.raises(kind) as decided:
        workers.execute(worker.url, [TOKEN], {}, idempotency_key="k", timeout_s=5)
    assert decided.value.code == told["code"] and TOKEN not in str(vars(decided.value)) and len(worker.requests) == 1


@pytest.mark.parametrize("answer", [reply(b"<html>"), reply({"code": "internal_error", "message": "x"}, 500),
                                    reply({"code": "outcome_unknown", "message": "Died."}, 409)])
def test_an_order_of_which_nobody_knows_is_unknown(stranger, workers, answer):
    worker = stranger(lambda *_: answer)
    with pytest.raises(OutcomeUnknown, match="not repeated"):
        workers.execute(worker.url, [TOKEN], {}, idempotency_key="k", timeout_s=GUARD_S)
    assert len(worker.requests) == 1


def test_an_order_whose_answer_never_comes_is_unknown(stranger, workers):
    worker = stranger(lambda *_: None)
    with pytest.raises(OutcomeUnknown):
        workers.execute(worker.url, [TOKEN], {}, idempotency_key="k", timeout_s=GUARD_S)
    assert {each["headers"]["idempotency-key"] for each in worker.requests} == {"k"}


def test_the_next_token_is_tried_when_one_is_not_accepted(stranger, workers):
    worker = stranger(lambda number, request, connection: reply(PROPOSAL) if request["headers"]["authorization"].endswith(
        "previous") else reply({"code": "unauthorized"}, 401))
    assert workers.propose(worker.url, ["new", "previous"], {}, timeout_s=GUARD_S) == PROPOSAL
    with pytest.raises(ForwardingFailed, match="401"):
        workers.propose(worker.url, ["new"], {}, timeout_s=GUARD_S)


@pytest.mark.parametrize("url", ["http://169.254.169.254", "http://metadata.google.internal", "http://2852039166", "http://[::ffff:169.254.169.254]"])
def test_where_a_cloud_keeps_its_secrets_nobody_calls(workers, url):
    with pytest.raises(ForwardingFailed, match="secrets"):
        workers.propose(url, [TOKEN], {}, timeout_s=5)


def test_connections_that_nobody_uses_are_closed(stranger, workers):
    first, second = stranger(lambda *_: reply(PROPOSAL)), stranger(lambda *_: reply(PROPOSAL))
    workers.propose(first.url, [TOKEN], {}, timeout_s=GUARD_S)
    workers._swept_at -= 100
    workers._idle = {place: [(since - 100, each) for since, each in kept] for place, kept in workers._idle.items()}
    workers.propose(second.url, [TOKEN], {}, timeout_s=GUARD_S)
    assert len(workers._idle) == 1


def test_two_agents_behind_one_address_are_not_confused(stranger, workers):
    proxy = stranger(lambda *_: reply(PROPOSAL))
    for name in ("first", "second", "first"):
        workers.propose(f"{proxy.url}/{name}", [f"token-of-{name}"], {}, timeout_s=GUARD_S)
    assert [(each["path"], each["headers"]["authorization"]) for each in proxy.requests] == [
        (f"/{name}/step/propose", f"Bearer token-of-{name}") for name in ("first", "second", "first")]
