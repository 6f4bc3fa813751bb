"""Who may call what: the token, JWTs made with it, users' JWTs, reads without credentials, and no token at all."""
import time

import jwt
import pytest

AUTHENTICATED = [("POST", "/step/execute"), ("GET", "/providers"), ("POST", "/api/sgpt/execute"), ("POST", "/config"),
                 ("POST", "/rotate-token"), ("POST", "/step/stop")]


def signed(key: str, **claims) -> str:
    with pytest.warns() if len(key) < 32 else _quiet():
        return jwt.encode({"sub": "frontend", "exp": time.time() + 600, **claims}, key, algorithm="HS256")


class _quiet:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


@pytest.mark.parametrize(("method", "path"), AUTHENTICATED)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic a-token-of-some-length", "Bearer ü", "Bearer a.b.c"])
def test_missing_and_wrong_credentials_are_401(guarded, method, path, header):
    headers = {"Authorization": header.encode()} if header else {}
    answer = guarded.request(method, path, auth=False, headers=headers, json={})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens_as_header_with_any_case_of_the_scheme(guarded, scheme):
    assert guarded.get("/providers", headers={"Authorization": f"{scheme} {guarded.token}"}).status_code == 200


def test_the_token_opens_as_query_parameter(guarded):
    assert guarded.get(f"/providers?token={guarded.token}", auth=False).status_code == 200


def test_the_header_wins_over_the_query(guarded):
    answer = guarded.get(f"/providers?token={guarded.token}", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_a_jwt_made_with_the_agent_token_is_the_administrator(guarded):
    token = signed(guarded.token)
    answer = guarded.post("/config", json={"max_summary_length": 400}, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    without_exp = jwt.encode({"a": 1}, guarded.token, algorithm="HS256") if len(guarded.token) >= 32 else None
    assert without_exp is None or guarded.get("/providers", headers={"Authorization": f"Bearer {without_exp}"}).ok


@pytest.mark.parametrize("claims", [{"exp": 1}])
def test_an_expired_jwt_is_refused(guarded, claims):
    answer = guarded.get("/providers", headers={"Authorization": f"Bearer {signed(guarded.token, **claims)}"})
    assert answer.status_code == 401


def test_an_unsigned_or_otherwise_signed_jwt_is_refused(guarded):
    for token in (jwt.encode({"sub": "x"}, None, algorithm="none"), signed("another-key-of-enough-length-for-hs256")):
        assert guarded.get("/providers", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_user_needs_the_admin_role_for_the_configuration(guarded):
    key = (guarded.data / "secrets" / "secret_key").read_text().strip()
    for role, status in (("user", 403), ("admin", 200)):
        token = signed(key, sub="ada", role=role)
        answer = guarded.post("/config", json={}, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status
        assert guarded.get("/providers", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_user_token_without_expiry_or_name_is_refused(guarded):
    key = (guarded.data / "secrets" / "secret_key").read_text().strip()
    for claims in ({"sub": "ada"}, {"exp": time.time() + 60}, {"sub": 5, "exp": time.time() + 60}):
        try:
            token = jwt.encode(claims, key, algorithm="HS256")
        except TypeError:
            continue
        assert guarded.get("/providers", headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize("path", ["/config", "/logs"])
def test_reading_from_this_machine_needs_no_token_but_a_presented_one_must_be_right(guarded, path):
    assert guarded.get(path, auth=False).status_code == 200
    assert guarded.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    for header in ("X-Forwarded-For", "Forwarded"):
        assert guarded.get(path, auth=False, headers={header: "1.2.3.4"}).status_code == 401


def test_open_paths_ignore_credentials(guarded):
    assert guarded.get("/health", headers={"Authorization": "Bearer wrong"}).json() == {"status": "ok"}


def test_reads_can_be_closed(start):
    worker = start("closed", "--host", "127.0.0.1", token="a-token-of-some-length", ANONYMOUS_READS="off")
    assert worker.get("/logs", auth=False).status_code == 401
    assert worker.post("/step/propose", json={}, auth=False).status_code == 401
    assert worker.get("/logs").status_code == 200


def test_without_a_token_this_machine_is_the_administrator_and_wrong_credentials_are_ignored(server):
    assert server.post("/config", json={}, headers={"Authorization": "Bearer whatever"}).status_code == 200
    assert server.get("/providers").status_code == 200


def test_a_short_token_works_as_a_key(start):
    worker = start("short", "--host", "127.0.0.1", token="hubsecret")
    token = signed("hubsecret")
    assert worker.get("/providers", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert worker.line_with("SHORT")


def test_a_rotated_token_is_invalid_at_once_and_after_a_restart(start):
    worker = start("rotating", "--host", "127.0.0.1", token="a-token-of-some-length")
    new = worker.post("/rotate-token").json()["new_token"]
    assert len(new) == 43 and "." not in new
    assert worker.get("/providers").status_code == 401
    worker.token = new
    assert worker.get("/providers").status_code == 200
    worker.stop()
    assert (worker.data / "secrets" / "agent_token.json").stat().st_mode & 0o777 == 0o600
    again = start("rotating", "--host", "127.0.0.1", token="a-token-of-some-length")
    assert again.get("/providers").status_code == 401
    again.token = new
    assert again.get("/providers").status_code == 200
    again.stop()
    other = start("rotating", "--host", "127.0.0.1", token="another-token-set-later")
    assert other.get("/providers").status_code == 200


def test_every_route_declares_who_may_call_it(server):
    document = server.get("/openapi.json").json()
    assert len(document["paths"]) > 10
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "security" in operation and "Who may call" in operation["description"]


def test_a_route_without_access_stops_the_start():
    from bottle import Bottle

    from ananta.errors import CannotStart
    from ananta.web.server import check_declared

    app = Bottle()
    app.get("/open-door", callback=lambda: "x")
    with pytest.raises(CannotStart, match="/open-door"):
        check_declared(app)


def test_without_a_token_nobody_can_make_one_over_the_network(server):
    answer = server.post("/rotate-token")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    key = (server.data / "secrets" / "secret_key").read_text().strip()
    user = signed(key, sub="ada", role="user")
    assert server.post("/rotate-token", headers={"Authorization": f"Bearer {user}"}).status_code == 403


@pytest.mark.parametrize("claims", [{"iat": 4_000_000_000}, {"iat": "abc"}, {"nbf": 4_000_000_000}, {"sub": 7}])
def test_a_jwt_made_with_the_agent_token_may_carry_any_claims_but_an_old_expiry(guarded, claims):
    token = _signed_as_it_is({"exp": time.time() + 600, **claims}, guarded.token)
    assert guarded.get("/providers", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def _signed_as_it_is(claims: dict, key: str) -> str:
    """A token with claims that a careful library would refuse to write."""
    import base64
    import hashlib
    import hmac
    import json

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    text = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(claims).encode())
    return text + "." + part(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest())
