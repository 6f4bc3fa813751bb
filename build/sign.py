#!/usr/bin/env python3
"""Signs releases. Runs in the virtual environment that build/dev.py makes: .venv/bin/python build/sign.py …

  keygen KEYFILE [--into FILE]                         make a key pair; the public half goes into ananta/release_key.py (FILE)
  sign KEYFILE FILE [--version V] [--platform P]       write FILE.sig; default: this tree's version, this machine's platform
  verify FILE [--key PUBLIC]                           say what FILE.sig is worth to this tree (or to who has this key)

KEYFILE holds the private half, in hexadecimal digits, mode 0600. Keep it outside of the tree, best on another machine.
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], epilog="\n".join((__doc__ or "").split("\n")[2:]),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    making = commands.add_parser("keygen")
    making.set_defaults(call=keygen)
    making.add_argument("key", type=Path, metavar="KEYFILE")
    making.add_argument("--into", type=Path, default=ROOT / "ananta" / "release_key.py", metavar="FILE")
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
    text = options.into.read_text()
    if not re.search(r"^KEYS: tuple\[str, \.\.\.\] = \(.*\)$", text, re.MULTILINE):
        raise ValueError(f"{options.into} has no line with KEYS.")
    key = SigningKey.generate()
    # Never over another key: what it has signed could not be signed again.
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(bytes(key).hex() + "\n")
    public = base64.b64encode(bytes(key.verify_key)).decode()
    options.into.write_text(re.sub(r"^(KEYS: tuple\[str, \.\.\.\] = \()(.*)\)$", rf'\1\2"{public}", )', text, flags=re.MULTILINE))
    print(f"private half: {place}\npublic half: {public}, added to {options.into}")
    return 0


def sign(options: argparse.Namespace) -> int:
    key = SigningKey(bytes.fromhex(options.key.read_text().strip()))
    size, digest = 0, hashlib.sha256()
    with options.file.open("rb") as file:
        while piece := file.read(CHUNK):
            size += len(piece)
            digest.update(piece)
    first = releases.statement(releases.Release(releases.FORMAT, releases.NAME, options.version, options.platform, digest.hexdigest(), size))
    text = first + b"\n" + base64.b64encode(key.sign(releases.PREFIX + first).signature) + b"\n"
    releases.read(text, [base64.b64encode(bytes(key.verify_key)).decode()])
    place = options.file.with_name(options.file.name + ".sig")
    place.write_bytes(text)
    print(f"{place}: {first.decode()}")
    return 0


def verify(options: argparse.Namespace) -> int:
    from ananta.release_key import KEYS

    release = releases.read(options.file.with_name(options.file.name + ".sig").read_bytes(), options.key or KEYS)
    with options.file.open("rb") as file:
        if hashlib.sha256(file.read()).hexdigest() != release.sha256:
            raise ValueError(f"{options.file} is not the file that was signed.")
    print(f"{options.file}: {releases.statement(release).decode()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
