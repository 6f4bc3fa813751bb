"""PyInstaller's bootloader, built from its source with what Ananta needs of it on Linux (build/bootloader/ananta.h)."""
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "6.22.3"
SOURCE_SHA256 = "05eb2f5615503e72939a7224d68b4aff572c6b0438ee4a17d0a4b481f399362d"
ADDITION = Path(__file__).resolve().parent / "bootloader" / "ananta.h"
# file, a place that it has exactly once, what stands there afterwards
CHANGES = (
    ("pyi_utils_posix.c", '#include "pyi_apple_events.h"\n',
     '#include "pyi_apple_events.h"\n#include "ananta.h"\n'),
    ("pyi_utils_posix.c", "    /* Compute length of the given temporary directory path",
     "    if (!ananta_usable(tmpdir_path, global_pyi_ctx->executable_filename)) {\n        return -1;\n    }\n\n"
     "    /* Compute length of the given temporary directory path"),
    ("pyi_utils_posix.c", "    return -1; /* No suitable location found */\n",
     "    ananta_no_directory();\n    return -1; /* No suitable location found */\n"),
    ("pyi_utils_posix.c", "    child_pid = fork();\n",
     "    const pid_t ananta_pid = getpid();\n    child_pid = fork();\n"),
    ("pyi_utils_posix.c", "        /* Replace process by starting a new application. */\n",
     "        ananta_inner(ananta_pid);\n        /* Replace process by starting a new application. */\n"),
    ("pyi_utils_posix.c", "    /* From here to end-of-function is parent code",
     "    ananta_outer();\n    /* From here to end-of-function is parent code"))


def prepare(folder: Path) -> Path:
    """Returns a folder with a PyInstaller whose bootloader is ours, made in `folder` unless it is there already.

    It goes to the front of PYTHONPATH; what PyInstaller needs itself must be installed. Raises SystemExit with the cure."""
    key = hashlib.sha256(b"".join((ADDITION.read_bytes(), repr((VERSION, CHANGES)).encode(), sys.version.encode()))).hexdigest()
    ready = folder / f"pyinstaller-{VERSION}-{key[:12]}"
    if (ready / "built").exists():
        return ready
    for program in ("gcc", "strip"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is needed to build the bootloader: install it (Debian and Ubuntu: sudo apt install "
                             "gcc binutils libc6-dev; Fedora: sudo dnf install gcc binutils).")
    shutil.rmtree(ready, ignore_errors=True)
    source = _source(folder)
    with tarfile.open(source) as archive:
        members = [each for each in archive.getmembers() if not Path(each.name).is_absolute() and ".." not in each.name]
        archive.extractall(folder / "unpacking", members)
    (folder / "unpacking" / f"pyinstaller-{VERSION}").rename(ready)
    shutil.copy(ADDITION, ready / "bootloader" / "src")
    for name, place, text in CHANGES:
        file = ready / "bootloader" / "src" / name
        content = file.read_text(encoding="utf-8")
        if content.count(place) != 1:
            raise SystemExit(f"{name} of PyInstaller {VERSION} has {content.count(place)} times instead of once: {place!r}")
        file.write_text(content.replace(place, text), encoding="utf-8")
    # zlib inside: the executable then needs nothing of the system but glibc.
    done = subprocess.run([sys.executable, "./waf", "configure", "build_release", "install_release", "--static-zlib"],
                          cwd=ready / "bootloader", capture_output=True, text=True, check=False,
                          env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"})
    if done.returncode != 0:
        raise SystemExit(f"The bootloader could not be built:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    (ready / "built").touch()
    return ready


def _source(folder: Path) -> Path:
    file = folder / f"pyinstaller-{VERSION}.tar.gz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary",
             "pyinstaller", "--dest", str(folder), f"pyinstaller=={VERSION}"], check=False)
        if done.returncode != 0:
            raise SystemExit(f"The source of PyInstaller {VERSION} could not be fetched: see the lines above.")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise SystemExit(f"{file} has the SHA-256 {found} instead of {SOURCE_SHA256}: remove it and try again.")
    return file
