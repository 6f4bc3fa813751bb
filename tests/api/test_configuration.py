"""GET and POST /config: one model setting behind three spellings, masks, bounds, and the file."""
import json

import pytest

from ananta.domain.configuration import KEYS, SECRET_KEYS
from ananta.settings import listed
from tests.conftest import ananta

MASK = "********"


@pytest.fixture
def worker(start):
    return start("configured", OPENAI_API_KEY="sk-from-the-environment")


def change(worker, body):
    answer = worker.post("/config", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["config"]


def test_what_is_changed_counts_at_once_and_survives_a_restart(worker, start):
    shown = change(worker, {"command_timeout": 7, "own_key": {"any": ["thing"]}})
    assert shown["command_timeout"] == 7 and shown["own_key"] == {"any": ["thing"]}
    stored = worker.data / "config.json"
    assert json.loads(stored.read_text()) == {"command_timeout": 7, "own_key": {"any": ["thing"]}}
    assert stored.stat().st_mode & 0o777 == 0o600
    worker.stop()
    again = start("configured")
    assert again.get("/config").json()["command_timeout"] == 7
    assert change(again, {"command_timeout": None, "own_key": None})["command_timeout"] == 60
    assert json.loads(stored.read_text()) == {}


def test_the_time_limit_of_the_configuration_counts(worker):
    change(worker, {"command_timeout": 1})
    assert worker.execute("sleep 30")["exit_code"] == -1


def test_secrets_are_shown_as_a_mask_and_the_mask_keeps_them(worker):
    shown = change(worker, {"anthropic_api_key": "sk-ant-Rhabarber", "default_provider": "anthropic"})
    assert shown["openai_api_key"] == shown["anthropic_api_key"] == shown["llm_config"]["api_key"] == MASK
    change(worker, shown)
    assert json.loads((worker.data / "config.json").read_text())["anthropic_api_key"] == "sk-ant-Rhabarber"
    assert change(worker, {"anthropic_api_key": None})["anthropic_api_key"] is None
    assert "Rhabarber" not in worker.get("/config").text


def test_a_document_sent_back_changes_nothing(worker):
    before = worker.get("/config").json()
    assert change(worker, before) == before
    assert not (worker.data / "config.json").exists() or json.loads((worker.data / "config.json").read_text()) == {}


@pytest.mark.parametrize(("body", "provider", "model"), [
    ({"default_provider": "ollama", "default_model": "a"}, "ollama", "a"),
    ({"provider": "ollama", "model": "b"}, "ollama", "b"),
    ({"llm_config": {"provider": "ollama", "model": "c"}}, "ollama", "c"),
    ({"llm_config": {"provider": "openai", "model": "d"}, "default_provider": "ollama", "provider": "mock"}, "openai", "d"),
    ({"default_provider": "ollama", "provider": "mock"}, "ollama", "auto"),
    ({"llm_config": {"provider": "", "model": ""}}, "lmstudio", "auto")])
def test_three_spellings_are_one_setting(worker, body, provider, model):
    shown = change(worker, body)
    assert {shown["provider"], shown["default_provider"], shown["llm_config"]["provider"]} == {provider}
    assert {shown["model"], shown["default_model"], shown["llm_config"]["model"]} == {model}


def test_a_whole_document_with_one_spelling_changed_changes_it(worker):
    for path in (["default_model"], ["model"], ["llm_config", "model"]):
        document = worker.get("/config").json()
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = "model-" + "-".join(path)
        assert change(worker, document)["default_model"] == "model-" + "-".join(path)


def test_address_and_key_of_llm_config_belong_to_its_provider(worker):
    shown = change(worker, {"llm_config": {"provider": "ollama", "base_url": "http://127.0.0.1:9/api/generate",
                                           "api_key": "sk-ollama-Kohlrabi", "extra": 1}})
    assert shown["ollama_url"] == shown["llm_config"]["base_url"] == "http://127.0.0.1:9/api/generate"
    assert shown["ollama_api_key"] == shown["llm_config"]["api_key"] == MASK and shown["llm_config"]["extra"] == 1
    assert change(worker, {"default_provider": "lmstudio"})["llm_config"]["base_url"] == shown["lmstudio_url"]


@pytest.mark.parametrize("body", [
    {"command_timeout": 0}, {"command_timeout": "60"}, {"command_timeout": True}, {"command_timeout": 1.5},
    {"http_timeout": 601}, {"default_provider": "x"}, {"log_level": "LOUD"}, {"lmstudio_url": "ftp://x"},
    {"ollama_url": "http://user:pw@host/"}, {"llm_tool_allowlist": "all"}, {"llm_tool_denylist": [1]},
    {"llm_config": []}, {"lmstudio_api_mode": "x"}, {"openai_api_key": 5}])
def test_values_that_are_not_possible_are_refused_and_nothing_changes(worker, body):
    before = worker.get("/config").json()
    answer = worker.post("/config", json={"max_summary_length": 7, **body})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value")
    assert answer.json()["details"] in body
    assert worker.get("/config").json() == before


@pytest.mark.parametrize("key", ["secret_key", "agent_token", "data_dir", "secrets_dir", "port", "role", "hub_url",
                                 "initial_admin_password", "vault_token", "database_url", "mfa_encryption_key"])
def test_protected_keys_cannot_be_changed(worker, key):
    answer = worker.post("/config", json={key: "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "protected_key")


def test_wrapped_documents_are_unwrapped_and_reserved_keys_dropped(worker):
    shown = change(worker, {"status": "success", "data": {"max_summary_length": 9}})
    assert shown["max_summary_length"] == 9
    shown = change(worker, {"message": "x", "error": "y", "nested": {"code": 200, "data": {"a": 1}}})
    assert shown["nested"] == {"a": 1} and "message" not in shown and "status" not in shown


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"5", b"{"])
def test_what_is_no_object_is_refused(worker, body):
    assert worker.post("/config", data=body).status_code == 400


@pytest.mark.parametrize(("content", "place"), [
    ('{\n  "command_timeout": 5,\n  oops\n}', "line 3"), ("[1]", "object"), ('{"command_timeout": 0}', "command_timeout"),
    ('{"a": NaN}', "line 1")])
def test_a_damaged_file_stops_the_start_and_is_left_alone(tmp_path, content, place):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "config.json").write_text(content)
    done = ananta(tmp_path, "--port", "0")
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "config.json" in done.stderr and place in done.stderr
    assert (folder / "config.json").read_text() == content


def test_exactly_one_provider_is_selected(worker):
    listed = worker.get("/providers").json()
    assert [each["id"] for each in listed if each["selected"]] == ["lmstudio:auto"]
    assert any(each["id"].startswith("openai:") for each in listed)
    assert not any(each["id"].startswith("anthropic:") for each in listed)
    change(worker, {"default_provider": "ollama", "default_model": "qwen"})
    assert [each["id"] for each in worker.get("/providers").json() if each["selected"]] == ["ollama:qwen"]


def test_a_tool_may_not_change_what_the_interface_protects(worker):
    change(worker, {"llm_tool_allowlist": "*"})
    done = worker.post("/step/execute", json={"tool_calls": [
        {"name": "update_config", "args": {"key": "agent_token", "value": "x"}},
        {"name": "update_config", "args": {"key": "max_summary_length", "value": 3}},
        {"name": "update_config", "args": {"wrong": 1}}]}).json()
    assert done["exit_code"] == 1 and worker.get("/config").json()["max_summary_length"] == 3
    change(worker, {"llm_tool_denylist": ["update_config"]})
    done = worker.post("/step/execute", json={"tool_calls": [
        {"name": "update_config", "args": {"key": "max_summary_length", "value": 4}}]}).json()
    assert "tool_not_allowed" in done["output"] and worker.get("/config").json()["max_summary_length"] == 3


def test_every_key_has_a_meaning_and_its_bounds(guarded):
    keys = guarded.get("/config/keys").json()
    assert [each["name"] for each in keys] == list(KEYS) and all(each["meaning"] and each["allowed"] for each in keys)
    assert {each["name"] for each in keys if each["secret"]} == set(SECRET_KEYS)
    about = {each["name"]: each["meaning"] for each in keys}
    assert all(field.metadata["meaning"] == about[field.name] for field in listed() if field.name in about)
    assert guarded.get("/config/keys", auth=False).status_code == 401
    assert not any(each["changed"] for each in keys) and {each["name"]: each["default"] for each in keys}["command_timeout"] == 60
    guarded.post("/config", json={"command_timeout": 61, "openai_api_key": "sk-secret-0123456789"})
    changed = {each["name"]: each["default"] for each in guarded.get("/config/keys").json() if each["changed"]}
    assert changed == {"command_timeout": 60, "openai_api_key": None}
    guarded.post("/config", json={"command_timeout": None, "openai_api_key": None})
    # The rest of /config is other spellings of these.
    assert set(guarded.get("/config").json()) - set(about) == {"provider", "model", "llm_config"}
