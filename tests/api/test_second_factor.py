"""The second factor over HTTP: set up, signing in with it, what counts once, and who may switch it off."""
import base64
import itertools
import json
import time

import jwt
import pyotp
import pytest

from tests.conftest import Ananta, ananta, in_parallel

TOKEN, PASSWORD, ADMIN_PASSWORD = "hub-secret-token-0123", "correct horse battery", "the-first-password"
_numbers = itertools.count(1)


def begin(folder, postgres_server, **extra):
    more = {"DATABASE_URL": postgres_server.database()} if postgres_server else {}
    return Ananta(folder, "--role", "hub", "--host", "127.0.0.1", token=TOKEN, DEFAULT_PROVIDER="mock",
                  TRUSTED_PROXIES="127.0.0.1", INITIAL_ADMIN_PASSWORD=ADMIN_PASSWORD, **(more | extra))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def hub(request, tmp_path_factory):
    running = begin(tmp_path_factory.mktemp("hub"), request.getfixturevalue("postgres_server") if request.param == "postgres"
                    else None)
    yield running
    running.stop()


class Person:
    """Somebody with a password, an address of their own, and later an app."""

    def __init__(self, server, prefix=""):
        number = next(_numbers)
        self.server, self.prefix, self.name, self.address = server, prefix, f"user-{number}", f"198.51.100.{number}"
        assert server.post("/users", json={"username": self.name, "password": PASSWORD}).status_code == 200
        self.token = self.sign_in().json()["access_token"]

    def post(self, path, *, server=None, token=None, **options):
        headers = {"X-Forwarded-For": self.address, "Authorization": f"Bearer {token or self.token}"}
        return (server or self.server).post(self.prefix + path, headers=headers, **options)

    def sign_in(self, mfa_token=None, *, password=PASSWORD, server=None, **fields):
        body = {"username": self.name, "password": password} | ({} if mfa_token is None else {"mfa_token": mfa_token}) | fields
        return (server or self.server).post(f"{self.prefix}/login", auth=False, json=body,
                                            headers={"X-Forwarded-For": self.address})

    def me(self, token=None):
        return self.server.get(f"{self.prefix}/me", headers={"Authorization": f"Bearer {token or self.token}"})

    def set_up(self):
        answer = self.post("/mfa/setup")
        assert answer.status_code == 200, answer.text
        self.secret = answer.json()["secret"]
        return answer.json()

    def switch_on(self):
        self.set_up()
        self.confirmed = self.earlier_code()
        answer = self.post("/mfa/verify", json={"token": self.confirmed})
        assert answer.status_code == 200, answer.text
        self.backup_codes = answer.json()["backup_codes"]
        return answer.json()

    def code(self, steps=0):
        return pyotp.TOTP(self.secret).at(int(time.time()), counter_offset=steps)

    def earlier_code(self):
        """The code before this one, which counts for some seconds yet: so that this one is left for a sign-in."""
        time.sleep(max(0, (time.time() % 30 > 27) * 3.1))
        return self.code(-1)

    def wrong_code(self):
        good = {self.code(steps) for steps in range(-3, 4)}
        return next(each for each in ("000000", "111111", "222222", "333333", "444444", "555555", "666666", "777777")
                    if each not in good)


@pytest.fixture
def ada(hub):
    return Person(hub)


def claims(token):
    middle = token.split(".")[1]
    assert "-" not in middle and "_" not in middle
    return json.loads(base64.b64decode(middle + "=" * (-len(middle) % 4)))


def code_of(answer):
    assert " " in answer.json()["error"] and answer.json()["error"] == answer.json()["message"]
    return answer.status_code, answer.json()["code"]


def audited(server, name):
    return [each["action"] for each in server.get("/audit-logs?limit=1000").json() if each["username"] == name][::-1]


@pytest.mark.parametrize("prefix", ["", "/api/auth"])
def test_from_the_set_up_to_the_switch_off(hub, prefix):
    ada = Person(hub, prefix)
    shown = ada.set_up()
    assert set(shown) == {"secret", "qr_code"} and len(base64.b32decode(shown["secret"])) == 20
    head, _, picture = shown["qr_code"].partition(",")
    assert head == "data:image/png;base64" and base64.b64decode(picture).startswith(b"\x89PNG")
    assert ada.me().json()["mfa_enabled"] is False and ada.sign_in().json()["mfa_required"] is False
    on = ada.post("/mfa/verify", json={"token": ada.earlier_code()})
    assert on.status_code == 200 and set(on.json()) == {"status", "access_token", "backup_codes"}
    assert on.json()["status"] == "mfa_enabled" and len(set(on.json()["backup_codes"])) == 10
    assert all(len(each) == 8 and int(each, 16) >= 0 for each in on.json()["backup_codes"])
    assert claims(on.json()["access_token"])["mfa_enabled"] is True and ada.me(on.json()["access_token"]).status_code == 200
    # What was signed in before stays so.
    assert ada.me().json() == {"username": ada.name, "role": "user", "mfa_enabled": True}
    assert {"username": ada.name, "role": "user", "mfa_enabled": True} in hub.get("/users").json()
    half = ada.sign_in()
    assert (half.status_code, half.json()) == (200, {"mfa_required": True, "username": ada.name})
    whole = ada.sign_in(ada.code())
    assert whole.status_code == 200 and set(whole.json()) == {"access_token", "refresh_token", "username", "role", "mfa_required"}
    assert whole.json()["mfa_required"] is True and claims(whole.json()["access_token"])["mfa_enabled"] is True
    off = ada.post("/mfa/disable", token=whole.json()["access_token"], json={})
    assert off.status_code == 200 and set(off.json()) == {"status", "access_token"} and off.json()["status"] == "mfa_disabled"
    assert claims(off.json()["access_token"])["mfa_enabled"] is False and ada.me(off.json()["access_token"]).status_code == 200
    assert ada.sign_in().json()["mfa_required"] is False and "access_token" in ada.sign_in().json()
    assert code_of(ada.sign_in("x", password="no")) == (401, "unauthorized")
    assert [each for each in audited(hub, ada.name) if each.startswith("mfa")] == ["mfa_enabled", "mfa_disabled"]


def test_a_set_up_may_be_repeated_until_it_is_on(ada):
    first = ada.set_up()["secret"]
    ada.set_up()
    assert code_of(ada.post("/mfa/verify", json={"token": pyotp.TOTP(first).now()})) == (400, "invalid_mfa_token")
    assert ada.post("/mfa/verify", json={"token": ada.code()}).status_code == 200
    assert code_of(ada.post("/mfa/setup")) == code_of(ada.post("/mfa/verify", json={"token": ada.code()})) == (
        400, "mfa_already_enabled")


@pytest.mark.parametrize(("body", "expected"), [
    ({}, "missing_token"), ({"token": ""}, "missing_token"), ({"token": None}, "missing_token"), ({"token": 123456}, "invalid_value"),
    ({"token": "12345"}, "invalid_mfa_token"), ({"token": "a\0b"}, "invalid_mfa_token"), ({"token": "9" * 1001}, "invalid_value"),
    ({"token": "٣٣٣٣٣٣"}, "invalid_mfa_token")])
def test_what_cannot_be_verified_is_400(hub, body, expected):
    ada = Person(hub)
    ada.set_up()
    assert code_of(ada.post("/mfa/verify", json=body)) == (400, expected)
    assert ada.me().json()["mfa_enabled"] is False


def test_without_a_set_up_there_is_nothing_to_verify(ada):
    assert code_of(ada.post("/mfa/verify", json={"token": "123456"})) == (400, "mfa_not_set_up")
    assert ada.post("/mfa/disable").json()["status"] == "mfa_disabled" and "mfa_disabled" not in audited(ada.server, ada.name)


@pytest.mark.parametrize("path", ["/mfa/setup", "/mfa/verify", "/mfa/disable"])
def test_the_second_factor_is_the_users_own(hub, path, ada):
    for answer in (hub.post(path, json={}), hub.post(path, auth=False, json={}),
                   hub.post(f"{path}?token={ada.token}", auth=False, json={})):
        assert code_of(answer) == (401, "unauthorized")


def test_a_set_up_ignores_its_body(ada):
    for body in (b"", b"{", b"[1]", b'{"secret": "A"}'):
        assert len(ada.post("/mfa/setup", data=body).json()["secret"]) == 32


def test_a_code_signs_in_once(ada):
    ada.switch_on()
    assert code_of(ada.sign_in(ada.confirmed)) == (401, "unauthorized")
    given = ada.code()
    assert "access_token" in ada.sign_in(given).json()
    assert code_of(ada.sign_in(given)) == (401, "unauthorized") and "code" in ada.sign_in(given).json()["error"]
    assert "access_token" in ada.sign_in(f"{ada.code(1)[:3]} {ada.code(1)[3:]}").json()
    assert ada.sign_in(ada.code(-1)).status_code == 401


def test_a_backup_code_signs_in_once_and_is_told(ada):
    ada.switch_on()
    assert "access_token" in ada.sign_in(ada.backup_codes[0].upper()).json()
    assert code_of(ada.sign_in(ada.backup_codes[0])) == (401, "unauthorized")
    assert "access_token" in ada.sign_in(ada.backup_codes[1]).json()
    assert audited(ada.server, ada.name).count("mfa_backup_code_used") == 2


def test_a_right_code_does_not_help_a_wrong_password(ada):
    ada.switch_on()
    refused = ada.sign_in(ada.code(), password="no")
    assert code_of(refused) == (401, "unauthorized") and "password" in refused.json()["error"]
    assert "access_token" in ada.sign_in(ada.code()).json()


def test_wrong_codes_lock_the_account_and_the_password_alone_takes_none_back(ada):
    ada.switch_on()
    for _ in range(5):
        assert ada.sign_in().json()["mfa_required"] is True
        changed = ada.post("/change-password", json={"old_password": PASSWORD, "new_password": PASSWORD})
        assert code_of(changed) == (400, "password_reused")
        assert code_of(ada.sign_in(ada.wrong_code())) == (401, "unauthorized")
    for answer in (ada.sign_in(), ada.sign_in(ada.code()), ada.sign_in(ada.backup_codes[0])):
        assert code_of(answer) == (403, "account_locked") and 0 < answer.json()["retry_after"] <= 900
    assert "account_lockout" in audited(ada.server, ada.name)


def test_a_success_forgets_wrong_codes(ada):
    ada.switch_on()
    for number in range(2):
        for _ in range(4):
            assert ada.sign_in(ada.wrong_code()).status_code == 401
        assert "access_token" in ada.sign_in(ada.code(number)).json()


def test_ten_wrong_codes_from_an_address_and_it_waits(ada):
    ada.set_up()
    for number in range(10):
        prefix = "/api/auth" if number % 2 else ""
        answer = ada.server.post(f"{prefix}/mfa/verify", json={"token": ada.wrong_code()}, headers={
            "X-Forwarded-For": ada.address, "Authorization": f"Bearer {ada.token}"})
        assert code_of(answer) == (400, "invalid_mfa_token")
    waits = ada.post("/mfa/verify", json={"token": ada.code()})
    assert code_of(waits) == (429, "rate_limited") and waits.headers["Retry-After"] == str(waits.json()["retry_after"])
    assert ada.sign_in().status_code == 429


def test_a_half_sign_in_forgets_no_failures_of_the_address(ada):
    ada.switch_on()
    for number in range(10):
        assert ada.sign_in().status_code == 200
        stranger = {"username": f"nobody-{number}", "password": "x"}
        assert ada.server.post("/login", auth=False, json=stranger, headers={"X-Forwarded-For": ada.address}).status_code == 401
    assert ada.sign_in().status_code == 429


def aged(server, token, seconds):
    """The same sign-in, so many seconds older; None: as a refresh gives it."""
    key = (server.data / "secrets" / "secret_key").read_text().strip()
    told = jwt.decode(token, options={"verify_signature": False})
    if seconds is None:
        del told["auth_time"]
    else:
        told["auth_time"] -= seconds
    return jwt.encode(told, key, algorithm="HS256")


def test_an_open_session_is_not_enough_to_switch_it_off(ada):
    token = ada.switch_on()["access_token"]
    for old in (aged(ada.server, token, 901), aged(ada.server, token, None), aged(ada.server, token, 10**9)):
        refused = ada.post("/mfa/disable", token=old)
        assert code_of(refused) == (403, "sign_in_again") and ada.me(old).json()["mfa_enabled"] is True
    tokens = ada.sign_in(ada.code()).json()
    refreshed = ada.post("/refresh-token", json={"refresh_token": tokens["refresh_token"]}).json()["access_token"]
    assert claims(refreshed)["mfa_enabled"] is True
    assert code_of(ada.post("/mfa/disable", token=refreshed)) == (403, "sign_in_again")
    off = ada.post("/mfa/disable", token=aged(ada.server, tokens["access_token"], 800))
    assert off.status_code == 200
    # What it gives back is not younger than what it was asked with.
    assert claims(off.json()["access_token"])["auth_time"] == claims(tokens["access_token"])["auth_time"] - 800


def test_a_code_given_to_two_hubs_at_the_same_moment_signs_in_at_one(tmp_path, postgres_server):
    url = postgres_server.database()
    hubs = [begin(tmp_path / name, None, DATABASE_URL=url, SECRET_KEY="k" * 16) for name in ("one", "two")]
    try:
        ada = Person(hubs[0])
        ada.switch_on()
        for given in (ada.code(), ada.backup_codes[0]):
            answers = in_parallel([lambda server=server, given=given: ada.sign_in(given, server=server) for server in hubs * 2])
            assert sorted(each.status_code for each in answers) == [200, 401, 401, 401]
        # The other hub opens what the first has sealed, although nobody has given it a key for that.
        assert "access_token" in ada.sign_in(ada.code(1), server=hubs[1]).json()
        # A short SECRET_KEY is good enough to sign; it is told nowhere that it would not be.
        assert not [line for each in hubs for line in each.errors if "HMAC key" in line]
    finally:
        for each in hubs:
            each.stop()


def test_it_outlives_a_restart_and_another_key_stops_the_start(tmp_path):
    first = begin(tmp_path / "hub", None)
    ada = Person(first)
    ada.switch_on()
    first.stop()
    key = first.data / "secrets" / "mfa_encryption_key"
    assert key.stat().st_mode & 0o777 == 0o600
    everything = b"".join(path.read_bytes() for path in first.data.rglob("*") if path.is_file() and path.parent.name != "secrets")
    assert ada.secret.encode() not in everything and ada.backup_codes[0].encode() not in everything
    wrong = ananta(first.folder, "--role", "hub", "--port", "0", MFA_ENCRYPTION_KEY="another-key-of-the-operator",
                   PYTHONWARNINGS="ignore")
    assert wrong.returncode == 2 and ada.name in wrong.stderr and "mfa-off" in wrong.stderr
    assert wrong.stdout == "" and len(wrong.stderr.strip().splitlines()) == 1
    again = begin(tmp_path / "hub", None)
    try:
        assert "access_token" in ada.sign_in(ada.code(), server=again).json()
    finally:
        again.stop()


def test_a_key_may_be_set(tmp_path):
    running = begin(tmp_path / "hub", None, MFA_ENCRYPTION_KEY="a-key-of-the-operator")
    try:
        ada = Person(running)
        ada.switch_on()
        assert not (running.data / "secrets" / "mfa_encryption_key").exists()
        running.stop()
        assert ananta(tmp_path / "hub", "--role", "hub", "--port", "0").returncode == 2
    finally:
        running.stop()


def test_a_worker_has_second_factors_for_its_own_users_only(start):
    worker = start("worker", "--host", "127.0.0.1", token=TOKEN, DEFAULT_PROVIDER="mock")
    ada = Person(worker)
    ada.switch_on()
    assert ada.sign_in().json() == {"mfa_required": True, "username": ada.name}
    key = (worker.data / "secrets" / "secret_key").read_text().strip()
    of_hub = jwt.encode({"sub": "of-the-hub", "role": "user", "gen": 1, "exp": time.time() + 600}, key, algorithm="HS256")
    for path in ("/mfa/setup", "/mfa/verify", "/mfa/disable"):
        assert code_of(ada.post(path, token=of_hub, json={"token": "123456"})) == (404, "user_not_found")


def test_the_routes_are_described(hub):
    paths = hub.get("/openapi.json").json()["paths"]
    for prefix in ("", "/api/auth"):
        setup, verify, disable = (paths[f"{prefix}/mfa/{name}"]["post"] for name in ("setup", "verify", "disable"))
        assert "requestBody" not in setup and "requestBody" not in disable and "requestBody" in verify
        assert {"200", "400", "401", "404"} <= set(setup["responses"]) and "429" in verify["responses"]
        assert "403" in disable["responses"]
