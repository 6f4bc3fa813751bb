"""The tools that a model may ask for: who may, what they take, what they leave behind."""
import json

import pytest

from tests.api.test_tasks import TOKEN, begin, create, get
from tests.api.test_templates import audited
from tests.conftest import Ananta


@pytest.fixture
def hub(start, database_url):
    made = begin(start, database_url, DEFAULT_PROVIDER="mock")
    made.post("/config", json={"llm_tool_allowlist": "*"})
    return made


def call(server, name, /, **args) -> dict:
    answer = server.post("/llm/generate", json={"tool_calls": [{"name": name, "args": args}], "confirm_tool_calls": True})
    assert answer.status_code == 200, answer.text
    result = answer.json()["tool_results"][0]
    assert set(result) == {"tool", "success", "output", "error"} and result["tool"] == name
    return result


def test_templates_from_their_beginning_to_their_end(hub):
    made = call(hub, "create_template", name="Review", prompt_template="Review {{task_title}}", description="d")
    stored = hub.get("/templates").json()[0]
    assert made["success"] and stored["id"] in made["output"] and stored["name"] == "Review"
    assert call(hub, "list_templates")["output"] == [stored]
    changed = call(hub, "update_template", template_id=stored["id"], name="Look")["output"]
    assert (changed["name"], changed["description"], changed["prompt_template"]) == ("Look", "d", "Review {{task_title}}")
    task = create(hub, template_id=stored["id"])
    assert task["id"] in call(hub, "delete_template", template_id=stored["id"])["output"]
    assert hub.get("/templates").json() == [] and get(hub, task["id"])["template_id"] is None
    assert call(hub, "delete_template", template_id=stored["id"])["error"].startswith("There is no template")
    actions = [(each["event"], each["username"], each["details"].get("template_id", "")) for each in audited(hub)
               if each["event"].startswith("template_")]
    assert actions == [(f"template_{what}", "admin_via_token", stored["id"]) for what in ("created", "updated", "deleted")]
    called = [each["details"] for each in audited(hub) if each["event"] == "tool_called"]
    assert [(each["tool"], each["success"]) for each in called] == [
        ("create_template", True), ("list_templates", True), ("update_template", True), ("delete_template", True),
        ("delete_template", False)]


def test_teams_from_nothing_to_a_member_with_a_role(hub):
    assert call(hub, "list_teams")["output"] == [] and call(hub, "list_roles")["output"] == []
    assert call(hub, "ensure_team_templates")["output"] == ["Scrum", "Kanban"]
    made = call(hub, "create_team", name="Rockets", team_type="scrum", description="to the moon")["output"]
    team = hub.get("/teams").json()[0]
    assert team["id"] in made and (team["name"], team["description"], team["is_active"]) == ("Rockets", "to the moon", True)
    assert sum(each["team_id"] == team["id"] for each in hub.get("/tasks").json()) == 5
    role = next(each for each in call(hub, "list_roles")["output"] if each["name"] == "Scrum Master")
    changed = call(hub, "assign_role", team_id=team["id"], agent_url="http://localhost:5001", role_id=role["id"])["output"]
    assert [(each["agent_url"], each["role_id"]) for each in changed["members"]] == [("http://localhost:5001", role["id"])]
    assert call(hub, "list_teams")["output"] == hub.get("/teams").json() == [changed]
    other = next(each for each in call(hub, "list_roles")["output"] if each["name"] == "Flow Manager")
    wrong = call(hub, "assign_role", team_id=team["id"], agent_url="http://localhost:5001", role_id=other["id"])
    assert not wrong["success"] and wrong["error"] and hub.get("/teams").json() == [changed]
    told = {each["event"]: each["details"] for each in audited(hub) if each["event"].startswith("team_")}
    assert told["team_created"]["team_id"] == told["team_updated"]["team_id"] == team["id"]
    assert told["team_types_ensured"]["team_types"] == ["Scrum", "Kanban"]


@pytest.mark.parametrize(("name", "args"), [
    ("create_team", {"name": "x"}), ("create_team", {"name": " ", "team_type": "Scrum"}),
    ("create_team", {"name": "x", "team_type": "Nothing"}), ("create_team", {"name": "a\0", "team_type": "Scrum"}),
    ("ensure_team_templates", {"team_types": ["Other"]}), ("ensure_team_templates", {"team_types": "Scrum"}),
    ("assign_role", {"team_id": "none", "agent_url": "http://a", "role_id": "r"}), ("assign_role", {"team_id": 1}),
    ("list_teams", {"all": True}),
    ("create_template", {}), ("create_template", {"name": "", "prompt_template": "p"}),
    ("create_template", {"name": "n", "prompt_template": " "}), ("create_template", {"name": "x" * 201, "prompt_template": "p"}),
    ("create_template", {"name": "a\0", "prompt_template": "p"}), ("create_template", {"name": 5, "prompt_template": "p"}),
    ("create_template", {"name": "n", "prompt_template": "p", "id": "x"}), ("update_template", {"template_id": "none"}),
    ("update_template", {"template_id": "none", "name": "x"}), ("update_template", {"template_id": 5, "name": "x"}),
    ("delete_template", {"template_id": None}), ("list_agents", {"all": True}), ("analyze_logs", {"limit": 0}),
    ("analyze_logs", {"limit": 201}), ("analyze_logs", {"limit": "20"}), ("read_agent_logs", {"filename": "../secrets/secret_key"}),
    ("read_agent_logs", {"filename": "config.json"}), ("read_agent_logs", {"filename": "audit.log", "lines": 0}),
    ("update_config", {"key": "port", "value": 1}), ("update_config", {"key": "log_level", "value": "LOUD"}),
    ("update_config", {"key": 5, "value": 1}), ("update_config", {"key": "log_level"})])
def test_what_is_wrong_is_a_result(kept_hub, name, args):
    before = kept_hub.get("/config").json(), kept_hub.get("/templates").json()
    result = call(kept_hub, name, **args)
    assert result["success"] is False and result["output"] is None and result["error"]
    assert (kept_hub.get("/config").json(), kept_hub.get("/templates").json()) == before


@pytest.fixture(scope="module")
def kept_hub(tmp_path_factory):
    made = Ananta(tmp_path_factory.mktemp("kept"), "--role", "hub", "--host", "127.0.0.1", token=TOKEN, DEFAULT_PROVIDER="mock")
    made.post("/config", json={"llm_tool_allowlist": "*"})
    yield made
    made.stop()


def test_agents_are_listed_without_their_tokens(hub, start):
    worker = start("alpha", "--agent-name", "alpha", "--hub-url", hub.url, token="worker-token-Brombeere", DEFAULT_PROVIDER="mock")
    answer = hub.post("/register", json={"name": "beta", "url": worker.url, "token": "worker-token-Brombeere"})
    assert answer.status_code == 200, answer.text
    listed = call(hub, "list_agents")["output"]
    assert [(each["url"], each["status"], each["has_token"]) for each in listed if each["url"] == worker.url] == [
        (worker.url, "online", True)]
    assert "Brombeere" not in json.dumps(listed) and "Brombeere" not in (hub.data / "llm_log.jsonl").read_text()


def test_logs_and_the_trail_are_read(hub):
    hub.execute("echo Kirsche")
    assert "Kirsche" in call(hub, "read_agent_logs", filename="terminal_log.jsonl", lines=1)["output"]
    entries = call(hub, "analyze_logs", limit=1)["output"]
    assert [each["action"] for each in entries] == ["tool_called"] and entries[0]["details"]["tool"] == "read_agent_logs"


def test_only_what_reads_is_allowed_at_first_and_a_worker_has_only_its_own(start):
    hub = begin(start, DEFAULT_PROVIDER="mock")
    worker = start("worker", DEFAULT_PROVIDER="mock")
    reading, changing = ["list_agents", "list_templates", "analyze_logs", "read_agent_logs"], [
        "create_template", "update_template", "delete_template", "update_config"]

    def permitted(server, names) -> list[str]:
        answer = server.post("/llm/generate", json={"tool_calls": [{"name": each, "args": {}} for each in names], "confirmed": True})
        return [each for each in names if each not in answer.json().get("blocked_tools", ())]

    assert permitted(hub, [*reading, *changing]) == reading
    assert permitted(worker, [*reading, *changing]) == ["analyze_logs", "read_agent_logs"]
    worker.post("/config", json={"llm_tool_allowlist": ["*"], "llm_tool_denylist": ["read_agent_logs"]})
    assert permitted(worker, [*reading, *changing]) == ["analyze_logs", "update_config"]


def test_calls_of_a_step_use_the_same_table_and_the_same_trail(hub):
    done = hub.post("/step/execute", json={"tool_calls": [
        {"name": "create_template", "args": {"name": "n", "prompt_template": "p"}}, {"name": "no_such_tool", "args": {}}]}).json()
    assert done["exit_code"] == 1 and "create_template: ok" in done["output"] and "no_such_tool: failed\ntool_not_allowed" in done["output"]
    assert len(hub.get("/templates").json()) == 1
    found = {each["event"]: each for each in audited(hub)}
    assert found["tool_called"]["ip"] == "127.0.0.1" and found["tool_calls_blocked"]["details"]["tools"] == ["no_such_tool"]


def test_what_changes_something_needs_a_person(hub):
    change = {"name": "update_config", "args": {"key": "max_summary_length", "value": 3}}
    refused = hub.post("/step/execute", json={"tool_calls": [change], "autonomous": True})
    assert (refused.status_code, refused.json()["code"], refused.json()["tools"]) == (409, "approval_required", ["update_config"])
    reads = hub.post("/step/execute", json={"tool_calls": [{"name": "list_templates", "args": {}}], "autonomous": True})
    assert reads.json()["exit_code"] == 0 and hub.get("/config").json()["max_summary_length"] == 500
