"""A release: which file is which version for which machine, and that its maker says so.

FILE.sig has two lines: a JSON object, and the base64 of an Ed25519 signature (RFC 8032) over PREFIX and the bytes of the first
line. The file itself is bound by its SHA-256.
"""
import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from ananta.errors import InvalidInput, NotAllowed

FORMAT, NAME = 1, "ananta"
# What is signed for something else can never pass as a release.
PREFIX = b"ananta release\n"
SIGNATURE_BYTES = 8192
# {}: what a program does that has no key.
NO_KEY = ("No key is built into this program that a release could be verified with, so it {}. Whoever packages it can build one in: python3 "
          "build/dev.py package --release-key FILE.pub")
VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}", re.ASCII)
_SYSTEMS = {"linux": "linux", "win32": "windows", "darwin": "macos"}
_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Release:
    """version: "0.2.0"; platform: as `platform` gives it; sha256: 64 hex digits; size: bytes."""

    format: int
    name: str
    version: str
    platform: str
    sha256: str
    size: int


def statement(release: Release) -> bytes:
    """Returns the first line of FILE.sig, without its line break: what is signed, behind PREFIX."""
    return msgspec.json.encode(release)


def read(text: bytes, keys: Iterable[str]) -> Release:
    """Returns what a FILE.sig says. keys: public keys, base64. Raises NotAllowed where none of them has signed it, and
    InvalidInput for what is signed and cannot be understood."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    first, _, second = text[:SIGNATURE_BYTES].partition(b"\n")
    try:
        signature = base64.b64decode(second.strip(), validate=True)
    except binascii.Error:
        signature = b""
    for key in keys:
        try:
            VerifyKey(base64.b64decode(key)).verify(PREFIX + first, signature)
            break
        except (BadSignatureError, ValueError):
            continue
    else:
        raise NotAllowed("The signature is none of whoever releases this program: take file and signature from the same place again. Nothing "
                         "was changed.")
    try:
        release = msgspec.json.decode(first, type=Release)
    except msgspec.MsgspecError as cause:
        raise InvalidInput(f"The signature is of something else than a release: {cause}.") from cause
    if release.format != FORMAT or release.name != NAME or not VERSION.fullmatch(release.version):
        raise InvalidInput(f"The signature is of {release.name!r} {release.version!r} in format {release.format}, and this version reads "
                           f"{NAME} in format {FORMAT} only.")
    return release


def number(version: str) -> tuple[int, ...]:
    """Returns what versions are compared by: 0.10.0 is newer than 0.9, and 1.0 is 1.0.0."""
    parts = [int(each) for each in re.findall(r"[0-9]+", version)]
    return tuple([*parts, 0, 0, 0, 0][:4])


def platform(system: str, machine: str) -> str:
    """Returns the name of a platform, "linux-x86_64", from sys.platform and platform.machine()."""
    machine = machine.lower()
    return f"{_SYSTEMS.get(system, system)}-{_MACHINES.get(machine, machine)}"
