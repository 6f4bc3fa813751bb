"""Limits that hubs on one database share."""
import threading

import pytest

from ananta.errors import TooManyRequests
from ananta.store import database
from ananta.store.limits import BAN_FAILURES, Bans, Limit, prune

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def opened(both):
    return both


def refusal(call, *arguments):
    with pytest.raises(TooManyRequests) as refused:
        call(*arguments)
    return refused.value.extras["retry_after"]


def test_so_many_calls_and_no_more_until_the_first_has_left_the_window():
    limit = Limit("test", 3, 60)
    for second in range(3):
        limit.count("a", NOW + second)
    assert refusal(limit.count, "a", NOW + 10) == 50
    assert refusal(limit.check, "a", NOW + 59.9) == 1
    limit.count("a", NOW + 60)
    assert refusal(limit.count, "a", NOW + 60.5) == 1 and refusal(limit.count, "a", NOW + 60.9) == 1


def test_keys_and_scopes_count_for_themselves():
    first, second = Limit("one", 1, 60), Limit("two", 1, 60)
    first.count("a", NOW)
    first.count("b", NOW)
    second.count("a", NOW)
    refusal(first.count, "a", NOW)
    refusal(Limit("one", 1, 60).count, "a", NOW)


def test_checking_counts_nothing_and_clearing_forgets():
    limit = Limit("test", 1, 60)
    for _ in range(3):
        limit.check("a", NOW)
    limit.count("a", NOW)
    limit.count("b", NOW)
    limit.clear("a")
    limit.count("a", NOW)
    refusal(limit.check, "b", NOW)


def test_failures_are_counted_beyond_the_limit_too():
    limit = Limit("test", 2, 60)
    assert [limit.failed("a", NOW + each) for each in range(4)] == [1, 2, 3, 4]
    refusal(limit.check, "a", NOW + 4)
    assert limit.failed("a", NOW + 61.5) == 3


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "x" * 10_000, "ü"])
def test_odd_keys_are_counted_like_others(key):
    limit = Limit("test", 1, 60)
    limit.count(key, NOW)
    refusal(limit.count, key, NOW)


def test_calls_at_the_same_moment_are_counted_one_by_one():
    limit, passed, barrier = Limit("test", 5, 60), [], threading.Barrier(12)

    def call():
        barrier.wait()
        try:
            limit.count("a", NOW)
            passed.append(1)
        except TooManyRequests:
            pass
        finally:
            database.close_mine()

    threads = [threading.Thread(target=call) for _ in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(passed) == 5


def test_fifty_failures_in_an_hour_ban_an_address_for_a_day():
    bans = Bans()
    banned = [bans.failed("192.0.2.1", NOW + second) for second in range(BAN_FAILURES)]
    assert banned == [False] * (BAN_FAILURES - 1) + [True]
    bans.check("192.0.2.2", NOW + 60)
    begun = NOW + BAN_FAILURES - 1
    assert refusal(Bans().check, "192.0.2.1", begun + 1) == 24 * 3600 - 1
    assert refusal(bans.check, "192.0.2.1", begun + 24 * 3600 - 1) == 1
    bans.check("192.0.2.1", begun + 24 * 3600)
    assert not bans.failed("192.0.2.1", begun + 24 * 3600)


def test_failures_over_more_than_an_hour_do_not_ban():
    bans = Bans()
    for number in range(BAN_FAILURES - 1):
        bans.failed("192.0.2.1", NOW + number)
    assert not bans.failed("192.0.2.1", NOW + 3601)


def test_what_does_not_count_any_more_is_forgotten():
    limit, bans = Limit("test", 5, 60), Bans()
    limit.count("a", NOW)
    limit.count("b", NOW + 3000)
    for _ in range(BAN_FAILURES):
        bans.failed("192.0.2.1", NOW)
    assert prune(NOW + 3600) == 1 and prune(NOW + 24 * 3600) == 2
    assert not database.rows("SELECT 1 FROM attempts") and not database.rows("SELECT 1 FROM banned_ips")
