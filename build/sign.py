#!/usr/bin/env python3
"""Signs releases. Runs in the virtual environment that build/dev.py makes: .venv/bin/python build/sign.py …

  keygen KEYFILE [--into FILE]                         make a key pair: KEYFILE, and KEYFILE.pub to package with
  sign KEYFILE FILE [--version V] [--platform P]       write FILE.sig; default: this tree's version, this machine's platform
  verify FILE [--key PUBLIC]                           say what FILE.sig is worth to this tree (or to who has this key)

KEYFILE holds the private half, in hexadecimal digits, mode 0600. Keep it outside of the tree, best on another machine. KEYFILE.pub
goes into each program that is to take what KEYFILE signs: `python3 build/dev.py package --release-key KEYFILE.pub`; or, for all who
build from this source, with --into ananta/release_key.py. PUBLIC is such a file, or what it holds.
"""
import argparse
import base64
import hashlib
import os
import platform
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nacl.signing import SigningKey  # noqa: E402

from ananta import __version__  # noqa: E402
from ananta.domain import releases  # noqa: E402
from ananta.errors import AnantaError  # noqa: E402

CHUNK = 1 << 20
LINE = re.compile(r"^(KEYS: tuple\[str, \.\.\.\] = \()(.*)\)$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], epilog="\n".join((__doc__ or "").split("\n")[2:]),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    making = commands.add_parser("keygen")
    making.set_defaults(call=keygen)
    making.add_argument("key", type=Path, metavar="KEYFILE")
    making.add_argument("--into", type=Path, default=None, metavar="FILE")
    signing = commands.add_parser("sign")
    signing.set_defaults(call=sign)
    signing.add_argument("key", type=Path, metavar="KEYFILE")
    signing.add_argument("file", type=Path, metavar="FILE")
    signing.add_argument("--version", default=__version__)
    signing.add_argument("--platform", default=releases.platform(sys.platform, platform.machine()))
    verifying = commands.add_parser("verify")
    verifying.set_defaults(call=verify)
    verifying.add_argument("file", type=Path, metavar="FILE")
    verifying.add_argument("--key", action="append", metavar="PUBLIC")
    options = parser.parse_args()
    try:
        return options.call(options)
    except AnantaError as error:
        print(error.message, file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def keygen(options: argparse.Namespace) -> int:
    place = options.key.resolve()
    if ROOT in place.parents:
        raise ValueError(f"{place} is in the source tree, and would be published with it one day: name a place outside of {ROOT}.")
    if options.into is not None and not LINE.search(options.into.read_text()):
        raise ValueError(f"{options.into} has no line with KEYS.")
    # Never over another key: what it has signed could not be signed again.
    for each in (place, beside := place.with_name(place.name + ".pub")):
        if os.path.lexists(each):
            raise ValueError(f"{each} is there already, and a key is never replaced: name another file.")
    key = SigningKey.generate()
    public = base64.b64encode(bytes(key.verify_key)).decode()
    _write_new(place, bytes(key).hex(), 0o600)
    _write_new(beside, public, 0o644)
    if options.into is not None:
        options.into.write_text(LINE.sub(rf'\1\2"{public}", )', options.into.read_text()))
    print(f"private half: {place}\npublic half: {public}, in {beside}" + (f", added to {options.into}" if options.into else ""))
    return 0


def _write_new(place: Path, line: str, mode: int) -> None:
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(line + "\n")


def sign(options: argparse.Namespace) -> int:
    print(signed(options.key, options.file, options.version, options.platform))
    return 0


def signed(key_file: Path, signed_file: Path, version: str, platform_name: str) -> str:
    """Writes FILE.sig and returns what it says. Raises OSError and ValueError for what is no key or no file."""
    key = SigningKey(bytes.fromhex(key_file.read_text().strip()))
    size, digest = 0, hashlib.sha256()
    with signed_file.open("rb") as file:
        while piece := file.read(CHUNK):
            size += len(piece)
            digest.update(piece)
    first = releases.statement(releases.Release(releases.FORMAT, releases.NAME, version, platform_name, digest.hexdigest(), size))
    text = first + b"\n" + base64.b64encode(key.sign(releases.PREFIX + first).signature) + b"\n"
    releases.read(text, [base64.b64encode(bytes(key.verify_key)).decode()])
    place = signed_file.with_name(signed_file.name + ".sig")
    place.write_bytes(text)
    return f"{place}: {first.decode()}"


def verify(options: argparse.Namespace) -> int:
    from ananta.release_key import KEYS

    release = releases.read(options.file.with_name(options.file.name + ".sig").read_bytes(), [_public(each) for each in options.key or ()] or KEYS)
    with options.file.open("rb") as file:
        if hashlib.sha256(file.read()).hexdigest() != release.sha256:
            raise ValueError(f"{options.file} is not the file that was signed.")
    print(f"{options.file}: {releases.statement(release).decode()}")
    return 0


def _public(text: str) -> str:
    return Path(text).read_text().strip() if os.path.exists(text) else text


if __name__ == "__main__":
    raise SystemExit(main())
