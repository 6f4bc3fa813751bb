"""Signing in, and the users: what is answered, what is not given away, and what ends a sign-in."""
import base64
import itertools
import json
import time

import jwt
import pytest

from tests.conftest import Ananta, ananta

TOKEN, ADMIN_PASSWORD, PASSWORD, OTHER = "hub-secret-token-0123", "the-first-password", "correct horse battery", "staple of the horse"
ANOTHER = "another one, quite long"
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def hub(request, tmp_path_factory):
    """A hub behind a proxy, so that each test can come from an address of its own."""
    extra = {"DATABASE_URL": request.getfixturevalue("postgres_server").database()} if request.param == "postgres" else {}
    running = Ananta(tmp_path_factory.mktemp("hub"), "--role", "hub", "--host", "127.0.0.1", token=TOKEN,
                     DEFAULT_PROVIDER="mock", TRUSTED_PROXIES="127.0.0.1", INITIAL_ADMIN_PASSWORD=ADMIN_PASSWORD, **extra)
    yield running
    running.stop()


@pytest.fixture
def address():
    return f"198.51.100.{next(_numbers)}"


@pytest.fixture
def name():
    return f"user-{next(_numbers)}"


def sign_in(server, username, password, address="192.0.2.1", path="/login", **fields):
    return server.post(path, auth=False, json={"username": username, "password": password, **fields},
                       headers={"X-Forwarded-For": address})


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def make(server, username, role="user", password=PASSWORD):
    answer = server.post("/users", json={"username": username, "password": password, "role": role})
    assert answer.status_code == 200, answer.text
    return answer.json()


def signed_in(server, username, role="user"):
    make(server, username, role)
    answer = sign_in(server, username, PASSWORD)
    assert answer.status_code == 200, answer.text
    return answer.json()


def code(answer):
    return answer.status_code, answer.json()["code"]


# --- signing in


@pytest.mark.parametrize("prefix", ["", "/api/auth"])
def test_a_sign_in_answers_what_the_client_reads(hub, prefix):
    answer = sign_in(hub, "admin", ADMIN_PASSWORD, path=f"{prefix}/login")
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "refresh_token", "username", "role", "mfa_required"}
    assert (body["username"], body["role"], body["mfa_required"]) == ("admin", "admin", False)
    me = hub.get(f"{prefix}/me", headers=bearer(body["access_token"]))
    assert (me.status_code, me.json()) == (200, {"username": "admin", "role": "admin", "mfa_enabled": False})


def test_a_browser_can_read_the_middle_of_the_token(hub):
    for number in range(12):
        username = f"u{'@+._-'[number % 5] * (number % 4 + 1)}{'z' * number}Z{number}{next(_numbers)}"
        token = signed_in(hub, username)["access_token"]
        middle = token.split(".")[1]
        assert "-" not in middle and "_" not in middle
        claims = json.loads(base64.b64decode(middle + "=" * (-len(middle) % 4)))
        assert {"sub", "role", "mfa_enabled", "iat", "exp"} <= claims.keys()
        assert (claims["sub"], claims["role"], claims["mfa_enabled"]) == (username, "user", False)
        assert claims["exp"] - claims["iat"] == 3600 and abs(claims["iat"] - time.time()) < 600


def test_wrong_credentials_are_told_alike(hub, name):
    make(hub, name)
    wrong, unknown = sign_in(hub, name, OTHER), sign_in(hub, "nobody", OTHER)
    assert code(wrong) == code(unknown) == (401, "unauthorized")
    assert wrong.json()["message"] == unknown.json()["message"] == wrong.json()["error"]


@pytest.mark.parametrize(("body", "missing"), [
    ({}, "missing_username"), ({"username": "ada"}, "missing_password"), ({"username": "", "password": "x"}, "missing_username"),
    ({"username": None, "password": "x"}, "missing_username")])
def test_what_is_missing_at_a_sign_in_is_named(hub, body, missing, address):
    answer = hub.post("/login", auth=False, json=body, headers={"X-Forwarded-For": address})
    assert code(answer) == (400, missing) and " " in answer.json()["error"]


def test_a_sign_in_ignores_what_credentials_come_along(hub):
    answer = hub.post("/login", json={"username": "admin", "password": ADMIN_PASSWORD}, headers=bearer("nonsense.a.b"))
    assert answer.status_code == 200


def test_five_wrong_passwords_lock_the_account(hub, name, address):
    make(hub, name)
    for _ in range(5):
        assert sign_in(hub, name, OTHER, address).status_code == 401
    locked = sign_in(hub, name, PASSWORD, address)
    assert code(locked) == (403, "account_locked") and 0 < locked.json()["retry_after"] <= 900
    assert locked.headers["Retry-After"] == str(locked.json()["retry_after"]) and "locked" in locked.json()["error"]
    assert hub.post(f"/users/{name}/reset-password", json={"new_password": OTHER}).status_code == 200
    assert sign_in(hub, name, OTHER, address).status_code == 200
    assert "account_lockout" in actions(hub)


def test_ten_failures_from_an_address_in_a_minute_and_it_waits(hub, address, name):
    make(hub, name)
    for number in range(10):
        kind = number % 3
        answer = (sign_in(hub, f"{name}-{number}", OTHER, address) if kind else
                  hub.post("/refresh-token", auth=False, json={"refresh_token": "x"}, headers={"X-Forwarded-For": address}))
        assert answer.status_code in (400, 401)
    refused = sign_in(hub, name, PASSWORD, address, path="/api/auth/login")
    assert code(refused) == (429, "rate_limited") and refused.headers["Retry-After"] == str(refused.json()["retry_after"])
    assert sign_in(hub, name, PASSWORD).status_code == 200


def test_a_success_forgets_the_failures_of_the_address(hub, address, name):
    make(hub, name)
    for _ in range(2):
        for number in range(9):
            sign_in(hub, f"nobody-{number}", "", address)
        assert sign_in(hub, name, PASSWORD, address).status_code == 200


# --- tokens


def test_a_refresh_gives_new_tokens_and_keeps_the_old_one(hub, name):
    first = signed_in(hub, name)["refresh_token"]
    expired = bearer(jwt.encode({"sub": name, "exp": 1}, "x" * 40, algorithm="HS256"))
    for path in ("/refresh-token", "/api/auth/refresh-token"):
        answer = hub.post(path, headers=expired, json={"refresh_token": first})
        assert answer.status_code == 200 and set(answer.json()) == {"access_token", "refresh_token", "username", "role"}
        assert hub.get("/me", headers=bearer(answer.json()["access_token"])).json()["username"] == name
    last = hub.post("/refresh-token", auth=False, json={"refresh_token": first, "rotate": True}).json()["refresh_token"]
    assert code(hub.post("/refresh-token", auth=False, json={"refresh_token": first})) == (400, "invalid_refresh_token")
    assert hub.post("/refresh-token", auth=False, json={"refresh_token": last}).status_code == 200


def test_a_refresh_without_a_token_is_400(hub):
    for body, expected in (({}, "missing_refresh_token"), ({"refresh_token": "no"}, "invalid_refresh_token")):
        answer = hub.post("/refresh-token", auth=False, json=body)
        assert code(answer) == (400, expected) and " " in answer.json()["error"]


def ended(hub, tokens):
    refused = hub.get("/me", headers=bearer(tokens["access_token"]))
    again = hub.post("/refresh-token", auth=False, json={"refresh_token": tokens["refresh_token"]})
    return (refused.status_code, again.status_code, hub.get("/tasks", headers=bearer(tokens["access_token"])).status_code,
            hub.get(f"/providers?token={tokens['access_token']}", auth=False).status_code)


def test_a_new_password_ends_what_was_signed_in(hub, name):
    tokens = signed_in(hub, name)
    assert ended(hub, tokens) == (200, 200, 200, 200)
    answer = hub.post("/change-password", headers=bearer(tokens["access_token"]),
                      json={"old_password": PASSWORD, "new_password": OTHER})
    assert (answer.status_code, answer.json()) == (200, {"status": "password_changed"})
    assert ended(hub, tokens) == (401, 400, 401, 401)
    tokens = sign_in(hub, name, OTHER).json()
    assert hub.post(f"/api/auth/users/{name}/reset-password", json={"new_password": ANOTHER}).json() == {
        "status": "password_reset"}
    assert ended(hub, tokens) == (401, 400, 401, 401)
    assert sign_in(hub, name, ANOTHER).status_code == 200


def test_a_reset_takes_none_of_the_last_passwords(hub, name):
    tokens = signed_in(hub, name)
    assert code(hub.post(f"/users/{name}/reset-password", json={"new_password": PASSWORD})) == (400, "password_reused")
    assert hub.post(f"/users/{name}/reset-password", json={"new_password": OTHER}).status_code == 200
    assert ended(hub, tokens) == (401, 400, 401, 401)
    assert code(hub.post(f"/users/{name}/reset-password", json={"new_password": PASSWORD})) == (400, "password_reused")


def test_a_name_that_differs_only_in_capitals_is_taken(hub, name):
    make(hub, name)
    refused = hub.post("/users", json={"username": name.upper(), "password": PASSWORD})
    assert code(refused) == (400, "user_exists") and name in refused.json()["error"]
    assert code(hub.post("/users", json={"username": "Admin", "password": PASSWORD})) == (400, "user_exists")
    hub.request("DELETE", f"/users/{name}")
    make(hub, name.upper())


def test_a_deleted_user_is_out_at_once_and_the_next_of_that_name_is_another(hub, name):
    tokens = signed_in(hub, name, "admin")
    assert hub.request("DELETE", f"/users/{name}").json() == {"status": "user_deleted"}
    assert ended(hub, tokens) == (401, 400, 401, 401)
    make(hub, name)
    assert ended(hub, tokens) == (401, 400, 401, 401)
    assert sign_in(hub, name, PASSWORD).json()["role"] == "user"


def test_a_role_counts_at_the_next_request(hub, name):
    token = signed_in(hub, name, "admin")["access_token"]
    assert hub.get("/users", headers=bearer(token)).status_code == 200
    answer = hub.request("PUT", f"/users/{name}/role", json={"role": "user"})
    assert answer.json() == {"status": "role_updated", "username": name, "role": "user"}
    assert code(hub.get("/users", headers=bearer(token))) == (403, "forbidden")
    assert hub.get("/me", headers=bearer(token)).json()["role"] == "user"


def test_a_hub_believes_no_token_of_a_user_it_does_not_know(hub, start):
    key = (hub.data / "secrets" / "secret_key").read_text().strip()

    def token(**claims):
        return bearer(jwt.encode({"role": "admin", "exp": time.time() + 600, **claims}, key, algorithm="HS256"))

    assert hub.get("/providers", headers=token(sub="stranger", gen=9)).status_code == 401
    for generation in (None, "1", 0, 1.5):
        assert hub.get("/providers", headers=token(sub="admin", gen=generation)).status_code == 401
    assert hub.get("/providers", headers=token(sub="admin", gen=1)).status_code == 200
    # The command line signs for itself with the key of this machine.
    assert hub.get("/providers", headers=token(sub="command-line")).status_code == 200


def test_a_worker_believes_the_users_of_its_hub_but_not_those_it_deleted(start):
    worker = start("worker", "--host", "127.0.0.1", token=TOKEN, INITIAL_ADMIN_PASSWORD=ADMIN_PASSWORD, DEFAULT_PROVIDER="mock")
    key = (worker.data / "secrets" / "secret_key").read_text().strip()
    of_hub = bearer(jwt.encode({"sub": "ada", "role": "user", "gen": 3, "exp": time.time() + 600}, key, algorithm="HS256"))
    assert worker.get("/providers", headers=of_hub).status_code == 200 and worker.get("/users", headers=of_hub).status_code == 403
    assert worker.get("/me", headers=of_hub).status_code == 404
    no_role = bearer(jwt.encode({"sub": "bob", "role": None, "exp": time.time() + 600}, key, algorithm="HS256"))
    assert worker.get("/providers", headers=no_role).status_code == 200 and worker.get("/users", headers=no_role).status_code == 403
    assert sign_in(worker, "admin", ADMIN_PASSWORD).status_code == 200
    make(worker, "ada")
    assert worker.request("DELETE", "/users/ada").status_code == 200
    assert worker.get("/providers", headers=of_hub).status_code == 401


# --- changing the password


def test_a_wrong_old_password_does_not_throw_the_user_out(hub, name):
    token = signed_in(hub, name)["access_token"]
    answer = hub.post("/change-password", headers=bearer(token), json={"old_password": "no", "new_password": OTHER})
    assert code(answer) == (400, "invalid_old_password") and " " in answer.json()["error"]
    assert hub.get("/me", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(("body", "expected"), [
    ({"new_password": OTHER}, "missing_old_password"), ({"old_password": PASSWORD}, "missing_new_password"),
    ({"old_password": PASSWORD, "new_password": "short"}, "password_too_weak"),
    ({"old_password": PASSWORD, "new_password": "password123"}, "password_too_weak"),
    ({"old_password": PASSWORD, "new_password": PASSWORD}, "password_reused")])
def test_a_password_that_cannot_be_is_refused(hub, name, body, expected):
    token = signed_in(hub, name)["access_token"]
    assert code(hub.post("/change-password", headers=bearer(token), json=body)) == (400, expected)
    assert hub.get("/me", headers=bearer(token)).status_code == 200


def test_the_old_password_cannot_be_guessed_with_a_stolen_token(hub, name):
    token = signed_in(hub, name)["access_token"]
    answers = [code(hub.post("/change-password", headers=bearer(token), json={"old_password": "no", "new_password": OTHER}))
               for _ in range(6)]
    assert answers == [(400, "invalid_old_password")] * 5 + [(403, "account_locked")]


@pytest.mark.parametrize("path", ["/me", "/change-password"])
def test_what_is_the_users_own_needs_the_user(hub, path):
    method = "GET" if path == "/me" else "POST"
    token = sign_in(hub, "admin", ADMIN_PASSWORD).json()["access_token"]
    assert hub.request(method, path, json={}).status_code == 401
    answer = hub.request(method, f"{path}?token={token}", auth=False, json={})
    assert code(answer) == (401, "unauthorized") and " " in answer.json()["error"]


# --- the users


def test_users_are_made_and_listed(hub, name):
    assert make(hub, name, "admin") == {"status": "user_created", "username": name, "user": {
        "username": name, "role": "admin", "mfa_enabled": False}}
    for path in ("/users", "/api/auth/users"):
        found = hub.get(path).json()
        assert {"username": name, "role": "admin", "mfa_enabled": False} in found
        assert all(set(each) == {"username", "role", "mfa_enabled"} for each in found)


@pytest.mark.parametrize(("body", "expected"), [
    ({"password": PASSWORD}, "missing_username"), ({"username": "x"}, "missing_password"),
    ({"username": "a b", "password": PASSWORD}, "invalid_username"), ({"username": "..", "password": PASSWORD}, "invalid_username"),
    ({"username": "command-line", "password": PASSWORD}, "invalid_username"),
    ({"username": "x", "password": PASSWORD, "role": "root"}, "invalid_role"),
    ({"username": "x", "password": "12345678"}, "password_too_weak"), ({"username": "admin", "password": PASSWORD}, "user_exists"),
    ({"username": 5, "password": PASSWORD}, "invalid_value")])
def test_users_that_cannot_be_are_refused(hub, body, expected):
    answer = hub.post("/users", json=body)
    assert code(answer) == (400, expected) and " " in answer.json()["error"] and PASSWORD not in answer.text


def test_unknown_users_are_404(hub):
    for answer in (hub.request("DELETE", "/users/nobody"), hub.request("PUT", "/users/nobody/role", json={"role": "user"}),
                   hub.post("/users/nobody/reset-password", json={"new_password": PASSWORD})):
        assert code(answer) == (404, "user_not_found") and " " in answer.json()["error"]


def test_the_first_and_the_last_administrator_stay(start, database_url):
    extra = {"DATABASE_URL": database_url} if database_url else {}
    own = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN, INITIAL_ADMIN_USER="root",
                INITIAL_ADMIN_PASSWORD=ADMIN_PASSWORD, **extra)
    assert code(own.request("DELETE", "/users/root")) == (400, "initial_admin")
    assert code(own.request("PUT", "/users/root/role", json={"role": "user"})) == (400, "last_admin")
    assert code(own.request("PUT", "/users/root/role", json={"role": "boss"})) == (400, "invalid_role")
    make(own, "ada", "admin")
    assert own.request("PUT", "/users/root/role", json={"role": "user"}).status_code == 200
    assert code(own.request("DELETE", "/users/ada")) == (400, "last_admin")


def test_users_are_the_administrators_business(hub, name):
    token = signed_in(hub, name)["access_token"]
    calls = [("GET", "/users", None), ("POST", "/users", {"username": "x", "password": PASSWORD}), ("DELETE", f"/users/{name}", None),
             ("PUT", f"/users/{name}/role", {"role": "admin"}), ("POST", f"/users/{name}/reset-password", {"new_password": OTHER})]
    for method, path, body in calls:
        for prefix in ("", "/api/auth"):
            assert hub.request(method, prefix + path, headers=bearer(token), json=body).status_code == 403
            assert hub.request(method, prefix + path, auth=False, json=body).status_code == 401
    assert hub.get("/me", headers=bearer(token)).json()["role"] == "user"


def test_without_an_agent_token_the_users_still_need_an_administrator(start):
    own = start("hub", "--role", "hub", INITIAL_ADMIN_PASSWORD=ADMIN_PASSWORD)
    assert own.get("/users").status_code == 401
    token = sign_in(own, "admin", ADMIN_PASSWORD).json()["access_token"]
    assert own.get("/users", headers=bearer(token)).status_code == 200
    make_ada = own.post("/users", headers=bearer(token), json={"username": "ada", "password": PASSWORD})
    assert make_ada.status_code == 200
    of_ada = sign_in(own, "ada", PASSWORD).json()["access_token"]
    assert own.get("/users", headers=bearer(of_ada)).status_code == 403
    assert own.post("/config", headers=bearer(of_ada), json={}).status_code == 403


# --- the first administrator


def test_a_hub_makes_an_administrator_and_shows_the_password_once(start):
    first = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN)
    line = first.line_with("sign in")
    password = line.split("the password ")[1].split()[0]
    assert len(password) >= 16 and sign_in(first, "admin", password).status_code == 200
    first.stop()
    again = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN)
    again.line_with("next ")
    assert not [each for each in again.lines if "sign in" in each] and password not in "".join(again.lines + again.errors)
    assert sign_in(again, "admin", password).status_code == 200
    for file in first.data.rglob("*"):
        assert not file.is_file() or password.encode() not in file.read_bytes(), file


def test_no_administrator_is_made_where_none_is_wanted(start):
    for name, arguments, environment in (("worker", (), {}), ("hub", ("--role", "hub"), {"DISABLE_INITIAL_ADMIN": "1"})):
        own = start(name, *arguments, "--host", "127.0.0.1", token=TOKEN, **environment)
        assert own.get("/users").json() == []
        assert not [each for each in own.lines if "sign in" in each]


@pytest.mark.parametrize("name", ["system", "..", "Command-Line"])
def test_a_name_that_users_cannot_have_stops_the_start(tmp_path, name):
    done = ananta(tmp_path, "--role", "hub", "--port", "0", INITIAL_ADMIN_USER=name, DISABLE_LLM_CHECK="1")
    assert done.returncode == 2 and "INITIAL_ADMIN_USER" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_stream_ends_with_the_user(hub, name):
    token = signed_in(hub, name)["access_token"]
    with hub.get("/events", headers=bearer(token), stream=True) as stream:
        assert stream.status_code == 200
        hub.request("DELETE", f"/users/{name}")
        # It is looked at again from time to time; what comes until then are comments and events.
        for _ in stream.iter_content(None):
            pass
    assert hub.get("/events", headers=bearer(token)).status_code == 401


def actions(server) -> str:
    return (server.data / "audit.log").read_text()


def test_limits_are_shared_by_hubs_on_one_database(start, postgres_server):
    url = postgres_server.database()
    hubs = [start(each, "--role", "hub", "--host", "127.0.0.1", token=TOKEN, DATABASE_URL=url,
                  INITIAL_ADMIN_PASSWORD=ADMIN_PASSWORD, SECRET_KEY="k" * 32) for each in ("one", "two")]
    for number in range(10):
        assert sign_in(hubs[number % 2], "nobody", OTHER).status_code == 401
    assert [sign_in(each, "admin", ADMIN_PASSWORD).status_code for each in hubs] == [429, 429]
    reports = [each.post("/csp-report", auth=False, json={"csp-report": {}}).status_code for each in hubs * 6]
    assert reports == [204] * 10 + [429] * 2
