"""Signing a page in: the code of the start, the cookie, the token of the page, and what ends it."""
import re
import time

import jwt
import pytest
import requests

from tests.conftest import WAIT_S, Ananta, ananta
from tests.hub.conftest import HUB

PASSWORD = "the-first-password"


class Page:
    """A browser without scripts: keeps cookies, sends Origin and the page's token as the console does."""

    def __init__(self, agent: Ananta):
        self.agent, self.session, self.csrf = agent, requests.Session(), None
        self.session.trust_env = False

    def call(self, method: str, path: str, *, csrf: bool = True, **options):
        headers = {"Sec-Fetch-Site": "same-origin", **options.pop("headers", {})}
        if method not in ("GET", "HEAD"):
            headers.setdefault("Origin", self.agent.url)
            if csrf and self.csrf:
                headers["X-CSRF-Token"] = self.csrf
        return self.session.request(method, self.agent.url + path, headers=headers, timeout=WAIT_S, allow_redirects=False,
                                    **options)

    def inside(self) -> bool:
        answer = self.call("GET", "/session")
        assert answer.status_code == 200, answer.text
        return answer.json()["username"] is not None

    def enter(self, **shown):
        answer = self.call("POST", "/session", json=shown)
        if answer.ok:
            self.csrf = answer.json()["csrf_token"]
        return answer


def code_of(agent: Ananta) -> str:
    return re.search(r"/ui/#code=(\S+)", agent.line_with("/ui/#code=")).group(1)


@pytest.fixture
def page(start):
    agent = start("worker", "--host", "127.0.0.1", token="a-token-of-some-length", DEFAULT_PROVIDER="mock",
                  ANONYMOUS_READS="off")
    return Page(agent)


@pytest.fixture
def at_hub(start):
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=HUB, ANONYMOUS_READS="off", DEFAULT_PROVIDER="mock",
                INITIAL_ADMIN_PASSWORD=PASSWORD)
    return Page(hub)


def sign_in(page: Page, name: str = "admin", password: str = PASSWORD):
    given = page.call("POST", "/login", json={"username": name, "password": password}).json()
    return page.enter(token=given["access_token"])


def test_the_code_of_the_start_signs_in_once(page):
    code = code_of(page.agent)
    answer = page.enter(code=code)
    assert answer.status_code == 200
    assert {**answer.json(), "csrf_token": "", "expires_at": 0, "version": ""} == {
        "username": "console", "kind": "system", "admin": True, "agent": "default", "role": "worker", "version": "",
        "expires_at": 0, "csrf_token": ""}
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert page.call("GET", "/session").json()["username"] == "console"
    assert "csrf_token" not in page.call("GET", "/session").json()
    again = Page(page.agent).enter(code=code)
    assert (again.status_code, again.json()["code"]) == (401, "code_used")


def test_behind_tls_the_cookie_is_secure(page):
    answer = page.call("POST", "/session", json={"code": code_of(page.agent)}, headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["Set-Cookie"].endswith("; Secure")


def test_what_changes_something_needs_the_token_of_the_page(page):
    page.enter(code=code_of(page.agent))
    assert page.call("POST", "/step/execute", json={"command": "echo hi"}).json()["exit_code"] == 0
    answer = page.call("POST", "/step/execute", json={"command": "echo hi"}, csrf=False)
    assert (answer.status_code, answer.json()["code"]) == (401, "csrf_token_missing")
    page.csrf = "another"
    assert page.call("DELETE", "/session").status_code == 401
    assert page.call("GET", "/providers").status_code == 200


@pytest.mark.parametrize("headers", [
    {"Origin": "http://localhost:4200"}, {"Origin": "null"}, {"Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example"}])
def test_the_cookie_counts_only_for_this_very_origin(page, headers):
    page.enter(code=code_of(page.agent))
    for method, path in (("GET", "/providers"), ("POST", "/step/execute")):
        assert page.call(method, path, headers=headers, json={"command": "echo hi"}).status_code in (401, 403), (method, headers)
    assert page.agent.records() == []


def test_a_stolen_cookie_alone_changes_nothing(page):
    page.enter(code=code_of(page.agent))
    thief = Page(page.agent)
    thief.session.cookies = page.session.cookies
    assert thief.call("POST", "/session/code", json={}).status_code == 401
    assert thief.call("POST", "/step/execute", json={"command": "echo hi"}).status_code == 401


def test_signing_out_ends_it_here_and_now(page):
    page.enter(code=code_of(page.agent))
    stolen = page.session.cookies.copy()
    assert page.call("DELETE", "/session").json() == {"status": "signed_out"}
    assert not page.inside()
    page.session.cookies = stolen
    assert not page.inside()


def test_the_agent_token_opens_a_session_that_ends_with_the_token(page):
    assert page.enter(token="wrong").status_code == 401
    assert page.enter(token=page.agent.token).status_code == 200
    assert page.inside()
    assert page.agent.post("/rotate-token").status_code == 200
    assert not page.inside()


def test_sessions_outlive_a_restart_and_codes_do_not(page, start):
    page.enter(token=page.agent.token)
    code = code_of(page.agent)
    page.agent.stop()
    port = page.agent.url.rsplit(":", 1)[1]
    again = start("worker", "--host", "127.0.0.1", "--port", port, token="a-token-of-some-length", ANONYMOUS_READS="off")
    page.agent = again
    assert page.inside()
    assert Page(again).enter(code=code).status_code == 401
    assert Page(again).enter(code=code_of(again)).status_code == 200


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"token": None}])
def test_without_code_and_token_the_answer_says_so(page, body):
    answer = page.call("POST", "/session", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "missing_token")


@pytest.mark.parametrize("body", [{"code": 1}, {"code": "x" * 300}, {"token": ["a"]}, {"code": "\0"}, {"token": "\ud800a.b.c"}])
def test_odd_codes_are_refused(page, body):
    assert page.call("POST", "/session", json=body).status_code in (400, 401)


def test_who_is_not_signed_in_learns_only_whom_the_page_talks_to(page):
    found = page.call("GET", "/session").json()
    assert {**found, "version": ""} == {"username": None, "kind": "anonymous", "admin": False, "agent": "default", "role": "worker",
                                        "version": "", "expires_at": 0}


def test_tries_are_limited(page):
    for _ in range(10):
        assert page.enter(code="guess").status_code == 401
    assert page.enter(code=code_of(page.agent)).status_code == 429


def test_the_command_line_prints_a_fresh_address(page):
    done = ananta(page.agent.folder, "ui", AGENT_TOKEN=page.agent.token)
    assert done.returncode == 0, done.stderr
    code = done.stdout.strip().split("#code=")[1]
    assert done.stdout.startswith(page.agent.url + "/ui/")
    assert page.enter(code=code).status_code == 200
    assert page.agent.token not in done.stdout


def test_without_a_server_the_command_says_what_to_do(tmp_path):
    done = ananta(tmp_path, "ui")
    assert done.returncode == 1 and "start it with `ananta`" in done.stderr


def test_a_worker_without_a_token_shows_nothing_but_the_sign_in_before_it(start):
    page = Page(start("open", DEFAULT_PROVIDER="mock"))
    assert not page.inside()
    page.enter(code=code_of(page.agent))
    assert page.inside()
    assert page.call("POST", "/step/execute", json={"command": "echo hi"}).status_code == 200
    # Without the page's token the cookie is refused, also where no credential would be needed.
    assert page.call("POST", "/step/execute", json={"command": "echo hi"}, csrf=False).status_code == 401
    page.call("DELETE", "/session")
    assert not page.inside()


def test_users_sign_in_at_a_hub_and_are_themselves(at_hub):
    assert "#code=" not in at_hub.agent.line_with("console ")
    answer = sign_in(at_hub)
    assert (answer.json()["username"], answer.json()["kind"], answer.json()["role"]) == ("admin", "user", "hub")
    assert at_hub.call("GET", "/me").json()["username"] == "admin"
    assert at_hub.call("POST", "/tasks", json={"title": "one"}).status_code == 201
    assert at_hub.call("POST", "/session/code", json={}).status_code == 403


def other(at_hub: Page, name: str = "ada") -> Page:
    made = at_hub.call("POST", "/users", json={"username": name, "password": "a long enough one"})
    assert made.status_code == 200, made.text
    page = Page(at_hub.agent)
    assert sign_in(page, name, "a long enough one").status_code == 200
    return page


@pytest.mark.parametrize(("method", "path", "body"), [
    ("DELETE", "/users/ada", None), ("PUT", "/users/ada/role", {"role": "admin"}),
    ("POST", "/users/ada/reset-password", {"new_password": "another long one"})])
def test_what_is_done_to_a_user_ends_the_sessions(at_hub, method, path, body):
    sign_in(at_hub)
    ada = other(at_hub)
    assert ada.call("GET", "/users").status_code == 403
    assert at_hub.call(method, path, json=body).status_code == 200
    assert not ada.inside()
    assert ada.call("GET", "/tasks").status_code == 401


def test_another_password_ends_the_sessions(at_hub):
    sign_in(at_hub)
    changed = at_hub.call("POST", "/change-password", json={"old_password": PASSWORD, "new_password": "another long one"})
    assert changed.status_code == 200 and not at_hub.inside()


def test_the_token_of_a_refresh_opens_no_session(at_hub):
    given = at_hub.call("POST", "/login", json={"username": "admin", "password": PASSWORD}).json()
    fresh = at_hub.call("POST", "/refresh-token", json={"refresh_token": given["refresh_token"]}).json()["access_token"]
    assert at_hub.enter(token=fresh).status_code == 401


def test_the_streams_take_the_session_and_end_with_it(page):
    page.enter(token=page.agent.token)
    stream = page.call("GET", "/events", stream=True)
    assert stream.status_code == 200
    lines = stream.iter_lines(chunk_size=1)
    assert next(lines) == b": open"
    page.call("DELETE", "/session")
    begun = time.monotonic()
    assert [line for line in lines if line.startswith(b"data")] == []
    assert time.monotonic() - begun < WAIT_S
    assert page.call("GET", "/events").status_code == 401


def test_what_is_kept_gives_no_session_away(page):
    page.enter(token=page.agent.token)
    cookie = next(iter(page.session.cookies)).value
    kept = b"".join(each.read_bytes() for each in page.agent.data.rglob("*") if each.is_file())
    assert cookie.encode() not in kept and page.csrf.encode() not in kept


def test_the_name_of_the_cookie_tells_agents_on_one_machine_apart(page, start):
    another = Page(start("another", "--host", "127.0.0.1", token="a-token-of-some-length", ANONYMOUS_READS="off"))
    page.enter(token=page.agent.token)
    another.session.cookies = page.session.cookies
    assert another.enter(token=another.agent.token).status_code == 200
    assert page.inside() and another.inside()


def test_a_token_that_others_signed_opens_nothing(at_hub):
    forged = jwt.encode({"sub": "admin", "role": "admin", "gen": 9, "exp": time.time() + 60, "auth_time": int(time.time())},
                        b"x" * 32, algorithm="HS256")
    assert at_hub.enter(token=forged).status_code == 401


def test_files_of_the_console(page):
    shown = page.call("GET", "/ui/")
    assert shown.status_code == 200 and shown.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = shown.headers["Content-Security-Policy"]
    assert "require-trusted-types-for 'script'" in policy and "unsafe" not in policy and "default-src 'self'" in policy
    tag = shown.headers["ETag"]
    same = page.call("GET", "/ui/", headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    for name in ("/ui/nothing.js", "/ui/../apidocs.css", "/ui/%2e%2e/apidocs.css", "/ui/index.html/", "/ui/INDEX.HTML",
                 "/ui//etc/passwd", "/ui/index"):
        raw = page.call("GET", name)
        assert raw.status_code in (200, 404) and b"root:" not in raw.content
    assert page.call("GET", "/ui/nothing.js").status_code == 404


def test_a_browser_is_led_to_the_console_and_a_program_to_the_description(page):
    assert page.call("GET", "/", headers={"Accept": "text/html,*/*"}).headers["Location"] == "/ui/"
    assert page.call("GET", "/", headers={"Accept": "*/*"}).headers["Location"] == "/apidocs"


def test_the_doctor_answers_over_http(page):
    findings = page.agent.get("/doctor").json()
    assert {"data", "shell", "clock", "model"} <= {each["subject"] for each in findings}
    assert all(set(each) == {"subject", "ok", "text"} for each in findings)
    assert page.agent.token not in str(findings)
