"""Health, readiness, metrics, reports of browsers, the description of the interface."""
import json
import re

import pytest


def test_health_says_exactly_ok(server):
    answer = server.get("/health")
    assert answer.status_code == 200 and answer.json() == {"status": "ok"}
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/health?verbose=1", "/api/system/health"])
def test_the_verbose_health_tells_more(server, path):
    answer = server.get(path).json()
    assert answer["status"] == "ok" and answer["agent"] == "default" and answer["role"] == "worker"
    assert answer["checks"]["shell"]["status"] == "ok" and answer["checks"]["llm_providers"] == {"mock": "ok"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer["version"]) and "data" not in answer


def test_ready_reports_a_missing_model_but_stays_ready(start):
    worker = start(LMSTUDIO_URL="http://127.0.0.1:1/v1")
    answer = worker.get("/ready")
    assert answer.status_code == 200 and answer.json()["ready"] is True
    checks = answer.json()["checks"]
    assert checks["database"]["status"] == "ok" and checks["database"]["latency"] >= 0
    assert checks["llm"]["status"] == "unreachable" and checks["llm"]["message"].endswith(".")


def test_metrics_have_the_agreed_names(server):
    before = server.get("/metrics").text
    server.execute("true")
    server.execute("false")
    server.post("/step/propose", json={})
    text = server.get("/metrics").text
    for name in ("task_received_total", "task_completed_total", "task_failed_total", "retries_total", "shell_pool_size",
                 "shell_pool_busy", "shell_pool_free", "process_cpu_usage_percent", "process_ram_usage_bytes",
                 "llm_call_duration_seconds_bucket", "http_request_duration_seconds_bucket"):
        assert re.search(rf"^{name}(\{{.*\}})? [0-9.e+]+$", text, re.MULTILINE), name

    def value(where, name):
        return float(re.search(rf"^{name} (\S+)$", where, re.MULTILINE).group(1))

    assert value(text, "task_received_total") == value(before, "task_received_total") + 2
    assert value(text, "task_failed_total") == value(before, "task_failed_total") + 1


REPORT = {"csp-report": {"document-uri": "http://localhost/x", "violated-directive": "script-src",
                         "blocked-uri": "https://evil.example/a.js"}}


def test_reports_of_browsers_are_taken_and_limited(start):
    worker = start()
    answer = worker.post("/api/system/csp-report", data=json.dumps(REPORT),
                         headers={"Content-Type": "application/csp-report", "User-Agent": "b" * 600})
    assert answer.status_code == 204 and answer.content == b""
    modern = [{"type": "csp-violation", "age": 1, "url": "http://localhost/x", "body": {
        "documentURL": "http://localhost/x", "blockedURL": "inline", "effectiveDirective": "style-src"}},
        {"type": "deprecation", "body": {}}]
    assert worker.post("/api/system/csp-report", json=modern).status_code == 204
    lines = [json.loads(line) for line in (worker.data / "audit.log").read_text().splitlines()]
    assert [each["event"] for each in lines] == ["CSP_VIOLATION"] * 2
    assert lines[0]["details"]["report"] == REPORT and len(lines[0]["details"]["user_agent"]) == 512
    for body in (b"", b"x", b"5"):
        assert worker.post("/api/system/csp-report", data=body).status_code == 400
    assert worker.post("/api/system/csp-report", data=b"[" + b" " * (64 << 10) + b"]").status_code == 413
    codes = [worker.post("/csp-report", json=REPORT).status_code for _ in range(6)]
    assert codes[:4] == [204] * 4 and codes[4:] == [429] * 2


def test_the_description_names_every_path_and_its_schemas(server):
    document = server.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert server.get("/apispec_1.json").json() == document
    body = document["paths"]["/step/execute"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = document["components"]["schemas"][body["$ref"].rsplit("/", 1)[1]]["properties"]
    assert {"command", "timeout", "task_id", "retries"} <= set(fields)
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    page = server.get("/apidocs")
    assert "<script" not in page.text and "style=" not in page.text and "/step/propose" in page.text
    assert not re.search(r'(src|href)="(https?:)?//', page.text)
    assert server.get("/apidocs/style.css").headers["Content-Type"].startswith("text/css")


def test_a_browser_is_led_to_the_description(server):
    answer = server.get("/")
    assert answer.status_code == 302 and answer.headers["Location"] == "/apidocs"
