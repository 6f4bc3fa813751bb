"""Makes the one-file executable and its download: python3 build/dev.py package [--help]."""
import argparse
import base64
import binascii
import hashlib
import io
import lzma
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import bootloader
import contents

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".pyi"
EPOCH = 315532800  # 1980, the first moment a zip file can name
PROGRAM = "ananta.exe" if os.name == "nt" else "ananta"
KEYS = "ANANTA_RELEASE_KEYS"


def main() -> int:
    parser = argparse.ArgumentParser(prog="build/dev.py package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="where to put it; default: dist")
    parser.add_argument("--bare", action="store_true", help="the executable alone, no download and no sums")
    parser.add_argument("--max-glibc", metavar="VERSION", help="fail if the executable needs a newer glibc than this")
    parser.add_argument("--changed", action="store_true", help="even if files of packages were changed here; not for others")
    parser.add_argument("--container", action="store_true", help="in a container of docker with an old glibc, for releases")
    parser.add_argument("--release-key", type=Path, action="append", default=[], metavar="FILE.pub", help="a public key (build/sign.py "
                        f"keygen) whose releases `ananta update` of this executable takes; also as {KEYS}, the keys themselves")
    parser.add_argument("--sign", type=Path, metavar="KEYFILE", help="sign the executable with this private key; the signature is in the download")
    options = parser.parse_args()
    output, keys = options.output.resolve(), release_keys(options.release_key, os.environ.get(KEYS, ""))
    if options.container:
        if options.sign:
            raise SystemExit("--sign does not go with --container, which must not see the key: sign what it has made with build/sign.py.")
        return subprocess.run(["docker", "build", "--file", str(ROOT / "build" / "package.Dockerfile"), "--build-arg", f"{KEYS}={' '.join(keys)}",
                               "--output", str(output), str(ROOT)], check=False).returncode
    changed = contents.changed_files()
    if changed:
        print("These files are not as their packages brought them:\n  " + "\n  ".join(changed))
        if not options.changed:
            print("Nothing was made. Remove .venv, so that it is made anew, or use --changed for yourself.")
            return 1
    output.mkdir(parents=True, exist_ok=True)
    for old in (output / PROGRAM, output / f"{PROGRAM}.sig", output / "LICENSES.txt", output / "SHA256SUMS", *output.glob("ananta-*")):
        old.unlink(missing_ok=True)
    make(output, keys)
    needed = glibc(output / PROGRAM)
    print(f"executable  {_size(output / PROGRAM)}" + (f", needs glibc {needed}" if needed else ""))
    if options.max_glibc and _numbers(needed) > _numbers(options.max_glibc):
        print(f"It needs glibc {needed}, which is newer than {options.max_glibc}: build on an older system.")
        return 1
    print("release key " + (", ".join(keys) or "none, so it takes no update: --release-key FILE.pub builds one in (build/sign.py keygen makes it)"))
    if options.sign:
        _sign(options.sign, output / PROGRAM)
    if not options.bare:
        print(f"download    {_size(download(output))}")
        print(sums(output), end="")
    return 0


def version() -> str:
    """Returns the version of the source, such as 1.2.3."""
    return re.search(r'__version__ = "([^"]+)"', (ROOT / "ananta" / "__init__.py").read_text(encoding="utf-8"))[1]


def release_keys(files: list[Path], text: str) -> list[str]:
    """Returns the public keys of the files and of the text, each once. Raises SystemExit with the cure for what is none."""
    found = []
    for file in files:
        try:
            found.append((str(file), file.read_text(encoding="ascii").strip()))
        except (OSError, UnicodeDecodeError) as cause:
            raise SystemExit(f"{file} cannot be read as a public key ({cause}): build/sign.py keygen makes KEYFILE and KEYFILE.pub.") from cause
    for where, key in [*found, *((KEYS, each) for each in text.replace(",", " ").split())]:
        try:
            good = len(base64.b64decode(key, validate=True)) == 32
        except binascii.Error:
            good = False
        if not good:
            # Its content is not shown: it may be the private half.
            raise SystemExit(f"{where} holds no public key, which is 32 bytes as base64: take the file that ends in .pub, as build/sign.py keygen "
                             "has made it.")
    return list(dict.fromkeys([*(key for _, key in found), *text.replace(",", " ").split()]))


def _sign(key_file: Path, program: Path) -> None:
    import sign  # needs what is installed for packaging

    try:
        print(f"signature   {sign.signed(key_file, program, version(), sign.releases.platform(sys.platform, platform.machine()))}")
    except (OSError, ValueError) as cause:
        raise SystemExit(f"{key_file} cannot sign: {cause}. build/sign.py keygen makes a key.") from cause


def make(output: Path, keys: list[str]) -> Path:
    """Makes the executable, LICENSES.txt and the bill of materials in the folder; returns the path of the executable.

    keys: public keys that are built in, beside those of the source. The same sources, keys, packages and
    system give the same bytes, wherever they lie. Raises SystemExit with the cure."""
    WORK.mkdir(exist_ok=True)
    folders = [str(bootloader.prepare(WORK))] if sys.platform == "linux" else []
    with tempfile.TemporaryDirectory(prefix="build-", dir=WORK) as work:
        # Elsewhere PYTHONPATH or a user's own packages could change what goes in.
        environment = {**os.environ, "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", str(EPOCH)),
                       "PYTHONPATH": os.pathsep.join(folders), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1",
                       "PYINSTALLER_CONFIG_DIR": str(Path(work) / "cache"), "LC_ALL": "C", KEYS: " ".join(keys)}
        done = subprocess.run(
            [sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "ERROR", "--workpath", work,
             "--distpath", str(Path(work) / "dist"), str(ROOT / "ananta.spec")], cwd=ROOT, env=environment, check=False)
        if done.returncode != 0:
            raise SystemExit("PyInstaller failed: see the lines above.")
        made = Path(work) / "ananta"
        for source, name in ((Path(work) / "dist" / PROGRAM, PROGRAM), (made / "LICENSES.txt", "LICENSES.txt"),
                             (made / "sbom.cdx.json", f"{download_name()}.cdx.json")):
            shutil.move(source, output / name)
    (output / PROGRAM).chmod(0o755)
    return output / PROGRAM


def download_name() -> str:
    """Returns the name of the download without its ending, such as ananta-1.2.3-linux-x86_64."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"ananta-{version()}-{system}-{machine}"


def download(output: Path) -> Path:
    """Packs what is in the folder: .zip on Windows, else .tar.xz. The same files give the same bytes. Returns its path."""
    name, files = download_name(), sorted(file for file in output.iterdir() if file.is_file())
    if os.name == "nt":
        with zipfile.ZipFile(output / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in files:
                archive.writestr(zipfile.ZipInfo(f"{name}/{file.name}"), file.read_bytes(), zipfile.ZIP_DEFLATED, 9)
        return output / f"{name}.zip"
    with lzma.open(output / f"{name}.tar.xz", "wb", preset=6) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            entry = tarfile.TarInfo(f"{name}/{file.name}")
            entry.size, entry.mtime, entry.mode = file.stat().st_size, EPOCH, 0o755 if file.name == PROGRAM else 0o644
            archive.addfile(entry, io.BytesIO(file.read_bytes()))
    return output / f"{name}.tar.xz"


def sums(output: Path) -> str:
    """Writes SHA256SUMS for the files of the folder, as `sha256sum --check` reads it, and returns it."""
    text = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(output.iterdir())
                   if file.is_file() and file.name != "SHA256SUMS")
    (output / "SHA256SUMS").write_text(text, encoding="ascii", newline="\n")
    return text


def glibc(program: Path) -> str:
    """Returns the newest version of glibc that something in the executable asks for; "" where it asks for none."""
    # Nothing inside is compressed, so that the names of the versions can be read from the file as it is.
    found = {each.decode() for each in re.findall(rb"GLIBC_(\d+\.\d+(?:\.\d+)?)\0", program.read_bytes())}
    return max(found, key=_numbers, default="")


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(".") if each]


def _size(file: Path) -> str:
    return f"{file.name}: {file.stat().st_size / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
