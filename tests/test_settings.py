"""Settings: one list, several sources, refusals that name the cure."""
from pathlib import Path

import pytest

from ananta import settings
from ananta.errors import SettingInvalid
from tests.conftest import ROOT, ananta


def test_the_first_source_wins(tmp_path):
    (tmp_path / ".env").write_text("AGENT_NAME=dotenv\nPORT=1\nLOG_LEVEL=DEBUG\n# no\nexport COMMAND_TIMEOUT='5'\n")
    loaded = settings.load({"agent_name": "option"}, {"AGENT_NAME": "environment", "PORT": "2"}, tmp_path)
    assert (loaded.agent_name, loaded.port, loaded.log_level, loaded.command_timeout) == ("option", 2, "DEBUG", 5)
    assert loaded.given == {"agent_name", "port", "log_level", "command_timeout"}


def test_a_secret_can_be_a_file(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("a-token-of-some-length\n")
    assert settings.load({}, {"AGENT_TOKEN_FILE": str(secret)}, tmp_path).agent_token == "a-token-of-some-length"
    assert settings.load({}, {"AGENT_TOKEN_FILE": str(secret), "AGENT_TOKEN": "x-y"}, tmp_path).agent_token == "x-y"
    assert settings.load({"agent_token_file": str(secret)}, {}, tmp_path).agent_token == "a-token-of-some-length"
    secret.write_text(" \n")
    with pytest.raises(SettingInvalid, match="AGENT_TOKEN_FILE is set but empty"):
        settings.load({}, {"AGENT_TOKEN_FILE": str(secret)}, tmp_path)


def test_a_secret_can_be_laid_out_by_the_service_manager(tmp_path):
    laid_out = tmp_path / "credentials"
    laid_out.mkdir()
    (laid_out / "agent_token").write_text("a-token-of-some-length\n")
    (laid_out / "port").write_text("77")
    environment = {"CREDENTIALS_DIRECTORY": str(laid_out)}
    loaded = settings.load({}, environment, tmp_path)
    assert (loaded.agent_token, loaded.port, loaded.secret_key) == ("a-token-of-some-length", 5000, None)
    assert settings.load({}, {**environment, "AGENT_TOKEN": "x-y"}, tmp_path).agent_token == "x-y"
    assert settings.secret_files({}, environment, tmp_path) == []
    # What is out of reach stops the start: without its token the agent would be open.
    with pytest.raises(SettingInvalid, match=r"_FILE=.* cannot be read"):
        settings.load({}, {"CREDENTIALS_DIRECTORY": str(laid_out / "agent_token")}, tmp_path)
    (laid_out / "agent_token").write_text("")
    with pytest.raises(SettingInvalid, match="AGENT_TOKEN_FILE is set but empty"):
        settings.load({}, environment, tmp_path)


def test_the_other_name_of_a_setting_counts_where_the_first_is_not_set(tmp_path):
    loaded = settings.load({}, {"CONTROLLER_URL": "http://hub:5000"}, tmp_path)
    assert loaded.hub_url == "http://hub:5000" and loaded.given == {"hub_url"}
    both = {"CONTROLLER_URL": "http://other:5000", "HUB_URL": "http://hub:5000"}
    assert settings.load({}, both, tmp_path).hub_url == "http://hub:5000"
    with pytest.raises(SettingInvalid, match="CONTROLLER_URL='hub' is not possible"):
        settings.load({}, {"CONTROLLER_URL": "hub"}, tmp_path)
    (tmp_path / ".env").write_text("CONTROLLER_URL=http://hub:5001\n")
    assert settings.load({}, {}, tmp_path).hub_url == "http://hub:5001"
    assert "CONTROLLER_URL" in ananta(tmp_path, "--help").stdout


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("On", True), ("0", False),
                                             ("false", False), ("no", False), ("OFF", False)])
def test_truth_has_several_spellings(tmp_path, text, value):
    assert settings.load({}, {"ALLOW_INSECURE": text}, tmp_path).allow_insecure is value


def test_lists_are_separated_by_commas(tmp_path):
    loaded = settings.load({}, {"ALLOWED_HOSTS": " a.example , b:1,", "CORS_ORIGINS": ""}, tmp_path)
    assert loaded.allowed_hosts == ("a.example", "b:1") and "http://localhost:4200" in loaded.cors_origins


@pytest.mark.parametrize(("name", "value"), [
    ("PORT", ""), ("PORT", "x"), ("PORT", "70000"), ("PORT", "-1"), ("PORT", "1_0"), ("PORT", "٣"), ("PORT", "1.5"),
    ("AGENT_TOKEN", ""), ("AGENT_TOKEN", "  "), ("AGENT_TOKEN", "two words"), ("ROLE", "boss"), ("ALLOW_INSECURE", "maybe"),
    ("ANONYMOUS_READS", "everyone"), ("COMMAND_TIMEOUT", "0"), ("RETRY_BACKOFF", "1e9"), ("RETRY_BACKOFF", "nan"),
    ("LMSTUDIO_URL", "localhost:1234"), ("LMSTUDIO_URL", "http://user:pw@host/v1"), ("LMSTUDIO_URL", "http://host:99999/"),
    ("CORS_ORIGINS", "*"), ("CORS_ORIGINS", "evil"), ("HOST", ""), ("HOST", "0.0.0.0"), ("AGENT_TOKEN_FILE", "/nowhere/x"),
    ("AGENT_EXTENSIONS", "a b"), ("TRUSTED_PROXIES", "all"), ("SECRET_KEY", "short"), ("MOCK_ANSWERS", "/nowhere/x")])
def test_a_bad_value_stops_the_start_in_one_line_that_names_it(tmp_path, name, value):
    done = ananta(tmp_path, **{name: value})
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and name in done.stderr
    assert not (tmp_path / "data" / "terminal_log.jsonl").exists()


def test_a_secret_is_not_repeated_in_the_refusal(tmp_path):
    done = ananta(tmp_path, AGENT_TOKEN="Sellerie Sellerie")
    assert "Sellerie" not in done.stderr


def test_help_and_the_readme_name_every_setting(tmp_path):
    text = ananta(tmp_path, "--help").stdout
    readme = (ROOT / "README.md").read_text()
    for field in settings.listed():
        assert settings.environment_name(field) in text and settings.option_name(field) in text
    assert settings.table() in readme


def test_no_secret_is_an_option(tmp_path):
    done = ananta(tmp_path, "--agent-token", "x")
    assert done.returncode == 2
    assert {settings.option_name(field) for field in settings.listed() if field.metadata["secret"]} == {
        "--agent-token-file", "--secret-key-file", "--openai-api-key-file", "--anthropic-api-key-file",
            "--database-url-file", "--initial-admin-password-file", "--mfa-encryption-key-file",
            "--registration-token-file"}


def test_defaults_are_allowed_values():
    for field in settings.listed():
        if field.default not in (None, "", ()) and not isinstance(field.default, Path):
            assert settings.parse(field, settings.default_text(field), field.name) == field.default
