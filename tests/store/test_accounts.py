"""Users, their passwords and their refresh tokens, on both databases."""
import subprocess
import sys
import threading

import pytest

from ananta.errors import AccountLocked, InvalidInput, NotFound
from ananta.store import accounts, database

NOW, PASSWORD, OTHER = 1_800_000_000.0, "correct horse battery", "staple of the horse"


@pytest.fixture(autouse=True)
def opened(both, request, monkeypatch):
    # A tenth of a second for each hash is for those who guess; what is true of it is true of a cheap one.
    if "full_price" not in request.keywords:
        monkeypatch.setattr(accounts, "N", 1 << 7)
    return both


def sign_in(username, password, now=NOW):
    attempt = accounts.begin_attempt(username, now)
    done = accounts.succeed(attempt, now) if attempt.right(password) else None
    assert done is None or done[0] == accounts.find(username)
    return done[1] if done else None


def fail(username, times, now=NOW):
    """Tries that nothing came of; a wrong password is no more than that."""
    for _ in range(times):
        accounts.fail(accounts.begin_attempt(username, now), now)


def code_of(call, *arguments, **named):
    with pytest.raises(InvalidInput) as refused:
        call(*arguments, **named)
    return refused.value.code


def test_a_user_signs_in_with_the_password_only():
    user = accounts.add("ada", PASSWORD, "user", NOW)
    assert (user.username, user.role, user.mfa_enabled, user.generation) == ("ada", "user", False, 1)
    assert sign_in("ada", PASSWORD)
    assert sign_in("ada", OTHER) is None and sign_in("Ada", PASSWORD) is None and sign_in("nobody", PASSWORD) is None
    assert accounts.find("ada") == user and accounts.all_by_name() == [user]


@pytest.mark.full_price
def test_neither_passwords_nor_tokens_are_kept_as_they_are():
    accounts.add("ada", PASSWORD, "user", NOW)
    token = sign_in("ada", PASSWORD)
    kept = [*database.rows("SELECT * FROM users"), *database.rows("SELECT * FROM refresh_tokens"),
            *database.rows("SELECT * FROM password_history")]
    assert len(kept) == 3 and PASSWORD not in str(kept) and token not in str(kept)
    accounts.add("bob", PASSWORD, "user", NOW)
    hashes = [row[0] for row in database.rows("SELECT password_hash FROM users")]
    assert len(set(hashes)) == 2 and all(each.startswith("scrypt$16384$8$5$") for each in hashes)


@pytest.mark.full_price
def test_an_unknown_user_costs_the_same_work():
    attempt = accounts.begin_attempt("nobody", NOW)
    assert attempt.password_hash.startswith("scrypt$16384$8$5$") and not attempt.right(PASSWORD)
    assert accounts.fail(attempt, NOW) is False
    assert accounts.succeed(attempt, NOW) is None


def test_a_name_is_taken_once():
    accounts.add("ada", PASSWORD, "user", NOW)
    assert code_of(accounts.add, "ada", OTHER, "admin", NOW) == "user_exists"
    assert accounts.find("ada").role == "user" and sign_in("ada", PASSWORD)


def test_names_that_differ_only_in_capitals_are_the_same_to_people():
    accounts.add("Ada", PASSWORD, "user", NOW)
    for name in ("ada", "ADA"):
        assert code_of(accounts.add, name, OTHER, "admin", NOW) == "user_exists"
    accounts.delete("Ada", NOW)
    assert accounts.add("ada", OTHER, "user", NOW).username == "ada"
    assert code_of(accounts.add, "Ada", OTHER, "user", NOW) == "user_exists"


# --- lock-out


def test_five_failures_lock_the_account_even_for_the_right_password():
    accounts.add("ada", PASSWORD, "user", NOW)
    locks = []
    for _ in range(5):
        locks.append(accounts.fail(accounts.begin_attempt("ada", NOW), NOW))
    assert locks == [False] * 4 + [True]
    with pytest.raises(AccountLocked) as refused:
        accounts.begin_attempt("ada", NOW + 1)
    assert refused.value.extras["retry_after"] == 899 and refused.value.code == "account_locked"
    assert sign_in("ada", PASSWORD, NOW + 900)


def test_after_a_lock_there_are_five_tries_again():
    accounts.add("ada", PASSWORD, "user", NOW)
    fail("ada", 5)
    later = NOW + 901
    fail("ada", 4, later)
    assert sign_in("ada", PASSWORD, later)


def test_a_success_forgets_the_failures():
    accounts.add("ada", PASSWORD, "user", NOW)
    for _ in range(2):
        fail("ada", 4)
        assert sign_in("ada", PASSWORD)


def test_the_fifth_try_may_be_the_right_one():
    accounts.add("ada", PASSWORD, "user", NOW)
    fail("ada", 4)
    assert sign_in("ada", PASSWORD) and sign_in("ada", PASSWORD)


def test_of_failures_at_the_same_moment_one_locks_and_a_right_try_after_that_is_refused():
    accounts.add("ada", PASSWORD, "user", NOW)
    right = accounts.begin_attempt("ada", NOW)
    locked = []

    def attempt():
        try:
            locked.append(accounts.fail(right, NOW))
        finally:
            database.close_mine()

    at_once([attempt] * 12)
    assert sum(locked) == 1 and len(locked) == 12
    with pytest.raises(AccountLocked):
        accounts.succeed(right, NOW)


def test_right_tries_at_the_same_moment_are_all_let_in():
    accounts.add("ada", PASSWORD, "user", NOW)
    tries = [accounts.begin_attempt("ada", NOW) for _ in range(9)]
    assert all(accounts.succeed(each, NOW) for each in tries)


# --- what ends tokens


def test_refresh_tokens_are_given_out_and_stay_valid():
    accounts.add("ada", PASSWORD, "user", NOW)
    first = sign_in("ada", PASSWORD)
    user, second = accounts.refresh(first, rotate=False, now=NOW + 5)
    assert user.username == "ada" and second != first
    assert accounts.refresh(first, rotate=True, now=NOW + 6)[0] == user
    assert code_of(accounts.refresh, first, rotate=False, now=NOW + 7) == "invalid_refresh_token"
    assert accounts.refresh(second, rotate=False, now=NOW + 7)


@pytest.mark.parametrize("token", ["", "unknown", "ü", "\ud800", "a\0b"])
def test_unknown_refresh_tokens_are_refused(token):
    assert code_of(accounts.refresh, token, rotate=True, now=NOW) == "invalid_refresh_token"


def test_a_refresh_token_lasts_seven_days():
    accounts.add("ada", PASSWORD, "user", NOW)
    token = sign_in("ada", PASSWORD)
    week = NOW + 7 * 24 * 3600
    assert accounts.refresh(token, rotate=False, now=week - 1)
    assert code_of(accounts.refresh, token, rotate=False, now=week) == "invalid_refresh_token"
    assert accounts.prune(week) == 1 or accounts.prune(week + 7 * 24 * 3600) >= 1


def ends_by_reset():
    accounts.reset_password("ada", OTHER, NOW)


def ends_by_change():
    attempt = accounts.begin_attempt("ada", NOW)
    assert attempt.right(PASSWORD)
    accounts.change_password(attempt, OTHER, NOW)


def ends_by_deletion():
    accounts.delete("ada", NOW)


@pytest.mark.parametrize("end", [ends_by_reset, ends_by_change, ends_by_deletion])
def test_tokens_end_with_the_password_and_the_user(end):
    accounts.add("ada", PASSWORD, "user", NOW)
    accounts.add("bob", PASSWORD, "admin", NOW)
    token, of_bob = sign_in("ada", PASSWORD), sign_in("bob", PASSWORD)
    before = accounts.standing("ada").generation
    end()
    assert code_of(accounts.refresh, token, rotate=False, now=NOW) == "invalid_refresh_token"
    assert accounts.standing("ada").generation == before + 1 and sign_in("ada", PASSWORD) is None
    assert accounts.refresh(of_bob, rotate=False, now=NOW) and accounts.standing("bob").generation == 1


def test_a_password_that_changed_during_a_try_does_not_let_in():
    accounts.add("ada", PASSWORD, "user", NOW)
    attempt = accounts.begin_attempt("ada", NOW)
    assert attempt.right(PASSWORD)
    accounts.reset_password("ada", OTHER, NOW)
    assert accounts.succeed(attempt, NOW) is None
    assert code_of(accounts.change_password, attempt, "another one, quite long", NOW) == "invalid_old_password"
    assert sign_in("ada", OTHER) and not database.rows("SELECT 1 FROM refresh_tokens WHERE expires_at < ?", NOW)


def test_a_deleted_user_stays_known_as_deleted_and_may_come_back_as_another():
    accounts.add("ada", PASSWORD, "user", NOW)
    accounts.delete("ada", NOW)
    gone = accounts.standing("ada")
    assert gone.deleted and accounts.all_by_name() == [] and accounts.standing("nobody") is None
    for call in (accounts.find, lambda name: accounts.delete(name, NOW), lambda name: accounts.set_role(name, "user"),
                 lambda name: accounts.reset_password(name, OTHER, NOW)):
        with pytest.raises(NotFound):
            call("ada")
    again = accounts.add("ada", OTHER, "admin", NOW + 1)
    assert again.generation == gone.generation + 1 and not accounts.standing("ada").deleted
    assert sign_in("ada", OTHER) and sign_in("ada", PASSWORD) is None


def test_a_reset_lifts_a_lock():
    accounts.add("ada", PASSWORD, "user", NOW)
    fail("ada", 5)
    accounts.reset_password("ada", OTHER, NOW)
    assert sign_in("ada", OTHER)


# --- passwords that were used


def change(old, new):
    attempt = accounts.begin_attempt("ada", NOW)
    assert attempt.right(old)
    accounts.change_password(attempt, new, NOW)


def test_the_last_three_passwords_cannot_be_used_again():
    accounts.add("ada", "first password", "user", NOW)
    change("first password", "second password")
    change("second password", "third password")
    for used in ("first password", "third password"):
        assert code_of(change, "third password", used) == "password_reused"
    accounts.forgive(accounts.begin_attempt("ada", NOW))
    change("third password", "fourth password")
    change("fourth password", "first password")
    change("first password", "sixth password")
    assert database.rows("SELECT count(*) FROM password_history WHERE username = ?", "ada") == [(5,)]


def test_a_reset_takes_none_of_them_either():
    accounts.add("ada", "first password", "user", NOW)
    for number in ("second", "third", "fourth"):
        accounts.reset_password("ada", f"{number} password", NOW)
    for used in ("second", "third", "fourth"):
        assert code_of(accounts.reset_password, "ada", f"{used} password", NOW) == "password_reused"
    accounts.reset_password("ada", "first password", NOW)
    with pytest.raises(NotFound):
        accounts.reset_password("nobody", PASSWORD, NOW)


# --- administrators


def test_the_last_administrator_stays():
    accounts.add("ada", PASSWORD, "admin", NOW)
    accounts.add("bob", PASSWORD, "user", NOW)
    assert code_of(accounts.delete, "ada", NOW) == "last_admin"
    assert code_of(accounts.set_role, "ada", "user") == "last_admin"
    accounts.set_role("ada", "admin")
    accounts.set_role("bob", "admin")
    accounts.delete("ada", NOW)
    assert code_of(accounts.delete, "bob", NOW) == "last_admin"


def test_two_administrators_cannot_remove_each_other():
    for name in ("ada", "bob"):
        accounts.add(name, PASSWORD, "admin", NOW)
    refused = []

    def remove(name):
        try:
            accounts.delete(name, NOW)
        except InvalidInput as error:
            refused.append(error.code)
        finally:
            database.close_mine()

    at_once([lambda: remove("ada"), lambda: remove("bob")])
    assert refused == ["last_admin"] and len(accounts.all_by_name()) == 1


def test_the_first_administrator_is_made_once():
    assert accounts.ensure_admin("admin", "a", NOW) and not accounts.ensure_admin("admin", "b", NOW)
    assert not accounts.ensure_admin("root", "b", NOW)
    assert sign_in("admin", "a") and accounts.find("admin").role == "admin"


PROGRAM = """
import sys
from pathlib import Path
from ananta.store import accounts, database
from tests.store import opening
opening.open(Path(sys.argv[1]))
sys.stdin.readline()
print(accounts.ensure_admin(sys.argv[2], "some password", 1.0))
database.close()
"""


def test_two_hubs_that_start_at_once_make_one_administrator(opened, tmp_path):
    folders = [opened, tmp_path / "second"]
    folders[1].mkdir(mode=0o700)
    if not (opened / "url").exists():
        folders[1] = opened
    else:
        (folders[1] / "url").write_text((opened / "url").read_text())
    programs = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), name], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True)
                for folder, name in zip(folders, ("admin", "root"), strict=True)]
    for each in programs:
        each.stdin.write("\n")
        each.stdin.flush()
    said = [each.communicate(timeout=60)[0].strip() for each in programs]
    assert sorted(said) == ["False", "True"] and len(accounts.all_by_name()) == 1


def at_once(calls):
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        call()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
