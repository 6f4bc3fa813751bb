"""Second factors on both databases: what is kept, what counts once, what ends them."""
import pyotp
import pytest

from ananta.errors import CannotStart, InvalidInput, NotFound, StoreFailed
from ananta.store import accounts, database, second_factors
from ananta.store.second_factors import SecondFactors
from tests.store.test_accounts import at_once, code_of

NOW, PASSWORD = 1_800_000_000.0, "correct horse battery"
STEP = int(NOW) // 30


@pytest.fixture(autouse=True)
def opened(both):
    accounts.add("ada", PASSWORD, "user", NOW)
    return both


@pytest.fixture
def factors():
    return SecondFactors("a key of sixteen characters")


@pytest.fixture
def on(factors):
    """The secret and the backup codes of ada, whose second factor is on."""
    secret = factors.begin("ada")
    return secret, factors.confirm("ada", code(secret, STEP - 1), NOW)


def code(secret, step=STEP):
    return pyotp.TOTP(secret).generate_otp(step)


def sign_in(factors, given, now=NOW):
    attempt = accounts.begin_attempt("ada", now)
    assert attempt.right(PASSWORD)
    return accounts.succeed(attempt, now, factors.proof("ada", given, now)) is not None


def row():
    return database.rows("SELECT mfa_enabled, mfa_secret, mfa_backup_codes, mfa_last_step FROM users WHERE username = 'ada'")[0]


def test_it_is_on_once_a_code_was_confirmed(factors):
    first = factors.begin("ada")
    secret = factors.begin("ada")
    assert first != secret and len(secret) == 32 and not accounts.find("ada").mfa_enabled
    assert code_of(factors.confirm, "ada", code(first), NOW) == "invalid_mfa_token"
    codes = factors.confirm("ada", code(secret, STEP - 1), NOW)
    assert accounts.find("ada").mfa_enabled
    assert len(set(codes)) == 10 and all(len(each) == 8 and int(each, 16) >= 0 for each in codes)
    assert code_of(factors.begin, "ada") == code_of(factors.confirm, "ada", code(secret), NOW) == "mfa_already_enabled"


def test_without_a_set_up_nothing_is_confirmed(factors):
    assert code_of(factors.confirm, "ada", "123456", NOW) == "mfa_not_set_up"
    assert code_of(factors.confirm, "nobody", "123456", NOW) == "mfa_not_set_up"
    secret = factors.begin("ada")
    assert code_of(SecondFactors("another key of this length").confirm, "ada", code(secret), NOW) == "mfa_not_set_up"


def test_neither_the_secret_nor_the_codes_are_kept_as_they_are(factors, on):
    secret, codes = on
    kept = str(row())
    assert secret not in kept and not any(each in kept for each in codes)
    assert pyotp.TOTP(secret).byte_secret() not in bytes(row()[1])
    # A short code cannot be guessed from its hash without the key.
    other = SecondFactors("another key of this length")
    assert other.proof("ada", codes[0], NOW) is None


def test_the_password_alone_does_not_sign_in(factors, on):
    attempt = accounts.begin_attempt("ada", NOW)
    assert attempt.right(PASSWORD) and accounts.succeed(attempt, NOW) is None
    assert database.rows("SELECT count(*) FROM refresh_tokens") == [(0,)]


def test_a_second_factor_that_came_meanwhile_counts(factors):
    secret = factors.begin("ada")
    attempt = accounts.begin_attempt("ada", NOW)
    factors.confirm("ada", code(secret, STEP - 1), NOW)
    assert attempt.right(PASSWORD) and accounts.succeed(attempt, NOW) is None


def test_a_code_signs_in_once_and_no_older_one_after_it(factors, on):
    secret, _ = on
    # The one that switched it on has been used, too.
    assert not sign_in(factors, code(secret, STEP - 1))
    assert sign_in(factors, code(secret))
    assert not sign_in(factors, code(secret)) and not sign_in(factors, code(secret), NOW + 29)
    assert not sign_in(factors, code(secret, STEP - 1))
    assert sign_in(factors, code(secret, STEP + 1)) and not sign_in(factors, code(secret))
    assert not sign_in(factors, code(secret, STEP + 3), NOW + 30) and sign_in(factors, code(secret, STEP + 2), NOW + 30)


def test_a_backup_code_signs_in_once(factors, on):
    _, codes = on
    assert sign_in(factors, codes[3].upper()) and not sign_in(factors, codes[3])
    assert sign_in(factors, codes[4]) and len(row()[2].split(",")) == 8
    assert not sign_in(factors, "00000000") and not sign_in(factors, "")


def test_of_many_with_one_code_at_the_same_moment_one_signs_in(factors, on):
    secret, codes = on
    for given in (code(secret), codes[0]):
        proofs, done = [factors.proof("ada", given, NOW) for _ in range(8)], []

        def use(proof, done=done):
            try:
                with database.writing():
                    done.append(second_factors.use("ada", proof))
            finally:
                database.close_mine()

        at_once([lambda proof=proof, use=use: use(proof) for proof in proofs])
        assert sorted(done) == [False] * 7 + [True]


def test_two_backup_codes_at_the_same_moment_are_both_used_up(factors, on):
    _, codes = on
    proofs, done = [factors.proof("ada", each, NOW) for each in codes], []

    def use(proof):
        try:
            with database.writing():
                done.append(second_factors.use("ada", proof))
        finally:
            database.close_mine()

    at_once([lambda proof=proof: use(proof) for proof in proofs])
    assert done == [True] * 10 and row()[2] == "[]"


def test_a_proof_is_worth_nothing_for_another_secret(factors, on):
    secret, codes = on
    old = [factors.proof("ada", code(secret), NOW), factors.proof("ada", codes[0], NOW)]
    assert second_factors.remove("ada")
    again = factors.begin("ada")
    factors.confirm("ada", code(again, STEP - 1), NOW)
    with database.writing():
        assert [second_factors.use("ada", each) for each in old] == [False, False]
    assert sign_in(factors, code(again))


def test_removing_forgets_everything(factors, on):
    assert second_factors.remove("ada") and row() == (0, None, "[]", None)
    assert not second_factors.remove("ada") and not second_factors.remove("nobody")
    attempt = accounts.begin_attempt("ada", NOW)
    assert accounts.succeed(attempt, NOW) is not None and factors.proof("ada", on[1][0], NOW) is None
    factors.begin("ada")
    assert not second_factors.remove("ada") and row()[1] is None


def test_nothing_of_a_deleted_user_comes_back(factors, on):
    accounts.delete("ada", NOW)
    assert factors.proof("ada", on[1][0], NOW) is None
    with pytest.raises(NotFound):
        factors.begin("ada")
    accounts.add("ada", PASSWORD, "user", NOW)
    assert not accounts.find("ada").mfa_enabled and row()[1] is None


def test_another_key_is_noticed_before_somebody_stands_outside(factors, on):
    factors.check()
    other = SecondFactors("another key of this length")
    with pytest.raises(CannotStart, match=r"ada.*MFA_ENCRYPTION_KEY.*mfa-off"):
        other.check()
    with pytest.raises(StoreFailed, match="mfa-off"):
        other.proof("ada", code(on[0]), NOW)
    second_factors.remove("ada")
    other.check()
    factors.begin("ada")
    other.check()


def test_an_altered_secret_opens_nothing(factors, on):
    sealed = bytearray(row()[1])
    sealed[-1] ^= 1
    with database.writing():
        database.change("UPDATE users SET mfa_secret = ?", bytes(sealed))
    with pytest.raises(StoreFailed):
        factors.proof("ada", code(on[0]), NOW)


@pytest.mark.parametrize("given", ["\ud800" * 6, "a\0b", "x" * 1000, "٣٣٣٣٣٣", "-1"])
def test_odd_codes_are_wrong(factors, on, given):
    assert factors.proof("ada", given, NOW) is None
    second_factors.remove("ada")
    factors.begin("ada")
    with pytest.raises(InvalidInput):
        factors.confirm("ada", given, NOW)
