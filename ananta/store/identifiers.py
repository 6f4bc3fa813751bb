"""Ids of what is stored."""
import os


def new_id() -> str:
    """A random UUID (RFC 9562, version 4) without the cost of the uuid module."""
    digits = bytearray(os.urandom(16))
    digits[6], digits[8] = digits[6] & 0x0F | 0x40, digits[8] & 0x3F | 0x80
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
