import pytest

from ananta.shell.capture import Buffer, Capture, unfinished


def fed(limit, *pieces):
    buffer = Buffer(limit)
    for piece in pieces:
        buffer.feed(piece)
    return buffer.text()


@pytest.mark.parametrize("size", range(0, 9))
def test_what_fits_is_kept_whole(size):
    assert fed(8, b"x" * size) == ("x" * size, 0)


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_head_and_tail_do_not_depend_on_the_pieces(piece):
    data = bytes(range(65, 91)) * 20
    pieces = [data[start:start + piece] for start in range(0, len(data), piece)]
    assert fed(7, *pieces) == (f"ABCD\n[... {len(data) - 7} bytes cut ...]\nXYZ", len(data) - 7)


def test_large_numbers_are_readable():
    assert "[... 12,345,678 bytes cut ...]" in fed(2, b"x" * 12_345_680)[0]


def test_no_character_is_split_by_the_cut():
    text, cut = fed(10, "äöü€".encode() * 10)
    assert "\ufffd" not in text
    assert cut == 90 - len(text.replace(f"\n[... {cut} bytes cut ...]\n", "").encode())


@pytest.mark.parametrize("limit", [0, 1])
def test_tiny_limits_work(limit):
    assert fed(limit, b"abc")[1] == 3 - limit


@pytest.mark.parametrize("data, count", [
    (b"", 0), (b"a", 0), ("ü".encode(), 0), (b"a\xc3", 1), (b"\xe2\x82", 2), (b"\xf0\x9f\x8e", 3), (b"\xff", 0), (b"\x80\x80\x80\x80", 0)])
def test_the_beginning_of_a_character_is_recognised(data, count):
    assert unfinished(data) == count


def test_a_character_arrives_whole_although_the_other_stream_speaks_in_between():
    heard = []
    capture = Capture(100, heard.append)
    for stream, data in [(0, b"a\xc3"), (1, b"err"), (0, b"\xbcb\xe2")]:
        capture.feed(stream, data)
    capture.finish()
    assert heard == ["a", "err", "üb", "\ufffd"] and capture.both.text() == ("aerrüb\ufffd", 0)
