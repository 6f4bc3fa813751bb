"""The executable under test: the one of ANANTA_EXECUTABLE, else built from these sources, once for all that run tests."""
import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fasteners
import pytest
from nacl.signing import SigningKey

from tests.conftest import ROOT

INPUTS = ("ananta.py", "ananta.spec", "LICENSE", "requirements.txt", "build/requirements.txt")
CACHE = ROOT / ".pyi" / "tested"
# Whose releases the executable under test takes: anybody's, so it is for tests alone.
KEY = SigningKey(hashlib.sha256(b"for tests alone").digest())
PUBLIC = base64.b64encode(bytes(KEY.verify_key)).decode()
ENVIRONMENT = {**os.environ, "ANANTA_RELEASE_KEYS": PUBLIC}


def path() -> Path:
    """Returns the executable. Skips where it cannot be built; where ANANTA_NO_SKIPS is set the test fails instead."""
    given = os.environ.get("ANANTA_EXECUTABLE")
    if given:
        return Path(given).resolve()
    if importlib.util.find_spec("PyInstaller") is None:
        _leave_out("PyInstaller is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(CACHE / "lock"):
        output = CACHE / _key()
        if not (output / "done").exists():
            for old in CACHE.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            done = subprocess.run([sys.executable, str(ROOT / "build" / "package.py"), "--bare", "--changed", "--output",
                                   str(output)], capture_output=True, text=True, env=ENVIRONMENT, check=False)
            if done.returncode != 0:
                _leave_out(f"it could not be built: {done.stdout}{done.stderr}")
            (output / "done").touch()
    return output / ("ananta.exe" if os.name == "nt" else "ananta")


def copy_of_sources(folder: Path) -> None:
    """Puts what the executable is made of into the folder, and the fetched source of PyInstaller."""
    for file in inputs():
        target = folder / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (folder / ".pyi").mkdir()
    for file in (ROOT / ".pyi").glob("pyinstaller-*.tar.gz"):
        shutil.copy(file, folder / ".pyi")


def inputs() -> list[Path]:
    """Returns the files that the executable is made of."""
    return [*(ROOT / name for name in INPUTS), *sorted((ROOT / "build").glob("*.py")),
            *(file for folder in ("ananta", "build/bootloader", "build/licences") for file in sorted((ROOT / folder).rglob("*"))
              if file.is_file() and "__pycache__" not in file.parts)]


def _key() -> str:
    seen = hashlib.sha256(sys.version.encode() + PUBLIC.encode())
    for file in inputs():
        seen.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return seen.hexdigest()[:16]


def _leave_out(reason: str) -> None:
    if os.environ.get("ANANTA_NO_SKIPS"):
        raise AssertionError(reason)
    pytest.skip(reason)
