"""Every route of a hub says who may call it, and holds to that."""
import re

import pytest

from tests.hub.conftest import HUB

OPEN_TO_ALL = "Anybody."


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    from tests.conftest import Ananta

    running = Ananta(tmp_path_factory.mktemp("hub"), "--role", "hub", "--host", "127.0.0.1", token=HUB,
                     ANONYMOUS_READS="off", DEFAULT_PROVIDER="mock", INITIAL_ADMIN_PASSWORD="the-first-password")
    yield running
    running.stop()


def operations(hub):
    for path, methods in hub.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield re.sub(r"\{\w+\}", "T-1", path), method.upper(), operation


def test_without_credentials_only_what_is_open_answers(hub):
    checked = 0
    for path, method, operation in operations(hub):
        who = operation["description"].rsplit("Who may call: ", 1)[1]
        answer = hub.request(method, path, auth=False, json={})
        assert (answer.status_code == 401) is (who != OPEN_TO_ALL) or (
            path.endswith(("/login", "/register")) and answer.status_code in (400, 401, 422)), (method, path, answer.text)
        checked += 1
    assert checked > 60


def test_a_user_who_is_no_administrator_is_kept_from_what_is_for_them(hub):
    admin = hub.post("/login", json={"username": "admin", "password": "the-first-password"}, auth=False).json()
    mine = {"Authorization": f"Bearer {admin['access_token']}"}
    assert hub.post("/users", json={"username": "ada", "password": "a long enough one"}, headers=mine).status_code == 200
    ada = hub.post("/api/auth/login", json={"username": "ada", "password": "a long enough one"}, auth=False).json()
    hers = {"Authorization": f"Bearer {ada['access_token']}"}
    for path, method, operation in operations(hub):
        who = operation["description"].rsplit("Who may call: ", 1)[1]
        if "Administrators" in who:
            assert hub.request(method, path, headers=hers, json={}).status_code == 403, (method, path)
    assert hub.get("/tasks", headers=hers).status_code == 200


def test_a_worker_has_no_paths_of_a_hub(guarded):
    for path in ("/tasks", "/tasks/T-1", "/templates", "/agents", "/tasks/T-1/logs"):
        answer = guarded.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
