"""Templates over HTTP."""
import json

import pytest

from tests.api.test_tasks import TOKEN, create, get, hub, kept, refused  # noqa: F401  (fixtures)

FIELDS = {"id", "name", "description", "prompt_template", "provider", "model", "defaults", "created_at", "updated_at"}


def make(server, **fields) -> dict:
    answer = server.post("/templates", json={"name": "n", "prompt_template": "p", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def change(server, template_id, method="PATCH", **fields):
    return server.request(method, f"/templates/{template_id}", json=fields)


def audited(server) -> list[dict]:
    return [json.loads(line) for line in (server.data / "audit.log").read_text().splitlines()]


def test_a_template_from_its_beginning_to_its_end(hub):  # noqa: F811
    assert hub.get("/templates").json() == []
    made = make(hub, name="Zeta", prompt_template="Do {{task_title}} in {{sprache}}", description="d", provider="ollama",
                model="llama3", defaults={"sprache": "de", "n": 1})
    assert set(made) == FIELDS | {"warnings"} and made["warnings"] == [] and len(made["id"]) == 36
    shown = {name: made[name] for name in FIELDS}
    assert hub.get(f"/templates/{made['id']}").json() == shown and hub.get("/templates", auth=False).json() == [shown]
    make(hub, name="alpha")
    assert [each["name"] for each in hub.get("/templates").json()] == ["alpha", "Zeta"]
    for method in ("PATCH", "PUT"):
        changed = change(hub, made["id"], method, **{**made, "name": f"by {method}", "provider": "", "defaults": None}).json()
        assert changed["name"] == f"by {method}" and changed["provider"] is None and changed["defaults"] is None
        assert changed["model"] == "llama3" and changed["updated_at"] > made["updated_at"]
    task = create(hub, template_id=made["id"])
    gone = hub.request("DELETE", f"/templates/{made['id']}")
    assert (gone.status_code, gone.json()) == (200, {"status": "deleted", "cleared": {
        "roles": [], "team_type_links": [], "team_members": [], "teams": [], "tasks": [task["id"]]}})
    assert get(hub, task["id"])["template_id"] is None
    for answer in (hub.get(f"/templates/{made['id']}"), change(hub, made["id"], name="x"),
                   hub.request("DELETE", f"/templates/{made['id']}")):
        assert refused(answer) == (404, "template_not_found")


def test_unknown_variables_are_warned_about(hub):  # noqa: F811
    made = make(hub, prompt_template="{{task_title}} {{foo}} {{bar}} {{foo}} {{ no }}")
    assert [(each["type"], each["details"]) for each in made["warnings"]] == [
        ("unknown_variables", "Unknown variables: foo, bar")]
    assert "task_title" in made["warnings"][0]["allowed"]
    assert hub.post("/config", json={"template_variables_allowlist": ["foo", "bar"]}).status_code == 200
    assert change(hub, made["id"], name="x").json()["warnings"][0]["details"] == "Unknown variables: task_title"
    assert "warnings" not in hub.get("/templates").json()[0]


def test_only_administrators_write(kept):  # noqa: F811
    made = make(kept)
    calls = [("POST", "/templates"), ("PATCH", f"/templates/{made['id']}"), ("PUT", f"/templates/{made['id']}"),
             ("DELETE", f"/templates/{made['id']}")]
    for method, path in calls:
        assert refused(kept.request(method, path, json={"name": "x", "prompt_template": "p"}, auth=False)) == (
            401, "unauthorized")
    assert kept.get(f"/templates/{made['id']}").json()["name"] == "n"


@pytest.mark.parametrize(("fields", "code"), [
    ({"name": ""}, "name_required"), ({"name": None}, "name_required"), ({"name": " "}, "name_required"),
    ({"prompt_template": ""}, "prompt_template_required"), ({"prompt_template": None}, "prompt_template_required"),
    ({"name": "x" * 201}, "invalid_value"), ({"name": "a\0"}, "invalid_value"), ({"name": 5}, "invalid_value"),
    ({"prompt_template": "x" * 200_001}, "invalid_value"), ({"prompt_template": ["x"]}, "invalid_value"),
    ({"prompt_template": "\0"}, "invalid_value"), ({"description": 5}, "invalid_value"),
    ({"provider": True}, "invalid_value"), ({"model": "x" * 201}, "invalid_value"), ({"defaults": []}, "invalid_value"),
    ({"defaults": "x"}, "invalid_value"), ({"defaults": {"a": "x" * 70_000}}, "invalid_value"),
    ({"defaults": {"a": json.loads("[" * 50 + "]" * 50)}}, "invalid_value")])
def test_templates_that_are_not_possible(kept, fields, code):  # noqa: F811
    made = make(kept)
    assert refused(kept.post("/templates", json={"name": "n", "prompt_template": "p", **fields})) == (400, code)
    if None not in fields.values():
        assert refused(change(kept, made["id"], **fields)) == (400, code)
    assert kept.get(f"/templates/{made['id']}").json() == {name: made[name] for name in FIELDS}


def test_null_leaves_what_a_template_needs(kept):  # noqa: F811
    made = make(kept, description="d", model="m")
    changed = change(kept, made["id"], name=None, prompt_template=None, description=None).json()
    assert (changed["name"], changed["prompt_template"], changed["description"], changed["model"]) == ("n", "p", None, "m")


def test_writes_are_audited(hub):  # noqa: F811
    made = make(hub, name="seen")
    change(hub, made["id"], description="x")
    hub.request("DELETE", f"/templates/{made['id']}")
    found = [each for each in audited(hub) if each["event"].startswith("template_")]
    assert [each["event"] for each in found] == ["template_created", "template_updated", "template_deleted"]
    assert all(each["details"]["template_id"] == made["id"] and each["username"] == "admin_via_token"
               and each["ip"] == "127.0.0.1" for each in found)
