import threading
import time

from ananta.web.threads import Dispatcher
from tests.conftest import WAIT_S


class Noted:
    """A task that notes the thread it is served by, and waits there until it may go on."""

    def __init__(self, may_end: threading.Event):
        self.may_end, self.begun, self.thread = may_end, threading.Event(), ""

    def service(self) -> None:
        self.thread = threading.current_thread().name
        self.begun.set()
        self.may_end.wait(WAIT_S)

    def cancel(self) -> None:
        raise AssertionError("no task is left over")


def served(dispatcher: Dispatcher, count: int) -> list[str]:
    may_end = threading.Event()
    tasks = [Noted(may_end) for _ in range(count)]
    for task in tasks:
        dispatcher.add_task(task)
    for task in tasks:
        assert task.begun.wait(WAIT_S)
    may_end.set()
    until = time.monotonic() + WAIT_S
    while dispatcher.active_count and time.monotonic() < until:
        time.sleep(0.005)
    assert dispatcher.active_count == 0
    return [task.thread for task in tasks]


def test_the_thread_that_was_busy_last_is_busy_next_and_all_can_be_busy_at_once():
    dispatcher = Dispatcher(8)
    try:
        assert len({thread for _ in range(20) for thread in served(dispatcher, 1)}) <= 2
        assert len(set(served(dispatcher, 8))) == 8
        late, may_end = Noted(threading.Event()), threading.Event()
        busy = [Noted(may_end) for _ in range(8)]
        for task in (*busy, late):
            dispatcher.add_task(task)
        assert all(task.begun.wait(WAIT_S) for task in busy) and not late.begun.is_set()
        late.may_end.set()
        may_end.set()
        assert late.begun.wait(WAIT_S)
    finally:
        dispatcher.shutdown(timeout=WAIT_S)
    assert not dispatcher.threads
