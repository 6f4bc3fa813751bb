import re

import pytest

from ananta.errors import FileDamaged
from ananta.store.secrets import Secrets, effective_token, new_token


@pytest.fixture
def kept(tmp_path):
    return Secrets(tmp_path / "secrets")


def test_the_key_is_made_once(kept):
    key = kept.key()
    assert len(key) >= 43 and kept.key() == key == Secrets(kept.directory).key()
    assert (kept.directory / "secret_key").stat().st_mode & 0o777 == 0o600
    assert kept.directory.stat().st_mode & 0o777 == 0o700


def test_the_key_of_second_factors_is_kept_unless_there_is_another(kept):
    assert kept.mfa_key(instead="of the hubs") == "of the hubs" and not (kept.directory / "mfa_encryption_key").exists()
    key = kept.mfa_key(instead=None)
    assert len(key) >= 43 and kept.mfa_key(instead=None) == kept.mfa_key(instead="of the hubs") == key != kept.key()
    assert (kept.directory / "mfa_encryption_key").stat().st_mode & 0o777 == 0o600


def test_a_new_token_has_43_characters_without_a_dot():
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", new_token()) and new_token() != new_token()


def test_a_token_is_kept_without_the_one_it_replaced(kept):
    assert kept.token() is None
    kept.keep_token("new-token", now=5.0, replaced="old-token")
    text = (kept.directory / "agent_token.json").read_text()
    assert "old-token" not in text and kept.token().agent_token == "new-token" and kept.token().last_rotation == 5.0
    kept.forget_token()
    assert kept.token() is None


def test_which_token_counts(kept):
    rotated = kept.keep_token("new-token", now=5.0, replaced="old-token")
    assert effective_token("old-token", rotated) == "new-token"
    assert effective_token(None, rotated) == "new-token"
    assert effective_token("other-token", rotated) == "other-token"
    assert effective_token("old-token", None) == "old-token" and effective_token(None, None) is None


def test_open_rights_are_taken_away_and_told(kept):
    kept.key()
    assert kept.tighten() == []
    kept.directory.chmod(0o755)
    (kept.directory / "secret_key").chmod(0o644)
    warnings = kept.tighten()
    assert len(warnings) == 2 and "secret_key" in warnings[1] and "644" in warnings[1]
    assert (kept.directory / "secret_key").stat().st_mode & 0o777 == 0o600 and kept.tighten() == []


@pytest.mark.parametrize("content", ["", "{", "{}", '{"agent_token": "", "last_rotation": 1}', '{"agent_token": 5, "last_rotation": 1}'])
def test_a_damaged_token_file_stops_the_start(kept, content):
    path = kept.directory / "agent_token.json"
    path.write_text(content)
    with pytest.raises(FileDamaged, match=re.escape(str(path))):
        kept.token()
    assert path.read_text() == content


def test_an_emptied_key_stops_the_start(kept):
    (kept.directory / "secret_key").write_text("\n")
    with pytest.raises(FileDamaged, match=r"secret_key.*sign in anew"):
        kept.key()
    (kept.directory / "mfa_encryption_key").write_text("")
    with pytest.raises(FileDamaged, match=r"mfa_encryption_key.*mfa-off"):
        kept.mfa_key(instead="of the hubs")
