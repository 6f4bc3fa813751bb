"""What is masked, what is not, and that no text can make it slow."""
import base64
import json
import signal
from urllib.parse import quote

import pytest

from ananta.domain.redaction import MASK, Redactor, is_secret_name, masked

MASKED = [
    ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MASK}"),
    ("authorization: Basic dXNlcjpwYXNz next", f"authorization: Basic {MASK} next"),
    ('curl -H "Authorization: Bearer abc.def-123" http://x', f'curl -H "Authorization: Bearer {MASK}" http://x'),
    ("got Bearer abcdef123456 there", f"got Bearer {MASK} there"),
    ("GET /stream?token=abc&x=1 HTTP", f"GET /stream?token={MASK}&x=1 HTTP"),
    ("AGENT_TOKEN=abc def", f"AGENT_TOKEN={MASK} def"),
    ('{"password": "a\\"b c", "x": 1}', f'{{"password": "{MASK}", "x": 1}}'),
    (r'"{\"password\": \"xyz\", \"a\": 1}"', rf'"{{\"password\": \"{MASK}\", \"a\": 1}}"'),
    ("api_key: abc", f"api_key: {MASK}"),
    ("x-api-key: abc", f"x-api-key: {MASK}"),
    ("OPENAI_API_KEY=abc", f"OPENAI_API_KEY={MASK}"),
    ("client_secret = 'a b'", f"client_secret = '{MASK}'"),
    ("AWS_SECRET_ACCESS_KEY=abc/def+1", f"AWS_SECRET_ACCESS_KEY={MASK}"),
    ("SECRET_KEY=abc", f"SECRET_KEY={MASK}"),
    ("curl --password foo --token 'x y' -s", f"curl --password {MASK} --token '{MASK}' -s"),
    ("PGPASSWORD=zzz psql", f"PGPASSWORD={MASK} psql"),
    ("postgres://u:p@h/db", f"postgres://u:{MASK}@h/db"),
    ("redis://:p@h", f"redis://:{MASK}@h"),
    ("key sk-1234567890abcdefghijk.", f"key {MASK}."),
    ("ghp_abcdefghijklmnopqrst0123", MASK),
    ("AKIAIOSFODNN7EXAMPLE", MASK),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdef-x", MASK),
    ("a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb", f"a\n{MASK}\nb"),
    ("a -----BEGIN PRIVATE KEY-----\nMII", f"a {MASK}"),
    ("\u0130\u0130 token=abc \u0130", f"\u0130\u0130 token={MASK} \u0130"),
]
LEFT = [
    "max_tokens: 400, tokenizer=5, 12 tokens", "cat: /etc/passwd: Permission denied", "task-1234567890abcdefghijk",
    "password: null, token=$TOKEN secret=${SECRET}", "http://host:8080/path?x=a@b", "PWD=/home/me", "the secret of it",
    "token=", "", "ein T\u00f6ken: \U0001f600", f"password={MASK}",
]


@pytest.mark.parametrize(("text", "expected"), MASKED)
def test_what_looks_like_a_secret_is_masked(text, expected):
    assert Redactor()(text) == expected


@pytest.mark.parametrize("text", LEFT)
def test_other_text_stays_as_it_is(text):
    assert Redactor()(text) == text


@pytest.mark.parametrize("text", [text for text, _ in MASKED])
def test_masking_twice_changes_nothing(text):
    once = Redactor()(text)
    assert Redactor()(once) == once


@pytest.mark.parametrize("secret", ["plainsecret99", 'with "quotes"\\and/\u00e4', "a+b/c=d&e f", "\u00fcml\u00e4ut"])
def test_a_known_secret_is_masked_in_every_spelling(secret):
    spellings = [secret, quote(secret, safe=""), json.dumps(secret), json.dumps(secret, ensure_ascii=False)]
    for prefix in ("", "x", "user:"):
        spellings.append(base64.b64encode((prefix + secret).encode()).decode())
        spellings.append(base64.urlsafe_b64encode((prefix + secret + "tail").encode()).decode())
    for spelling in spellings:
        shown = Redactor([secret])(f"before {spelling} after")
        assert MASK in shown and spelling not in shown and "before" in shown and "after" in shown


def test_a_short_value_is_not_masked_everywhere():
    assert Redactor(["a", "12345", ""])("a 12345 b") == "a 12345 b"


def test_a_secret_inside_a_longer_one_does_not_leave_the_rest():
    assert Redactor(["abcdefgh", "abcdefghijkl"])("abcdefghijkl") == MASK


def test_secrets_can_be_replaced():
    redactor = Redactor(["first-secret"])
    other = redactor.with_secrets(["second-secret"])
    redactor.replace(["third-secret"])
    assert redactor("first-secret third-secret") == f"first-secret {MASK}"
    assert other("first-secret second-secret") == f"first-secret {MASK}"


def test_json_values_are_masked_by_name_and_by_content():
    value = {"api_key": "abc", "max_tokens": 5, "list": [{"text": "token=abc"}], "token": None, "name": "x"}
    assert masked(value, Redactor()) == {
        "api_key": MASK, "max_tokens": 5, "list": [{"text": f"token={MASK}"}], "token": None, "name": "x"}


@pytest.mark.parametrize(("name", "secret"), [("agent_token", True), ("SECRET_KEY", True), ("max_tokens", False),
                                              ("tokenizer", False), ("api-key", True), ("name", False)])
def test_names_of_secrets(name, secret):
    assert is_secret_name(name) is secret


@pytest.mark.parametrize("unit", [
    "token=", "eyJ", "eyJaaaaaaa.", "://a:", "://", "sk-", "ask-", "bearer ", "-----BEGIN PRIVATE KEY-----", "--token ",
    'token\\\\\\"', 'token="\\', "secret" + " " * 20, "password: ", "authorization: bearer ", "--", "ghp_", "\\", '"'])
@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="needs SIGALRM, which ends a hanging test")
def test_hostile_text_is_done_in_time(unit):
    """One megabyte takes a tenth of a second; a pattern that backtracks would take hours, and the alarm ends the run."""
    signal.alarm(60)
    try:
        Redactor(["some-known-secret"])((unit * (1 << 20))[:1 << 20])
    finally:
        signal.alarm(0)
