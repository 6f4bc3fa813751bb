"""Teams, their types and roles over HTTP."""
import pytest

from tests.api.test_tasks import begin, create, get, hub, kept, refused  # noqa: F401  (fixtures)
from tests.api.test_templates import audited
from tests.api.test_templates import make as template
from tests.conftest import in_parallel

TEAM = {"id", "name", "description", "team_type_id", "is_active", "role_templates", "members"}
MEMBER = {"id", "team_id", "agent_url", "role_id", "custom_template_id"}
TYPE = {"id", "name", "description", "role_ids", "role_templates"}
ROLE = {"id", "name", "description", "default_template_id"}


def made(answer, status=201) -> dict:
    assert answer.status_code == status, answer.text
    return answer.json()


def role(server, name="R", **fields) -> str:
    return made(server.post("/teams/roles", json={"name": name, **fields}))["id"]


def kind(server, name, *roles) -> str:
    type_id = made(server.post("/teams/types", json={"name": name}))["id"]
    for each in roles:
        assert made(server.post(f"/teams/types/{type_id}/roles", json={"role_id": each}), 200) == {"status": "linked"}
    return type_id


def team(server, name="T", **fields) -> dict:
    return made(server.post("/teams", json={"name": name, **fields}))


def change(server, team_id, **fields):
    return server.request("PATCH", f"/teams/{team_id}", json=fields)


def delete(server, path):
    return server.request("DELETE", path)


def test_a_team_from_its_beginning_to_its_end(hub):  # noqa: F811
    assert hub.get("/teams").json() == hub.get("/teams/roles").json() == []
    tester, template_id = role(hub, "Tester"), template(hub)["id"]
    lab = kind(hub, "Lab", tester)
    first = team(hub, "zeta", description="goal", team_type_id=lab, role_templates={tester: template_id}, members=[
        {"agent_url": "http://b:1/", "role_id": tester, "custom_template_id": template_id},
        {"agent_url": "http://a:1", "role_id": "", "custom_template_id": ""}, {"agent_url": "not registered"}])
    assert set(first) == TEAM and first["is_active"] is False and first["role_templates"] == {tester: template_id}
    assert all(set(each) == MEMBER and each["team_id"] == first["id"] for each in first["members"])
    assert [(each["agent_url"], each["role_id"], each["custom_template_id"]) for each in first["members"]] == [
        ("http://b:1/", tester, template_id), ("http://a:1", None, None), ("not registered", None, None)]
    second = team(hub, "Alpha", team_type_id="", description="")
    assert (second["team_type_id"], second["description"], second["members"]) == (None, None, [])
    assert hub.get("/teams").json() == [second, first]

    changed = made(change(hub, first["id"], **{**first, "id": "x", "name": "new", "warnings": [], "unknown": {}}), 200)
    assert {**changed, "members": 0} == {**first, "name": "new", "members": 0}
    assert [{**each, "id": 0} for each in changed["members"]] == [{**each, "id": 0} for each in first["members"]]
    assert made(change(hub, first["id"]), 200) == changed == made(change(hub, first["id"], name=None, members=None), 200)
    bare = made(change(hub, first["id"], members=[], team_type_id="", description=None, role_templates={}), 200)
    assert (bare["members"], bare["team_type_id"], bare["description"], bare["role_templates"]) == ([], None, None, {})

    task = create(hub, team_id=first["id"])
    assert made(delete(hub, f"/teams/{first['id']}"), 200) == {"status": "deleted"}
    assert hub.get("/teams").json() == [second] and get(hub, task["id"])["team_id"] is None
    for answer in (delete(hub, f"/teams/{first['id']}"), change(hub, first["id"], name="x"),
                   hub.post(f"/teams/{first['id']}/activate", json={})):
        assert refused(answer) == (404, "not_found")


def test_one_team_is_active(hub):  # noqa: F811
    ids = [team(hub, name, is_active=True)["id"] for name in "abc"]

    def active():
        return [each["name"] for each in hub.get("/teams").json() if each["is_active"]]

    assert active() == []
    assert made(hub.post(f"/teams/{ids[0]}/activate", json={}), 200) == {"status": "activated"} and active() == ["a"]
    assert made(hub.post(f"/teams/{ids[1]}/activate"), 200) == {"status": "activated"} and active() == ["b"]
    assert made(change(hub, ids[2], is_active=True), 200)["is_active"] and active() == ["c"]
    assert not made(change(hub, ids[2], is_active=False), 200)["is_active"] and active() == []
    in_parallel([lambda each=each: hub.post(f"/teams/{each}/activate") for each in ids * 4])
    assert len(active()) == 1


def test_a_scrum_team_at_a_stroke(hub):  # noqa: F811
    found = made(hub.post("/teams/setup-scrum", json={"name": "Rockets"}))
    assert set(found) == {"team", "message"} and found["team"]["is_active"] and "Rockets" in found["message"]
    (scrum,) = hub.get("/teams/types").json()
    assert scrum["name"] == "Scrum" and found["team"]["team_type_id"] == scrum["id"]
    board = hub.get("/tasks", params={"team_id": found["team"]["id"]}).json()
    assert sorted((each["title"], each["status"], each["priority"]) for each in board) == [
        ("Rockets: Burndown Chart", "to-do", "Medium"), ("Rockets: Roadmap", "backlog", "Medium"),
        ("Rockets: Scrum Backlog", "backlog", "High"), ("Rockets: Setup & Usage Instructions", "to-do", "High"),
        ("Rockets: Sprint Board Setup", "to-do", "High")]
    for body in ({}, {"name": ""}, {"name": None}, {"name": " "}, None):
        assert made(hub.post("/teams/setup-scrum", json=body) if body is not None else hub.post("/teams/setup-scrum"))[
            "team"]["name"] == "Neues Scrum Team"
    assert [each["name"] for each in hub.get("/teams").json() if each["is_active"]] == ["Neues Scrum Team"]
    assert len(hub.get("/teams/types").json()) == 1 and len(hub.get("/templates").json()) == 3
    assert refused(hub.post("/teams/setup-scrum", json={"name": 5})) == (400, "invalid_value")
    assert refused(hub.post("/teams/setup-scrum", json={"name": "x" * 201})) == (400, "invalid_value")
    assert len(hub.get("/tasks").json()) == 30


def test_the_standard_types_are_there(hub):  # noqa: F811
    kanban, scrum = hub.get("/teams/types").json()
    assert set(scrum) == TYPE and (kanban["name"], scrum["name"]) == ("Kanban", "Scrum")
    names = {each["id"]: each for each in hub.get("/teams/roles").json()}
    assert all(set(each) == ROLE for each in names.values())
    assert [names[each]["name"] for each in scrum["role_ids"]] == ["Developer", "Product Owner", "Scrum Master"]
    assert [names[each]["name"] for each in kanban["role_ids"]] == ["Developer", "Flow Manager", "Service Delivery Manager"]
    texts = {each["id"]: each for each in hub.get("/templates").json()}
    for each in (kanban, scrum):
        linked = hub.get(f"/teams/types/{each['id']}/roles").json()
        assert [{**names[found["id"]], "template_id": each["role_templates"][found["id"]]} for found in linked] == linked
        for found in linked:
            text = texts[found["template_id"]]
            assert text["name"] == f"{each['name']} - {found['name']}" and "{{team_goal}}" in text["prompt_template"]
    made_again = team(hub, "S", team_type_id=scrum["id"])
    assert len(hub.get("/tasks", params={"team_id": made_again["id"]}).json()) == 5 and not made_again["is_active"]
    assert hub.get("/teams/types").json() == [kanban, scrum]
    for each in (kanban, scrum):
        assert made(delete(hub, f"/teams/types/{each['id']}"), 200) == {"status": "deleted"}
    assert hub.get("/teams").json()[0]["team_type_id"] is None and len(hub.get("/teams/roles").json()) == 5
    again = hub.get("/teams/types").json()
    assert [each["name"] for each in again] == ["Kanban", "Scrum"] and again[1]["id"] != scrum["id"]
    assert (len(hub.get("/teams/roles").json()), len(hub.get("/templates").json())) == (5, 6)


@pytest.mark.parametrize(("given", "name"), [("scrum", "Scrum"), ("KANBAN", "Kanban"), (" Scrum ", "Scrum")])
def test_a_standard_type_is_known_however_it_is_written(hub, given, name):  # noqa: F811
    found = made(hub.post("/teams/types", json={"name": given, "description": "mine"}))
    assert (found["name"], found["description"], len(found["role_ids"])) == (name, "mine", 3)
    assert all(found["role_templates"].values())
    for again in (given, name, name.upper()):
        assert refused(hub.post("/teams/types", json={"name": again})) == (409, "conflict")
    assert [each["name"] for each in hub.get("/teams/types").json()] == [name]


def test_types_have_roles(hub):  # noqa: F811
    tester, other = role(hub, "Tester"), role(hub, "Other", description="", default_template_id="")
    first, second = template(hub)["id"], template(hub)["id"]
    lab = kind(hub, "Lab", tester, other, tester)
    assert refused(hub.post("/teams/types", json={"name": " Lab "})) == (409, "conflict")
    path = f"/teams/types/{lab}/roles"

    def templates_there():
        return {each["id"]: each["template_id"] for each in hub.get(path).json()}

    assert templates_there() == {tester: None, other: None}
    made(hub.post(path, json={"role_id": tester, "template_id": first}), 200)
    made(hub.post(path, json={"role_id": tester, "template_id": ""}), 200)
    assert templates_there() == {tester: first, other: None}
    assert made(hub.request("PATCH", f"{path}/{other}", json={"template_id": second}), 200) == {"status": "updated"}
    for nothing in (None, ""):
        made(hub.request("PATCH", f"{path}/{tester}", json={"template_id": nothing}), 200)
        assert templates_there() == {tester: None, other: second}
    assert made(delete(hub, f"{path}/{tester}"), 200) == {"status": "unlinked"} and templates_there() == {other: second}
    for answer, code in (
            (hub.post(path, json={}), (400, "role_id_required")), (hub.post(path, json={"role_id": ""}), (400, "role_id_required")),
            (hub.post(path, json={"role_id": 5}), (400, "invalid_value")),
            (hub.post(path, json={"role_id": "none"}), (404, "role_not_found")),
            (hub.post(path, json={"role_id": tester, "template_id": "none"}), (404, "template_not_found")),
            (hub.post("/teams/types/none/roles", json={"role_id": tester}), (404, "team_type_not_found")),
            (hub.get("/teams/types/none/roles"), (404, "team_type_not_found")),
            (hub.request("PATCH", f"{path}/{other}", json={"template_id": "none"}), (404, "template_not_found")),
            (hub.request("PATCH", f"{path}/{other}", json={}), (400, "missing_template_id")),
            (hub.request("PATCH", f"{path}/{other}", json={"template_id": []}), (400, "invalid_value")),
            (hub.request("PATCH", f"{path}/{tester}", json={"template_id": first}), (404, "not_found")),
            (delete(hub, f"{path}/{tester}"), (404, "not_found")), (delete(hub, "/teams/types/none"), (404, "team_type_not_found")),
            (delete(hub, "/teams/roles/none"), (404, "role_not_found"))):
        assert refused(answer) == code, answer.text
    assert templates_there() == {other: second}
    assert [each["id"] for each in hub.get("/teams/roles").json()] == [other, tester]


def test_with_a_role_goes_who_had_it(hub):  # noqa: F811
    gone, stays = role(hub, "Gone"), role(hub, "Stays")
    lab, text = kind(hub, "Lab", gone, stays), template(hub)["id"]
    found = team(hub, team_type_id=lab, role_templates={gone: text, stays: text},
                 members=[{"agent_url": "http://a", "role_id": gone}, {"agent_url": "http://b", "role_id": stays}])
    task = create(hub, team_id=found["id"], assigned_role_id=gone)
    assert made(delete(hub, f"/teams/roles/{gone}"), 200) == {"status": "deleted"}
    (left,) = hub.get("/teams").json()
    assert [each["role_id"] for each in left["members"]] == [None, stays] and left["role_templates"] == {stays: text}
    assert [each["role_ids"] for each in hub.get("/teams/types").json()] == [[stays]]
    shown = get(hub, task["id"])
    assert shown["assigned_role_id"] is None and shown["team_id"] == found["id"]
    assert hub.get("/tasks").json() == [shown]


def test_a_deleted_template_tells_who_had_it(hub):  # noqa: F811
    text = template(hub)["id"]
    tester = role(hub, "Tester", default_template_id=text)
    lab = kind(hub, "Lab")
    made(hub.post(f"/teams/types/{lab}/roles", json={"role_id": tester, "template_id": text}), 200)
    found = team(hub, members=[{"agent_url": "http://a", "custom_template_id": text}], role_templates={tester: text})
    task = create(hub, template_id=text)
    assert made(delete(hub, f"/templates/{text}"), 200)["cleared"] == {
        "roles": [tester], "team_type_links": [tester], "team_members": [found["members"][0]["id"]], "teams": [found["id"]],
        "tasks": [task["id"]]}
    assert hub.get("/teams/roles").json()[0]["default_template_id"] is None
    assert hub.get("/teams/types").json()[0]["role_templates"] == {tester: None}
    (left,) = hub.get("/teams").json()
    assert left["members"][0]["custom_template_id"] is None and left["role_templates"] == {}


def test_what_does_not_fit_together(hub):  # noqa: F811
    tester, stranger = role(hub, "Tester"), role(hub, "Stranger")
    lab, empty = kind(hub, "Lab", tester), kind(hub, "Empty")
    existing = team(hub, team_type_id=lab)
    member = {"agent_url": "http://a"}
    cases = [
        ({"team_type_id": "none"}, 404, "team_type_not_found", {"team_type_id": "none"}),
        ({"members": [{**member, "role_id": "none"}]}, 404, "role_not_found", {"role_id": "none"}),
        ({"members": [{**member, "custom_template_id": "none"}]}, 404, "template_not_found", {"template_id": "none"}),
        ({"team_type_id": lab, "members": [{**member, "role_id": tester}, {**member, "role_id": stranger}]}, 400,
         "invalid_role_for_team_type", {"role_id": stranger}),
        ({"role_templates": {"none": "x"}}, 404, "role_not_found", {"role_id": "none"}),
        ({"role_templates": {tester: "none"}}, 404, "template_not_found", {"template_id": "none"})]
    for fields, status, code, extras in cases:
        for answer in (hub.post("/teams", json={"name": "x", **fields}), change(hub, existing["id"], **fields)):
            assert refused(answer) == (status, code) and answer.json().items() >= extras.items(), answer.text
    assert refused(change(hub, existing["id"], members=[{**member, "role_id": stranger}])) == (400, "invalid_role_for_team_type")
    assert hub.get("/teams").json() == [existing]
    assert team(hub, team_type_id=empty, members=[{**member, "role_id": stranger}])["members"][0]["role_id"] == stranger
    assert team(hub, members=[{**member, "role_id": stranger}])["team_type_id"] is None
    assert refused(hub.post("/teams/roles", json={"name": "x", "default_template_id": "none"})) == (404, "template_not_found")


BAD_NAMES = [{}, {"name": None}, {"name": ""}, {"name": " \n"}, {"name": 5}, {"name": "x" * 201}, {"name": "a\0"}, {"name": []}]


@pytest.mark.parametrize("path", ["/teams", "/teams/types", "/teams/roles"])
@pytest.mark.parametrize("body", [*BAD_NAMES, {"name": "n", "description": 5}, {"name": "n", "description": "x" * 10_001},
                                  {"name": "n", "description": "\0"}])
def test_bodies_that_do_not_fit_the_schema(kept, path, body):  # noqa: F811
    before = kept.get(path).json()
    answer = kept.post(path, json=body)
    assert refused(answer) == (422, "validation_failed") and answer.json()["errors"][0]["loc"][0] == "body"
    assert kept.get(path).json() == before


@pytest.mark.parametrize("fields", [
    {"members": {}}, {"members": ["http://a"]}, {"members": [{}]}, {"members": [{"agent_url": ""}]},
    {"members": [{"agent_url": None}]}, {"members": [{"agent_url": "x" * 2001}]}, {"members": [{"agent_url": "http://a\n"}]},
    {"members": [{"agent_url": "http://a", "role_id": 5}]}, {"members": [{"agent_url": "http://a", "role_id": "x" * 201}]},
    {"members": [{"agent_url": "http://a", "custom_template_id": "\0"}]}, {"members": [{"agent_url": "http://a"}] * 1001},
    {"team_type_id": 5}, {"team_type_id": "a\nb"}, {"role_templates": []}, {"role_templates": {"a": 5}}])
def test_teams_that_do_not_fit_the_schema(kept, fields):  # noqa: F811
    made_before = team(kept)
    assert refused(kept.post("/teams", json={"name": "n", **fields})) == (422, "validation_failed")
    assert refused(change(kept, made_before["id"], **fields)) == (422, "validation_failed")
    assert made_before in kept.get("/teams").json()


@pytest.mark.parametrize("fields", [*BAD_NAMES[2:], {"is_active": "true"}, {"is_active": 1}])
def test_changes_that_do_not_fit_the_schema(kept, fields):  # noqa: F811
    made_before = team(kept)
    assert refused(change(kept, made_before["id"], **fields)) == (422, "validation_failed")
    assert made_before in kept.get("/teams").json()


def test_what_the_client_shows_of_a_field_that_does_not_fit_is_a_sentence(kept):  # noqa: F811
    for path, body, field in (("/teams", {"name": " "}, "name"), ("/teams/types", {"name": ""}, "name"), ("/teams/roles", {"name": "a\0"}, "name"),
                              ("/teams", {"name": "x", "members": [{"agent_url": ""}]}, "members.0.agent_url")):
        answer = kept.post(path, json=body)
        assert answer.status_code == 422 and answer.json()["message"] == (
            f"{field} is empty, too long, or has characters that are not possible here.")
        # For programs, what exactly was wanted.
        assert "regex" in answer.json()["errors"][0]["msg"]
    assert kept.post("/teams", json={}).json()["message"] == "name is missing."


@pytest.mark.parametrize("path", ["/teams", "/teams/types", "/teams/roles", "/teams/setup-scrum", "/teams/types/x/roles"])
def test_bodies_that_are_no_objects(kept, path):  # noqa: F811
    for body in (b"[]", b"{", b"null", b'"x"', b'{"name":"\\ud800"}'):
        assert refused(kept.post(path, data=body)) == (400, "invalid_json")


@pytest.mark.parametrize("odd", ["%00", "%ED%A0%80", "%0A", "x" * 5000, "..%2f", "'%20OR%201=1"])
def test_ids_that_cannot_be(kept, odd):  # noqa: F811
    for method, path in (("PATCH", f"/teams/{odd}"), ("DELETE", f"/teams/{odd}"), ("POST", f"/teams/{odd}/activate"),
                         ("DELETE", f"/teams/types/{odd}"), ("GET", f"/teams/types/{odd}/roles"),
                         ("DELETE", f"/teams/types/x/roles/{odd}"), ("DELETE", f"/teams/roles/{odd}")):
        assert kept.request(method, path, json={}).status_code in (400, 404, 405), (method, path)


def test_the_paths_beside_the_ids(kept):  # noqa: F811
    for method, path in (("DELETE", "/teams/types"), ("PATCH", "/teams/roles"), ("DELETE", "/teams/setup-scrum"),
                         ("GET", "/teams/setup-scrum"), ("GET", "/teams/some-id")):
        assert refused(kept.request(method, path, json={"name": "x"})) == (405, "method_not_allowed")
    assert refused(kept.post("/teams/types/activate")) == (405, "method_not_allowed")


def test_whoever_may_read_and_whoever_may_write(kept):  # noqa: F811
    paths = {path: methods for path, methods in kept.get("/openapi.json").json()["paths"].items() if path.startswith("/teams")}
    assert len(paths) == 10
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert refused(kept.request(method.upper(), path.replace("{", "").replace("}", ""), auth=False, json={
                "name": "x", "role_id": "x", "template_id": None})) == (401, "unauthorized")
            assert ("Administrators" in operation["description"]) is (method != "get")


def test_answers_and_bodies_are_declared(kept):  # noqa: F811
    document = kept.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert set(schemas["Team"]["required"]) == TEAM and set(schemas["Member"]["required"]) == MEMBER
    assert set(schemas["TeamType"]["required"]) == TYPE and set(schemas["Role"]["required"]) == ROLE
    assert set(schemas["LinkedRole"]["required"]) == ROLE | {"template_id"}
    posted = document["paths"]["/teams"]["post"]["responses"]
    assert {"201", "400", "401", "403", "404", "422"} <= set(posted) and "200" not in posted


def test_a_worker_has_no_teams(server):
    for method, path in (("GET", "/teams"), ("POST", "/teams"), ("GET", "/teams/types"), ("GET", "/teams/roles"),
                         ("POST", "/teams/setup-scrum"), ("PATCH", "/teams/x"), ("POST", "/teams/x/activate"),
                         ("POST", "/teams/types/x/roles"), ("DELETE", "/teams/types/x/roles/y")):
        assert refused(server.request(method, path, json={"name": "x"})) == (404, "not_found")


def test_writes_are_audited(hub):  # noqa: F811
    found = team(hub, "seen")
    change(hub, found["id"], description="x", members=[])
    hub.post(f"/teams/{found['id']}/activate")
    delete(hub, f"/teams/{found['id']}")
    hub.post("/teams/setup-scrum", json={})
    tester = role(hub)
    lab = kind(hub, "Lab", tester)
    hub.request("PATCH", f"/teams/types/{lab}/roles/{tester}", json={"template_id": None})
    delete(hub, f"/teams/types/{lab}/roles/{tester}")
    delete(hub, f"/teams/types/{lab}")
    delete(hub, f"/teams/roles/{tester}")
    hub.post("/teams", json={"name": ""})
    delete(hub, "/teams/none")
    told = [each for each in audited(hub) if each["event"].startswith(("team_", "role_"))]
    assert [each["event"] for each in told] == [
        "team_created", "team_updated", "team_activated", "team_deleted", "team_scrum_setup", "role_created",
        "team_type_created", "team_type_role_linked", "team_type_role_template_updated", "team_type_role_unlinked",
        "team_type_deleted", "role_deleted"]
    assert all(each["username"] == "admin_via_token" and each["ip"] == "127.0.0.1" for each in told)
    assert all(each["details"]["team_id"] == found["id"] for each in told[:4])
    assert told[1]["details"]["fields"] == ["description", "members"] and told[7]["details"]["role_id"] == tester


def test_new_tasks_and_teams_outlive_a_crash(start, database_url):
    first = begin(start, database_url)
    made_before = made(first.post("/teams/setup-scrum", json={}))["team"]
    types, board = first.get("/teams/types").json(), first.get("/tasks").json()
    first.kill()
    again = begin(start, database_url)
    assert again.get("/teams").json() == [made_before] and again.get("/teams/types").json() == types
    assert again.get("/tasks").json() == board and len(board) == 5
