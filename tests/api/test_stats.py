"""GET /stats and /stats/history."""
import pytest

KEYS = {"timestamp", "agents", "tasks", "shell_pool", "resources", "agent_name", "model"}


@pytest.mark.parametrize("prefix", ["", "/api/system"])
def test_a_worker_shows_its_figures(guarded, prefix):
    found = guarded.get(f"{prefix}/stats").json()
    assert set(found) == KEYS and found["agent_name"] == "default"
    assert found["agents"] == {"total": 0, "online": 0, "offline": 0}
    assert found["tasks"] == {"total": 0, "completed": 0, "failed": 0, "todo": 0, "in_progress": 0, "backlog": 0,
                              "by_status": {}}
    assert found["shell_pool"] == {"total": 8, "free": 8, "busy": 0}
    assert found["resources"]["ram_bytes"] > 1 << 20 and found["resources"]["cpu_percent"] >= 0
    assert guarded.get(f"{prefix}/stats/history").status_code == 200
    for path in ("/stats", "/stats/history"):
        assert guarded.get(prefix + path, auth=False).status_code == 401


def test_a_hub_counts_its_tasks(start, database_url):
    hub = start("hub", "--role", "hub", token="hub-secret-token-0123", **({"DATABASE_URL": database_url} if database_url else {}))
    for status in ("backlog", "to-do", "done"):
        hub.post("/tasks", json={"title": "x", "status": status})
    tasks = hub.get("/stats").json()["tasks"]
    assert (tasks["total"], tasks["completed"], tasks["todo"], tasks["backlog"], tasks["failed"]) == (3, 1, 1, 1, 0)
    assert tasks["by_status"] == {"backlog": 1, "to-do": 1, "done": 1}


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "offset=-1", "limit=1.5"])
def test_a_wrong_range_is_400(guarded, query):
    assert guarded.get(f"/stats/history?{query}").status_code == 400
