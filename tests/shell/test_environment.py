import pytest

from ananta.shell.environment import child_environment


@pytest.mark.parametrize("name", [
    "AGENT_TOKEN", "AGENT_TOKEN_FILE", "AGENT_TOKENS", "SECRET_KEY", "SECRET_KEY_FILE", "OPENAI_API_KEY", "X_API_KEY_FILE",
    "DATABASE_URL", "DATABASE_URL_FILE", "REGISTRATION_TOKEN", "INITIAL_ADMIN_PASSWORD", "MFA_ENCRYPTION_KEY", "Agent_Token",
    "OWN", "OWN_FILE", "ANY_42", "_PYI_ARCHIVE_FILE", "_MEIPASS2",
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"])
def test_what_is_ours_is_left_out(name):
    assert name not in child_environment({name: "x"}, ["own", "ANY_*"])


@pytest.mark.parametrize("name", ["PATH", "MY_SECRET_KEY_ID", "API_KEY_HELP", "TOKEN", "LD_LIBRARY_PATH_ORIGIN", "ftp_ORIG"])
def test_what_is_the_users_stays(name):
    assert child_environment({name: "x"}, [])[name] == "x"


PACKAGED = {"_PYI_ARCHIVE_FILE": "/x/ananta"}


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "LIBPATH", "DYLD_LIBRARY_PATH"])
@pytest.mark.parametrize("before, after", [
    ({**PACKAGED, "{}": "/tmp/_MEI1:/u", "{}_ORIG": "/u"}, "/u"), ({**PACKAGED, "{}": "/tmp/_MEI1"}, None), ({"{}": "/u"}, "/u")])
def test_library_paths_are_those_of_the_user(name, before, after):
    environment = child_environment({key.format(name): value for key, value in before.items()}, [])
    assert environment.get(name) == after and f"{name}_ORIG" not in environment


def test_nothing_waits_for_keys_unless_the_user_says_so():
    environment = child_environment({"PAGER": "less", "TERM": "xterm"}, [])
    assert environment == {"PAGER": "less", "GIT_PAGER": "cat", "NO_COLOR": "1", "TERM": "dumb", "GIT_TERMINAL_PROMPT": "0",
                           "DEBIAN_FRONTEND": "noninteractive"}


def test_the_given_environment_is_not_changed():
    given = {"AGENT_TOKEN": "x"}
    child_environment(given, [])
    assert given == {"AGENT_TOKEN": "x"}
