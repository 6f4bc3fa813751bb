"""Which names and passwords are good enough, and how tokens are signed."""
import base64
import hashlib
import hmac

import jwt
import pytest

from ananta.domain import accounts
from ananta.errors import InvalidInput


@pytest.mark.parametrize("name", ["ada", "a", "A.b_c@d+e-f", "x" * 64, "..a"])
def test_names_that_users_can_have(name):
    accounts.check_username(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "ä", "a\n", ".", "..", "system", "Command-Line",
                                  "admin_via_token", "<b>", "a?b", "a%20"])
def test_names_that_users_cannot_have(name):
    with pytest.raises(InvalidInput) as refused:
        accounts.check_username(name)
    assert refused.value.code == "invalid_username"


@pytest.mark.parametrize("password", ["correct horse", "zwölf Äpfel", "aaaaaaab", "x" * 256, "🐎" * 8])
def test_passwords_that_are_good_enough(password):
    accounts.check_password(password, "ada", 8)


@pytest.mark.parametrize(("password", "why"), [
    ("short77", "at least 8"), ("", "at least 8"), ("x" * 257, "at most 256"), ("ada.lovelace", "user name"),
    ("ADA.Lovelace", "user name"), ("password", "most common"), ("Password1", "most common"), ("iloveyou1", "most common"),
    ("12345678", "most common"), ("ｐａｓｓｗｏｒｄ", "most common")])
def test_passwords_that_are_refused_say_why(password, why):
    with pytest.raises(InvalidInput) as refused:
        accounts.check_password(password, "Ada.Lovelace", 8)
    assert why in refused.value.message and refused.value.code == "password_too_weak"


def test_a_smaller_least_length_can_be_set():
    accounts.check_password("x7q-", "ada", 4)
    with pytest.raises(InvalidInput):
        accounts.check_password("1234", "ada", 4)


def test_the_same_letters_are_the_same_password_however_they_are_sent():
    assert accounts.canonical("Zu\u0308rich") == accounts.canonical("Zürich")


def test_the_list_of_common_passwords_is_whole():
    found = accounts.common_passwords()
    assert len(found) > 1_000 and {"hubsecret", "123456789"} <= found and all(each == each.lower() and len(each) >= 4 for each in found)


@pytest.mark.parametrize("secret", ["hubsecret", "k" * 16, "k" * 31, "k" * 32, "k" * 300])
def test_tokens_are_signed_with_the_secret_itself_however_short(secret):
    token = jwt.encode({"sub": "ada"}, accounts.signing_key(secret), algorithm="HS256")
    message, _, signature = token.rpartition(".")
    own = hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(own).decode().rstrip("=") == signature
    assert jwt.decode(token, accounts.signing_key(secret), algorithms=["HS256"]) == {"sub": "ada"}
