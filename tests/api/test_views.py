"""The calls of each view of the reference client, in its order, with its bodies and credentials, against a hub with a worker.

What was said is compared with transcripts/<view>.txt, where ids, times, ports, tokens and figures are replaced by their
kind. After a wanted change: `UPDATE_TRANSCRIPTS=1 python -m pytest tests/api/test_views.py`, and look at the difference.
"""
import json
import os
import re
import time
from pathlib import Path

import jwt
import pyotp
import pytest
import requests

from tests.conftest import WAIT_S, eventually

TRANSCRIPTS = Path(__file__).parent / "transcripts"
ORIGIN = "http://localhost:4200"
HUB, WORKER, PASSWORD = "hubsecret", "secret1", "a long enough pass phrase"
FIGURES = {"cpu_percent", "ram_bytes", "latency", "duration", "timestamp", "created_at", "updated_at", "archived_at", "last_seen", "last_run",
           "next_run", "expires_at", "last_success", "last_fail", "last_used", "first_seen"}
SECRETS = {"access_token", "refresh_token", "new_token", "secret", "qr_code", "backup_codes", "cid", "digest", "prev", "hash", "token"}


class View:
    """Makes the calls of one view and writes down what was said."""

    def __init__(self, hub, worker, model):
        self.hub, self.worker, self.model = hub, worker, model
        self.lines: list[str] = []
        self.names: dict[str, str] = {}
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, body=None, *, token: str | None = HUB, at=None, status: int = 200):
        """Returns the body of the answer, which is JSON unless it is something else."""
        headers = {"Origin": ORIGIN, **({"Authorization": f"Bearer {token}"} if token else {})}
        answer = self.session.request(method, (at or self.hub).url + path, json=body, headers=headers, timeout=WAIT_S,
                                      allow_redirects=False)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        # Without this the browser would hide the answer from the client.
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        self.lines.append(f"> {method} {self.plain(path)}{f' at {at.settings_name}' if at else ''}")
        if body is not None:
            self.lines.append(f"  {json.dumps(self.shown(body), ensure_ascii=False)}")
        told = answer.headers["Content-Type"].startswith("application/json")
        value = answer.json() if told else answer.text
        # A body with both would be unwrapped by the client.
        assert not (isinstance(value, dict) and {"status", "data"} <= value.keys())
        self.lines.append(f"< {answer.status_code} " + (
            json.dumps(self.shown(value), ensure_ascii=False) if told else f"{answer.headers['Content-Type']}\n" + self.plain(value).replace("\r", "␍")))
        return value

    def events(self, path: str, wanted: str) -> None:
        """Opens a stream as the client does, with the token in the query, and reads until the wanted text has come."""
        answer = self.session.get(self.hub.url + path, params={"token": HUB}, headers={"Origin": ORIGIN}, stream=True, timeout=WAIT_S)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/event-stream")
        self.lines.append(f"> GET {self.plain(path)}?token=…")
        for line in answer.iter_lines(chunk_size=1):
            if wanted in line.decode():
                event = json.loads(line.decode().removeprefix("data: "))
                self.lines.append(f"< 200 text/event-stream\ndata: {json.dumps(self.shown(event), ensure_ascii=False)}")
                answer.close()
                return
        raise AssertionError(f"{path} ended without {wanted!r}")

    def shown(self, value, name: str = ""):
        if name in SECRETS and value:
            return "…"
        if name in FIGURES and isinstance(value, (int, float)):
            return 0
        if isinstance(value, dict):
            return {self.plain(key): self.shown(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [self.shown(each, name) for each in value]
        return self.plain(value) if isinstance(value, str) else value

    def plain(self, text: str) -> str:
        """The text with ids and addresses by their kind and number."""
        def named(found: re.Match) -> str:
            return self.names.setdefault(found[0], f"<id {len(self.names) + 1}>")

        text = text.replace(self.hub.url, "http://hub").replace(self.worker.url, "http://worker").replace(self.model.url, "http://model")
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\bP-[0-9a-f]{16}\b|\b[0-9a-f]{16}\b", named, text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+Z-]+", "<time>", text)
        return re.sub(r"/(?:tmp|private|var)/\S*?pytest\S*?(?=[\"\s,]|$)", "<folder>", text)

    def user_token(self) -> str:
        return self.session.post(self.hub.url + "/login", json={"username": "admin", "password": PASSWORD}, timeout=WAIT_S).json()["access_token"]

    def proposes(self, **fields) -> None:
        self.model.answer(json.dumps(fields))


def shell(view: View) -> None:
    view.session.post(view.hub.url + "/tasks", json={"title": "Seen by all"}, headers={"Authorization": f"Bearer {HUB}"})
    import threading

    def change() -> None:
        time.sleep(0.3)
        requests.patch(view.hub.url + "/tasks/T-123456", json={"status": "done"}, headers={"Authorization": f"Bearer {HUB}"}, timeout=WAIT_S)

    other = threading.Thread(target=change)
    other.start()
    view.events("/events", "task_updated")
    other.join()


def login(view: View) -> None:
    minted = jwt.encode({"sub": "frontend", "iat": int(time.time()), "exp": int(time.time()) + 3600}, HUB.ljust(32, "\0"), algorithm="HS256")
    view.call("POST", "/login", {"username": "admin", "password": "wrong"}, token=minted, status=401)
    signed = view.call("POST", "/login", {"username": "admin", "password": PASSWORD}, token=minted)
    claims = json.loads(__import__("base64").b64decode(signed["access_token"].split(".")[1] + "=="))
    assert (claims["sub"], claims["role"]) == ("admin", "admin")
    view.call("GET", "/me", token=signed["access_token"])
    view.call("POST", "/refresh-token", {"refresh_token": signed["refresh_token"]}, token=signed["access_token"])


def settled(view: View) -> None:
    """Waits until hub and worker have found their model, and the hub has asked the worker how it is."""
    eventually(lambda: view.worker.get("/stats").json()["model"] and view.hub.get("/stats").json()["model"])
    assert view.hub.post("/register", json={"name": "alpha", "url": view.worker.url, "token": WORKER}).status_code == 200
    eventually(lambda: view.hub.get("/agents").json()["alpha"]["model"])


def dashboard(view: View) -> None:
    settled(view)
    view.call("POST", "/teams/setup-scrum", {"name": "Rockets"}, status=201)
    for path in ("/stats", "/stats/history", "/teams", "/teams/roles", "/agents"):
        view.call("GET", path)


def agents(view: View) -> None:
    settled(view)
    found = view.call("GET", "/agents")
    assert found["alpha"]["status"] == "online"
    for at, token in ((None, HUB), (view.worker, WORKER)):
        view.call("GET", "/health", token=token, at=at)
        view.call("GET", "/ready", token=token, at=at)
    view.call("GET", "/config")


def panel(view: View) -> None:
    view.proposes(reason="Shows the greeting.", command="echo hi")
    view.call("POST", "/step/propose", {"prompt": "Say hi"}, token=WORKER, at=view.worker)
    done = view.call("POST", "/step/execute", {"command": "echo hi"}, token=WORKER, at=view.worker)
    assert done["output"] == "hi" and done["exit_code"] == 0
    records = view.call("GET", "/logs?limit=50", token=WORKER, at=view.worker)
    assert records[-1]["returncode"] == 0
    config = view.call("GET", "/config", token=WORKER, at=view.worker)
    view.call("POST", "/config", {"llm_config": config["llm_config"]}, token=WORKER, at=view.worker)
    view.model.answer("A plain answer.")
    view.call("POST", "/llm/generate", {"prompt": "What is this?", "config": None}, token=WORKER, at=view.worker)
    assert "task_received_total" in requests.get(view.worker.url + "/metrics", timeout=WAIT_S).text


def board(view: View) -> None:
    view.call("GET", "/tasks")
    made = view.call("POST", "/tasks", {"title": "Tidy up", "status": "backlog"}, status=201)
    view.call("PATCH", f"/tasks/{made['id']}", {"status": "in-progress"})
    assert [(each["id"], each["status"], each["priority"]) for each in view.call("GET", "/tasks")] == [
        (made["id"], "in-progress", "Medium")]


def task(view: View) -> None:
    task_id = view.call("POST", "/tasks", {"title": "Repo-Analyse", "status": "backlog"}, status=201)["id"]
    view.call("GET", f"/tasks/{task_id}")
    selected = [each["id"] for each in view.call("GET", "/providers") if each["selected"]]
    assert len(selected) == 1
    view.call("POST", f"/tasks/{task_id}/assign", {"agent_url": view.worker.url, "token": WORKER})
    view.proposes(reason="Lists what is there.", command="echo hello")
    proposed = view.call("POST", f"/tasks/{task_id}/step/propose", {"prompt": "Look", "providers": selected})
    assert proposed["command"] == "echo hello" and selected[0] in proposed["comparisons"]
    view.call("POST", f"/tasks/{task_id}/step/execute", {"command": proposed["command"]})
    view.call("GET", f"/tasks/{task_id}/logs")
    view.events(f"/tasks/{task_id}/stream-logs", "echo hello")
    view.call("PATCH", f"/tasks/{task_id}", {"status": "done"})
    view.call("POST", f"/tasks/{task_id}/assign", {})


def graph(view: View) -> None:
    parent = view.call("POST", "/tasks", {"title": "Whole", "status": "backlog"}, status=201)["id"]
    view.call("POST", "/tasks", {"title": "Part", "parent_task_id": parent}, status=201)
    assert {each["parent_task_id"] for each in view.call("GET", "/tasks")} == {None, parent}


def archive(view: View) -> None:
    task_id = view.call("POST", "/tasks", {"title": "Old", "status": "done"}, status=201)["id"]
    view.call("POST", f"/tasks/{task_id}/archive", {})
    assert view.call("GET", "/tasks/archived")[0]["archived_at"] > 0
    view.call("POST", f"/tasks/archived/{task_id}/restore", {})
    assert view.call("GET", "/tasks/archived") == []


def templates(view: View) -> None:
    view.call("GET", "/templates")
    for path in ("/teams/types", "/teams/roles", "/teams", "/config"):
        view.call("GET", path)
    view.model.answer('{"name": "Review", "description": "d", "prompt_template": "Review {{task_title}} of {{nobody}}"}')
    drafted = json.loads(view.call("POST", "/llm/generate", {
        "prompt": "Draft a template as JSON", "config": None, "history": [], "context": {"allowed_template_variables": ["task_title"]}})["response"])
    made = view.call("POST", "/templates", {**drafted, "id": ""}, status=201)
    assert "nobody" in made["warnings"][0]["details"]
    view.call("PATCH", f"/templates/{made['id']}", {**made, "prompt_template": "Review {{task_title}}"})
    assert set(view.call("DELETE", f"/templates/{made['id']}")["cleared"]) == {"roles", "team_type_links", "team_members", "teams", "tasks"}


def teams(view: View) -> None:
    kinds = view.call("GET", "/teams/types")
    scrum = next(each for each in kinds if each["name"] == "Scrum")
    for path in ("/teams", "/teams/roles", "/templates", "/config"):
        view.call("GET", path)
    role = view.call("POST", "/teams/roles", {"name": "Tester", "description": "", "default_template_id": ""}, status=201)
    view.call("POST", "/teams", {"name": "A", "team_type_id": scrum["id"], "members": [
        {"agent_url": view.worker.url, "role_id": role["id"], "custom_template_id": ""}]}, status=400)
    view.call("POST", f"/teams/types/{scrum['id']}/roles", {"role_id": role["id"]})
    view.call("PATCH", f"/teams/types/{scrum['id']}/roles/{role['id']}", {"template_id": None})
    team = view.call("POST", "/teams", {"name": "A", "description": "", "team_type_id": scrum["id"], "members": [
        {"agent_url": view.worker.url, "role_id": role["id"], "custom_template_id": ""}]}, status=201)
    view.call("PATCH", f"/teams/{team['id']}", {**team, "name": "B"})
    view.call("POST", f"/teams/{team['id']}/activate", {})
    view.call("DELETE", f"/teams/types/{scrum['id']}/roles/{role['id']}")
    view.call("DELETE", f"/teams/roles/{role['id']}")
    kind = view.call("POST", "/teams/types", {"name": "Other", "description": ""}, status=201)
    view.call("DELETE", f"/teams/types/{kind['id']}")
    view.call("DELETE", f"/teams/{team['id']}")
    view.call("POST", "/teams", {"name": "C", "team_type_id": "none"}, status=404)


def settings(view: View) -> None:
    config = view.call("GET", "/config")
    view.call("POST", "/config", {**config, "http_timeout": 30})
    view.call("GET", "/llm/history")
    mine = view.user_token()
    view.call("GET", "/me", token=mine)
    view.call("GET", "/users", token=mine)
    view.call("POST", "/users", {"username": "bob", "password": PASSWORD, "role": "user"}, token=mine)
    view.call("POST", "/users", {"username": "bob", "password": PASSWORD, "role": "user"}, token=mine, status=400)
    view.call("PUT", "/users/bob/role", {"role": "admin"}, token=mine)
    view.call("POST", "/users/bob/reset-password", {"new_password": "another good pass phrase"}, token=mine)
    view.call("DELETE", "/users/bob", token=mine)
    view.call("POST", "/change-password", {"old_password": "wrong", "new_password": "x"}, token=mine, status=400)


def second_factor(view: View) -> None:
    mine = view.user_token()
    secret = view.call("POST", "/mfa/setup", {}, token=mine)["secret"]
    while time.time() % 30 > 27:
        time.sleep(0.2)
    codes = pyotp.TOTP(secret)
    view.call("POST", "/mfa/verify", {"token": "000000" if codes.now() != "000000" else "111111"}, token=mine, status=400)
    on = view.call("POST", "/mfa/verify", {"token": codes.at(int(time.time()) - 30)}, token=mine)
    assert len(on["backup_codes"]) == 10
    view.call("POST", "/login", {"username": "admin", "password": PASSWORD})
    given = codes.now()
    view.lines.append("  the code of the app, here 000000:")
    signed = view.session.post(view.hub.url + "/login", json={"username": "admin", "password": PASSWORD, "mfa_token": given}, timeout=WAIT_S)
    assert signed.status_code == 200
    view.call("GET", "/me", token=signed.json()["access_token"])
    view.call("POST", "/mfa/disable", {}, token=signed.json()["access_token"])


def audit(view: View) -> None:
    view.call("POST", "/templates", {"name": "Seen", "prompt_template": "x"}, status=201)
    found = view.call("GET", "/audit-logs?limit=20&offset=0")
    assert found[0]["action"] == "template_created" and {"timestamp", "username", "ip", "action", "details"} <= found[0].keys()
    view.model.answer("Nothing suspicious.")
    assert view.call("POST", "/audit/analyze?limit=50", {})["analysis"] == "Nothing suspicious."


def assistant(view: View) -> None:
    view.model.answer(json.dumps({"thought": "I look.", "tool_calls": [{"name": "list_teams", "args": {}}], "answer": ""}))
    asked = {"prompt": "Which teams are there?", "config": None, "history": [{"role": "assistant", "content": "Hello!"}]}
    offered = view.call("POST", "/llm/generate", {**asked, "stream": True}, status=409)
    assert offered["requires_confirmation"]
    again = view.call("POST", "/llm/generate", asked)
    view.model.answer("There is no team yet.")
    done = view.call("POST", "/llm/generate", {**asked, "tool_calls": again["tool_calls"], "confirm_tool_calls": True})
    assert done["tool_results"][0]["success"]
    view.model.answer("First line.\nSecond line.")
    view.call("POST", "/llm/generate", {"prompt": "Two lines, please.", "stream": True})
    view.call("POST", "/step/execute", {"command": "echo hi"})


VIEWS = (shell, login, dashboard, agents, panel, board, task, graph, archive, templates, teams, settings, second_factor, audit, assistant)


@pytest.mark.parametrize("play", VIEWS, ids=lambda play: play.__name__)
def test_a_view_reads_what_it_needs(start, model, play):
    model.answer("A plain answer.")
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=HUB, LMSTUDIO_URL=model.url, INITIAL_ADMIN_PASSWORD=PASSWORD)
    worker = start("alpha", "--host", "127.0.0.1", "--agent-name", "alpha", token=WORKER, LMSTUDIO_URL=model.url)
    worker.settings_name = "the worker"
    joined = hub.post("/register", json={"name": "alpha", "url": worker.url, "token": WORKER})
    assert joined.status_code == 200, joined.text
    view = View(hub, worker, model)
    play(view)
    said = "\n".join(view.lines) + "\n"
    path = TRANSCRIPTS / f"{play.__name__}.txt"
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        path.write_text(said, encoding="utf-8")
    assert said == path.read_text(encoding="utf-8")
