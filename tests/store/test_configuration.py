import pytest

from ananta.errors import FileDamaged
from ananta.store.configuration import ConfigFile


@pytest.fixture
def file(tmp_path):
    return ConfigFile(tmp_path / "config.json")


def test_without_a_file_there_is_nothing(file):
    assert file.load() == {} and not file.path.exists()


def test_what_is_saved_is_loaded(file):
    content = {"a": [1, 2.5, None, True], "ä": {"b": "\U0001f600"}}
    file.save(content)
    assert file.load() == content and file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("content", "place"), [
    (b'{"a": 1,\n  "b": }', "line 2, column 8"), (b"", "line 1, column 1"), (b"[1]", "line 1, column 1"),
    (b'{"a": 1,\n "b": 2,\n "a": 3}', "line 3, column 2"), (b'{\n"a": NaN}', "line 2, column 6"),
    (b'{"a": Infinity}', "line 1, column 7"), (b'{\n "a": "\xff"}', "line 2, column 8"), (b'{"a": 1', "line 1, column 8"),
    (b'{"a":' + b"[" * 100_000, "line 1, column 1")])
def test_a_damaged_file_is_named_and_left_alone(file, content, place):
    file.path.write_bytes(content)
    with pytest.raises(FileDamaged, match=place) as damaged:
        file.load()
    assert str(file.path) in str(damaged.value) and file.path.read_bytes() == content


def test_a_byte_order_mark_does_not_matter(file):
    file.path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert file.load() == {"a": 1}
