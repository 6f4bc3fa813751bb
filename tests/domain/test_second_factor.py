"""One-time codes as RFC 6238 has them, and what people make of codes when they type them."""
import base64
import struct
import zlib

import pytest

from ananta.domain import second_factor as rules

# The secret of the examples in RFC 6238, appendix B; the last six of their eight digits.
SECRET = base64.b32encode(b"12345678901234567890").decode()
EXAMPLES = [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037"),
            (20000000000, "353130")]


@pytest.mark.parametrize(("now", "code"), EXAMPLES)
def test_the_examples_of_the_standard(now, code):
    assert rules.step_of(SECRET, code, now) == now // 30


def test_a_code_counts_one_step_before_and_behind_and_no_more():
    now, code = EXAMPLES[3]
    step = now // 30
    begin = step * 30
    for at, found in ((begin - 30.1, None), (begin - 30, step), (begin, step), (begin + 59.9, step), (begin + 60, None)):
        assert rules.step_of(SECRET, code, at) == found, at


@pytest.mark.parametrize("code", ["", "28708", "2870820", "٢٨٧٠٨٢", "28708a", "+28708", "287082\n", "\ud800"])
def test_what_is_no_code_is_none(code):
    assert rules.step_of(SECRET, code, 59) is None and not rules.is_one_time(code)


@pytest.mark.parametrize(("typed", "code"), [("287 082", "287082"), (" 287082\n", "287082"), ("DEAD-BEEF", "deadbeef"),
                                             ("dead beef", "deadbeef"), ("\0", "\0")])
def test_codes_are_compared_as_they_are_meant(typed, code):
    assert rules.tidy(typed) == code


def test_the_two_kinds_of_codes_are_told_apart():
    assert rules.is_backup("deadbeef") and rules.is_backup("12345678") and not rules.is_backup("287082")
    assert not rules.is_one_time("12345678") and not rules.is_backup("deadbeeg")


def test_an_app_learns_everything_from_the_address():
    assert rules.address(SECRET, "ada@example.org") == (
        f"otpauth://totp/Ananta:ada%40example.org?secret={SECRET}&issuer=Ananta")


def test_the_picture_is_a_complete_address_of_a_png():
    head, _, content = rules.picture(rules.address(SECRET, "u" * 64)).partition(",")
    image = base64.b64decode(content, validate=True)
    assert head == "data:image/png;base64" and image.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", image[16:24])
    pixels = image[image.index(b"IDAT") + 4:image.index(b"IEND") - 8]
    assert width == height > 200 and zlib.decompress(pixels)
    assert image != base64.b64decode(rules.picture("something else").partition(",")[2])
