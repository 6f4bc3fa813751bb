"""What every request passes: Host, Origin, path, size, method; and what every answer carries."""
import json
import re
import socket

import pytest

HEADERS = ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Permissions-Policy",
           "Content-Security-Policy", "X-Correlation-ID")
ERROR_FIELDS = {"error", "code", "message", "cid"}


def raw(server, request: bytes) -> bytes:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/config", "/logs", "/apidocs"])
def test_every_answer_carries_the_security_headers(server, path):
    answer = server.get(path)
    assert all(name in answer.headers for name in HEADERS)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "Server" not in answer.headers


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/config", "/logs", "/apidocs", "/openapi.json"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "localhost@evil.example",
                                  "10.1.2.3", "[fe80::1]"])
def test_a_foreign_host_is_refused_on_every_path(server, path, host):
    answer = server.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "127.9.9.9:5000", "[::1]:5000"])
def test_names_of_this_machine_are_allowed(server, host):
    assert server.get("/health", headers={"Host": host}).status_code == 200


def test_a_request_without_host_is_refused(server):
    assert b" 403 " in raw(server, b"GET /health HTTP/1.0\r\n\r\n").split(b"\r\n")[0]


def test_listed_hosts_are_allowed(start):
    worker = start(ALLOWED_HOSTS="ananta.example, other.example:81")
    assert worker.get("/health", headers={"Host": "ananta.example:5000"}).status_code == 200
    assert worker.get("/health", headers={"Host": "other.example:81"}).status_code == 200
    assert worker.get("/health", headers={"Host": "third.example"}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:4201", "http://127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", ["/health", "/nowhere", "/step/execute"])
def test_a_foreign_origin_is_refused(server, path, origin):
    answer = server.post(path, headers={"Origin": origin}, json={"command": "echo no"})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_cross_site_request_without_origin_is_refused(server):
    assert server.get("/logs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_nothing_runs_for_a_foreign_page(server):
    marker = server.folder / "planted"
    server.post("/step/execute", headers={"Origin": "https://evil.example", "Content-Type": "text/plain"},
                data=json.dumps({"command": f"touch {marker}"}))
    assert not marker.exists()


def test_a_header_token_opens_a_foreign_origin_but_a_query_token_does_not(guarded):
    foreign = {"Origin": "https://evil.example"}
    assert guarded.get("/config", headers=foreign).status_code == 200
    assert guarded.get(f"/config?token={guarded.token}", headers=foreign, auth=False).status_code == 403


@pytest.mark.parametrize("path", ["/config", "/nowhere"])
def test_an_allowed_origin_gets_cors_headers_also_on_errors(server, path):
    answer = server.get(path, headers={"Origin": "http://localhost:4200"})
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:4200"
    assert "Origin" in answer.headers["Vary"]
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("path", ["/config", "/nowhere", "/step/execute"])
def test_a_preflight_is_answered_on_every_path(guarded, path):
    answer = guarded.request("OPTIONS", path, auth=False, headers={
        "Origin": "http://localhost:4200", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-thing"})
    assert answer.status_code == 204 and answer.content == b""
    assert "x-thing" in answer.headers["Access-Control-Allow-Headers"]
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Max-Age"] == "600"


def test_the_correlation_id_is_taken_over_or_made(server):
    answer = server.get("/nowhere", headers={"X-Correlation-ID": "abc-1"})
    assert answer.headers["X-Correlation-ID"] == answer.json()["cid"] == "abc-1"
    made = server.get("/nowhere", headers={"X-Correlation-ID": "a b\tc"}).json()["cid"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("GET", "/nowhere", 404, "not_found"), ("DELETE", "/health", 405, "method_not_allowed"),
    ("GET", "/tasks/T-1/propose", 404, "not_found"), ("GET", "/tasks", 404, "not_found"),
    ("GET", "/x%ff", 400, "invalid_path"), ("GET", "/health%00", 400, "invalid_path"),
    ("POST", "/step/execute%FF", 400, "invalid_path")])
def test_errors_are_json_with_code_and_sentence(server, method, path, status, code):
    answer = server.request(method, path)
    assert answer.status_code == status and answer.json()["code"] == code
    assert set(answer.json()) >= ERROR_FIELDS and answer.headers["Content-Type"] == "application/json"
    assert answer.json()["message"].endswith(".")


def test_a_wrong_method_names_the_right_ones(server):
    assert {"GET", "HEAD"} <= set(server.request("DELETE", "/health").headers["Allow"].split(","))


def test_head_answers_like_get_without_a_body(server):
    answer = server.request("HEAD", "/health")
    assert answer.status_code == 200 and answer.content == b""
    assert server.request("HEAD", "/nowhere").status_code == 404


def test_a_trailing_slash_changes_nothing(server):
    assert server.get("/health/").json() == {"status": "ok"}
    assert server.get("/config/").status_code == 200


def test_a_body_over_two_mebibytes_is_refused_as_json(server):
    origin = {"Origin": "http://localhost:4200"}
    answer = server.post("/step/execute", data=b"x" * ((2 << 20) + 2), headers=origin)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:4200"
    assert set(answer.json()) >= ERROR_FIELDS


def test_a_body_of_two_mebibytes_is_read(server):
    body = b'{"command": "true", "filler": "' + b"x" * ((2 << 20) - 33) + b'"}'
    assert len(body) == 2 << 20
    assert server.post("/step/execute", data=body).status_code == 200


@pytest.mark.parametrize("request_text", [
    b"POST /step/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /step/execute HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\tx, chunked\r\n\r\n0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n folded\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    b"nonsense\r\n\r\n"])
def test_what_two_programs_could_read_differently_is_refused(server, request_text):
    answer = raw(server, request_text)
    assert answer.split(b" ")[1] in (b"400", b"501")
    assert answer.count(b"HTTP/1.") == 1
    assert set(json.loads(answer.split(b"\r\n\r\n", 1)[1])) >= ERROR_FIELDS


@pytest.mark.parametrize("body", [b"{", b"[1]", b"null", b'"x"', b'{"command": NaN}', b"[" * 100_000, b"\xff\xfe",
                                  b'{"command": "\\ud800"}', b'{"timeout": 1e999}'])
def test_malformed_bodies_are_named(server, body):
    answer = server.post("/step/execute", data=body)
    assert answer.status_code == 400 and answer.json()["code"] in ("invalid_json", "invalid_value")


def test_json_is_read_whatever_the_content_type_says(server):
    answer = server.post("/step/execute", data=b'{"command": "echo yes"}', headers={"Content-Type": "text/plain"})
    assert answer.json()["output"] == "yes"
