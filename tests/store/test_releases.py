"""What a hub keeps for its workers, with a key made for the test."""
import base64
import hashlib
import os
import stat
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from ananta.domain import releases as rules
from ananta.domain.releases import Release
from ananta.errors import CannotStart, Conflict, InvalidInput, NotAllowed, NotFound
from ananta.store.releases import Releases

KEY = SigningKey.generate()


def signed(file: Path, version: str, platform: str = "linux-x86_64", *, key: SigningKey = KEY, **changed) -> Path:
    content = file.read_bytes()
    about = {"format": 1, "name": "ananta", "version": version, "platform": platform, "sha256": hashlib.sha256(content).hexdigest(),
             "size": len(content)} | changed
    first = rules.statement(Release(**about))
    file.with_name(file.name + ".sig").write_bytes(first + b"\n" + base64.b64encode(key.sign(rules.PREFIX + first).signature) + b"\n")
    return file


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "download" / "whatever it is called"
    file.parent.mkdir()
    file.write_bytes(b"a program" * 1000)
    return file


@pytest.fixture
def releases(tmp_path):
    (tmp_path / "data").mkdir()
    return Releases(tmp_path / "data", (base64.b64encode(bytes(KEY.verify_key)).decode(),))


def test_a_signed_file_is_kept_under_what_it_is(releases, program):
    kept = releases.add(signed(program, "0.2.0"))
    assert kept.name == "ananta-0.2.0-linux-x86_64" and releases.find(kept.name) == kept
    assert sorted(os.listdir(releases.folder)) == [kept.name, kept.name + ".sig"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in releases.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(releases.folder.stat().st_mode) == 0o700
    found, fd = releases.opened(kept.name)
    with open(fd, "rb") as file:
        assert file.read() == program.read_bytes() and found == kept
    assert releases.signature(kept.name) == program.with_name(program.name + ".sig").read_bytes()


def test_the_newest_comes_first_by_number(releases, program):
    for version in ("0.9.0", "0.10.0", "0.2"):
        releases.add(signed(program, version))
    releases.add(signed(program, "0.10.0", "windows-x86_64"))
    assert [each.name for each in releases.listed()] == [
        "ananta-0.10.0-linux-x86_64", "ananta-0.10.0-windows-x86_64.exe", "ananta-0.9.0-linux-x86_64", "ananta-0.2-linux-x86_64"]


def _not_signed(file: Path) -> None:
    signed(file, "0.2.0", key=SigningKey.generate())


def _changed(file: Path) -> None:
    signed(file, "0.2.0")
    file.write_bytes(file.read_bytes()[:-1] + b"!")


def _longer(file: Path) -> None:
    signed(file, "0.2.0")
    file.write_bytes(file.read_bytes() + b"!")


def _alone(file: Path) -> None:
    return None


def _strange_platform(file: Path) -> None:
    signed(file, "0.2.0", "../../linux")


def _strange_version(file: Path) -> None:
    signed(file, "0.2.0/../x")


@pytest.mark.parametrize(("change", "error"), [(_not_signed, NotAllowed), (_changed, Conflict), (_longer, Conflict), (_alone, InvalidInput),
                                               (_strange_platform, InvalidInput), (_strange_version, InvalidInput)],
                         ids=lambda each: each.__name__)
def test_what_is_not_as_it_was_signed_is_not_kept(releases, program, change, error):
    change(program)
    with pytest.raises(error):
        releases.add(program)
    assert releases.listed() == [] and (not releases.folder.exists() or os.listdir(releases.folder) == [])


def test_another_file_of_the_same_name_does_not_take_its_place(releases, program):
    kept = releases.add(signed(program, "0.2.0"))
    assert releases.add(program) == kept
    program.write_bytes(b"another program")
    with pytest.raises(Conflict, match="release remove"):
        releases.add(signed(program, "0.2.0"))
    assert releases.find(kept.name) == kept
    releases.remove(kept.name)
    assert releases.listed() == [] and os.listdir(releases.folder) == []
    assert releases.add(program).release.size == len(b"another program")


@pytest.mark.parametrize("name", ["../ananta.db", "..", "", ".", "ananta-0.2.0-linux-x86_64.sig", "/etc/passwd", "ananta-0.2.0-linux-x86_64/",
                                  "ananta-0.2.0-linux-x86_64\n", "ananta-0.2.0-../x", "ananta-9.9-linux-x86_64"])
def test_no_name_leads_anywhere_else(releases, program, name):
    releases.add(signed(program, "0.2.0"))
    (releases.folder.parent / "ananta.db").write_text("not for anybody")
    for ask in (releases.find, releases.opened, releases.signature, releases.remove):
        with pytest.raises(NotFound):
            ask(name)
    assert (releases.folder.parent / "ananta.db").exists() and len(releases.listed()) == 1


def test_half_of_a_release_is_not_shown_and_can_be_removed(releases, program):
    kept = releases.add(signed(program, "0.2.0"))
    file = releases.folder / kept.name
    file.write_bytes(b"short")
    assert releases.listed() == []
    file.unlink()
    assert releases.listed() == []
    file.symlink_to(program)
    assert releases.listed() == []
    releases.remove(kept.name)
    assert os.listdir(releases.folder) == [] and program.exists()


def test_what_a_killed_process_has_left_goes_with_the_next_one(releases, program):
    releases.folder.mkdir()
    (releases.folder / f".ananta-0.1.0-linux-x86_64.{os.getpid()}.new").write_text("half of it")
    (releases.folder / ".ananta-0.1.0-linux-x86_64.1.new").write_text("somebody writes it")
    releases.add(signed(program, "0.2.0"))
    assert sorted(os.listdir(releases.folder)) == [".ananta-0.1.0-linux-x86_64.1.new", "ananta-0.2.0-linux-x86_64",
                                                   "ananta-0.2.0-linux-x86_64.sig"]


def test_a_program_without_a_key_keeps_nothing(releases, program):
    with pytest.raises(CannotStart, match="No key is built"):
        Releases(releases.folder.parent, ()).add(signed(program, "0.2.0"))
    releases.add(program)
    assert Releases(releases.folder.parent, ()).listed() == []


def test_a_name_given_by_a_foreign_signature_is_not_shown(releases, program):
    kept = releases.add(signed(program, "0.2.0"))
    # Placed by hand under another name, or signed by another key.
    for name, key in (("ananta-0.3.0-linux-x86_64", KEY), ("ananta-0.4.0-linux-x86_64", SigningKey.generate())):
        other = releases.folder / name
        other.write_bytes(program.read_bytes())
        signed(other, "0.2.0" if key is KEY else "0.4.0", key=key)
    assert releases.listed() == [kept]
    # And rightly placed, it is.
    right = releases.folder / "ananta-0.3.0-linux-x86_64"
    signed(right, "0.3.0")
    assert [each.name for each in releases.listed()] == [right.name, kept.name]
