"""What a team means for the proposals of its tasks, and teams of several hubs on one database."""
import pytest

from tests.conftest import in_parallel
from tests.hub.conftest import HUB, proposes, task

KEY = "a-secret-key-that-both-hubs-share"


def made(answer, status=201) -> dict:
    assert answer.status_code == status, answer.text
    return answer.json()


def template(hub, name, text=None, **fields) -> str:
    return made(hub.post("/templates", json={"name": name, "prompt_template": text or f"<{name}>", **fields}))["id"]


def asked(hub, model, task_id, **fields) -> str:
    """What the model is asked for a proposal."""
    proposes(model, "echo x")
    made(hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "go", **fields}), 200)
    return str(model.posts[-1].body)


def test_the_template_of_a_task_comes_from_the_nearest(team, model):
    hub, first, _ = team
    ids = {name: template(hub, name) for name in ("own", "member", "team", "link", "role")}
    role = made(hub.post("/teams/roles", json={"name": "Tester", "default_template_id": ids["role"]}))["id"]
    kind = made(hub.post("/teams/types", json={"name": "Lab"}))["id"]
    made(hub.post(f"/teams/types/{kind}/roles", json={"role_id": role, "template_id": ids["link"]}), 200)
    crew = made(hub.post("/teams", json={
        "name": "Crew", "team_type_id": kind, "role_templates": {role: ids["team"]},
        "members": [{"agent_url": first.url + "/", "role_id": role, "custom_template_id": ids["member"]}]}))["id"]
    task_id = task(hub, first, team_id=crew, template_id=ids["own"])

    def change(path, **fields):
        made(hub.request("PATCH", path, json=fields), 200)

    def counts(name):
        sent = asked(hub, model, task_id)
        assert [each for each in ids if f"<{each}>" in sent] == [name] if name else not any(f"<{each}>" in sent for each in ids)

    counts("own")
    change(f"/tasks/{task_id}", template_id=None)
    counts("member")
    change(f"/teams/{crew}", members=[{"agent_url": first.url, "role_id": role}])
    counts("team")
    change(f"/teams/{crew}", role_templates={})
    counts("link")
    change(f"/teams/types/{kind}/roles/{role}", template_id="")
    counts("role")
    change(f"/teams/{crew}", members=[{"agent_url": first.url}])
    counts(None)
    change(f"/tasks/{task_id}", assigned_role_id=role)
    counts("role")
    assert hub.request("DELETE", f"/templates/{ids['role']}").json()["cleared"]["roles"] == [role]
    counts(None)


def test_placeholders_are_filled_with_what_holds_now(team, model):
    hub, first, _ = team
    made(hub.post("/register", json={"name": "alpha", "url": first.url, "token": first.token}, auth=False), 200)
    text = "{{agent_name}}|{{team_name}}|{{role_name}}|{{team_goal}}|{{task_title}}|{{sprache}}|{{foo}}"
    role = made(hub.post("/teams/roles", json={
        "name": "Tester", "default_template_id": template(hub, "T", text, defaults={"sprache": "de", "team_goal": "none yet"})}))
    crew = made(hub.post("/teams", json={"name": "Crew", "members": [{"agent_url": first.url, "role_id": role["id"]}]}))
    here, there = task(hub, team_id=crew["id"], assigned_role_id=role["id"]), task(hub, first, team_id=crew["id"])
    assert "alpha|Crew|Tester|none yet|Repo-Analyse|de|{{foo}}" in asked(hub, model, there)
    made(hub.request("PATCH", f"/teams/{crew['id']}", json={"name": "New", "description": "ship {{role_name}}"}), 200)
    assert "alpha|New|Tester|ship {{role_name}}|Repo-Analyse|de|{{foo}}" in asked(hub, model, there)
    own = asked(hub, model, here)
    assert "|New|Tester|ship" in own and "alpha|" not in own
    made(hub.request("DELETE", f"/teams/{crew['id']}"), 200)
    assert "|{{team_name}}|Tester|none yet|" in asked(hub, model, here)
    assert "Tester" not in asked(hub, model, there)


def test_a_member_of_a_scrum_team_gets_the_template_of_the_role(team, model):
    hub, first, _ = team
    scrum = made(hub.post("/teams/setup-scrum", json={"name": "Rockets"}))["team"]
    roles = {each["name"]: each["id"] for each in hub.get("/teams/roles").json()}
    made(hub.request("PATCH", f"/teams/{scrum['id']}", json={
        "description": "fly to the moon", "members": [{"agent_url": first.url, "role_id": roles["Developer"]}]}), 200)
    (first_task,) = (each for each in hub.get("/tasks", params={"team_id": scrum["id"]}).json()
                     if each["title"] == "Rockets: Sprint Board Setup")
    made(hub.post(f"/tasks/{first_task['id']}/assign", json={"agent_url": first.url, "token": first.token}), 200)
    sent = asked(hub, model, first_task["id"])
    assert "You are a Developer in a Scrum team. The goal of the team: fly to the moon" in sent


def test_an_anonymous_proposal_uses_the_template_too(team, model):
    hub, *_ = team
    role = made(hub.post("/teams/roles", json={"name": "R", "default_template_id": template(hub, "mark")}))["id"]
    task_id = task(hub, assigned_role_id=role)
    proposes(model, "echo x")
    assert hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "go"}, auth=False).status_code == 200
    assert "<mark>" in str(model.posts[-1].body)


@pytest.fixture
def hubs(start, model, postgres_server):
    url = postgres_server.database()
    return [start(name, "--role", "hub", "--host", "127.0.0.1", token=HUB, DATABASE_URL=url, SECRET_KEY=KEY,
                  LMSTUDIO_URL=model.url) for name in ("one", "two")]


def test_two_hubs_that_are_asked_at_the_same_moment_make_the_types_once(hubs):
    answers = in_parallel([lambda hub=hubs[number % 2]: hub.get("/teams/types") for number in range(12)])
    assert {each.status_code for each in answers} == {200} and len({each.text for each in answers}) == 1
    assert [each["name"] for each in answers[0].json()] == ["Kanban", "Scrum"]
    assert (len(hubs[0].get("/teams/roles").json()), len(hubs[1].get("/templates").json())) == (5, 6)


def test_two_hubs_make_teams_at_once(hubs):
    answers = in_parallel([lambda hub=hubs[number % 2], number=number: hub.post(
        "/teams/setup-scrum", json={"name": f"team {number}"}) for number in range(8)])
    assert {each.status_code for each in answers} == {201}, [each.text for each in answers]
    found = hubs[1].get("/teams").json()
    assert found == hubs[0].get("/teams").json() and len(found) == 8 and sum(each["is_active"] for each in found) == 1
    assert len(hubs[0].get("/tasks").json()) == 40 and len(hubs[0].get("/teams/types").json()) == 1
