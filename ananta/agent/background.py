"""Jobs that are done again and again beside the work, each in a thread of its own while it runs."""
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ananta.errors import AnantaError, StoreFailed
from ananta.store import database, leases

log = logging.getLogger(__name__)
STOP_S = 2.0
# A job that fails is tried again after this, then after twice as long, up to its interval.
RETRY_S = 10.0
ERROR_CHARS = 300


@dataclass(frozen=True)
class Job:
    """work: done every every_s seconds, the first time after first_s; alone: by one of the processes that share a
    database, not by each."""

    name: str
    work: Callable[[], object]
    every_s: float
    first_s: float
    alone: bool = False


@dataclass(frozen=True)
class JobReport:
    """How a job stands. interval, duration: seconds; last_run, next_run: epoch seconds; error: what its last run failed
    with; elsewhere: another process that shares the database does it."""

    name: str
    interval: float
    last_run: float | None
    duration: float | None
    error: str | None
    next_run: float
    running: bool
    elsewhere: bool


class _State:
    def __init__(self, job: Job):
        self.job = job
        self.due = time.monotonic() + job.first_s
        self.wanted: float | None = None  # earlier than due
        self.last_run: float | None = None
        self.duration: float | None = None
        self.error: str | None = None
        self.failures = 0
        self.elsewhere = False
        self.thread: threading.Thread | None = None

    def next(self) -> float:
        return self.due if self.wanted is None else min(self.due, self.wanted)


class Jobs:
    """Does all jobs. `stopping` is set when one that takes long should end early."""

    def __init__(self, jobs: Iterable[Job], *, stopping: threading.Event | None = None, retry_s: float = RETRY_S,
                 now: Callable[[], float] = time.time):
        self.now, self.retry_s = now, retry_s
        self.stopping = stopping or threading.Event()
        self._states = [_State(each) for each in jobs]
        self._owner = os.urandom(8).hex()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it; jobs that do not hear of that are waited for two seconds at most. What only one may do, another one
        may do at once."""
        self.stopping.set()
        with self._wake:
            self._wake.notify_all()
        until = time.monotonic() + STOP_S
        for thread in [self._thread, *(each.thread for each in self._states)]:
            if thread is not None:
                thread.join(max(0.0, until - time.monotonic()))
        for state in self._states:
            if _shared(state.job) and state.last_run is not None and not state.elsewhere:
                try:
                    leases.give_back(_lease(state.job), self._owner)
                except StoreFailed as failure:
                    log.info("the lease of %s runs out by itself: %s", state.job.name, failure.message)

    def soon(self, name: str, within_s: float) -> None:
        """Brings the next run of a job forward; while it runs, it is done once more after that."""
        with self._wake:
            state = next(each for each in self._states if each.job.name == name)
            state.wanted = min(state.wanted or math.inf, time.monotonic() + within_s)
            self._wake.notify_all()

    def report(self) -> list[JobReport]:
        """Returns how all jobs stand."""
        with self._wake:
            return [JobReport(each.job.name, each.job.every_s, each.last_run, each.duration, each.error,
                              self.now() + max(0.0, each.next() - time.monotonic()), each.thread is not None, each.elsewhere)
                    for each in self._states]

    # ---

    def _run(self) -> None:
        while not self.stopping.is_set():
            with self._wake:
                for state in self._states:
                    if state.thread is None and state.next() <= time.monotonic():
                        state.wanted = None
                        state.thread = threading.Thread(target=self._do, args=(state,), name=state.job.name, daemon=True)
                        state.thread.start()
                waiting = [each.next() for each in self._states if each.thread is None]
                self._wake.wait(max(0.0, min(waiting) - time.monotonic()) if waiting else None)

    def _do(self, state: _State) -> None:
        job, start, began = state.job, time.monotonic(), self.now()
        error, elsewhere = None, False
        try:
            elsewhere = _shared(job) and not leases.take(_lease(job), self._owner, began + 1.5 * job.every_s, began)
            if not elsewhere:
                job.work()
        except Exception as failure:
            error = failure.message if isinstance(failure, AnantaError) else f"{type(failure).__name__}: {failure}"
            if not self.stopping.is_set():
                if isinstance(failure, (AnantaError, OSError)):
                    log.warning("%s: %s", job.name, error)
                else:
                    log.exception("%s failed unexpectedly", job.name)
        database.close_mine()
        with self._wake:
            state.elsewhere, state.thread = elsewhere, None
            state.failures = 0 if error is None else state.failures + 1
            state.error = error and error[:ERROR_CHARS]
            if not elsewhere:
                state.last_run, state.duration = began, time.monotonic() - start
            state.due = time.monotonic() + (job.every_s if error is None else
                                            min(job.every_s, self.retry_s * 2 ** min(state.failures - 1, 20)))
            self._wake.notify_all()


def _shared(job: Job) -> bool:
    return job.alone and database.shared()


def _lease(job: Job) -> str:
    return f"job: {job.name}"
