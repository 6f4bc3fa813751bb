"""What build/package.py makes: the same bytes each time, complete sums, licences and bill of materials."""
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.executable import built


@pytest.fixture(scope="module")
def package():
    sys.path.insert(0, str(ROOT / "build"))
    try:
        yield importlib.import_module("package")
    finally:
        sys.path.remove(str(ROOT / "build"))


@pytest.fixture(scope="module")
def bill(executable):
    return json.loads(next(executable.parent.glob("*.cdx.json")).read_text())


@pytest.mark.executable
@pytest.mark.skipif("ANANTA_EXECUTABLE" in os.environ, reason="the given file may be of another system")
def test_another_build_elsewhere_gives_the_same_bytes(executable, tmp_path):
    folder = tmp_path / "a folder of another name"
    folder.mkdir()
    built.copy_of_sources(folder)
    done = subprocess.run([sys.executable, "build/package.py", "--bare", "--changed"], cwd=folder, capture_output=True,
                          text=True, env={**built.ENVIRONMENT, "PYTHONHASHSEED": "42", "TZ": "Asia/Tokyo"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {file.name: file.read_bytes() for file in (folder / "dist").iterdir()}
    known = {file.name: file.read_bytes() for file in executable.parent.iterdir() if file.name != "done"}
    assert sorted(made) == sorted(known) and [name for name in made if made[name] != known[name]] == []


@pytest.mark.executable
def test_it_is_small_enough(executable, package):
    assert executable.stat().st_size <= 55e6
    assert bool(package.glibc(executable)) == (sys.platform == "linux")


@pytest.mark.executable
def test_the_bill_names_what_is_inside(bill, package):
    names = {each["name"] for each in bill["components"]}
    wanted = {line.partition("==")[0].partition("[")[0].lower() for line in (ROOT / "requirements.txt").read_text().splitlines()
              if "==" in line}
    # pycparser is for those who build with cffi; the program does not use it.
    assert wanted - names <= {"pycparser"} and {"python", "pyinstaller", "psycopg-binary", "libpq"} <= names
    assert not names & {"pytest", "mypy", "ruff", "setuptools", "altgraph", "hypothesis", "libreadline8"}
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6"
    assert bill["metadata"]["component"]["version"] == package.version()
    refs = [each["bom-ref"] for each in bill["components"]]
    assert len(refs) == len(set(refs)) and all(each["version"] for each in bill["components"])
    own = bill["metadata"]["component"]["bom-ref"]
    reached, waiting = {own}, [own]
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    while waiting:
        new = set(needs[waiting.pop()]) - reached
        reached |= new
        waiting += new
    assert reached == {own, *refs}


@pytest.mark.executable
@pytest.mark.skipif(sys.platform != "linux", reason="names libraries as Linux does")
def test_the_version_of_openssl_is_named(bill):
    assert [each["version"].split(".")[0] for each in bill["components"] if each["name"] == "libcrypto"] == ["3"]


def test_only_a_public_key_is_built_in(package, tmp_path):
    key, private, none = (tmp_path / name for name in ("a.key.pub", "a.key", "b"))
    key.write_text(built.PUBLIC + "\n")
    private.write_text(bytes(built.KEY).hex() + "\n")
    none.write_text("c2hvcnQ=\n")
    other = "A" * 43 + "="
    assert package.release_keys([key, key], f"{other}, {built.PUBLIC}") == [built.PUBLIC, other]
    assert package.release_keys([], "") == []
    for file in (private, none, tmp_path / "missing"):
        with pytest.raises(SystemExit, match=r"build/sign\.py keygen") as refused:
            package.release_keys([file], "")
        assert bytes(built.KEY).hex() not in str(refused.value)
    with pytest.raises(SystemExit, match="ANANTA_RELEASE_KEYS"):
        package.release_keys([], "not a key")


def test_the_module_with_the_keys_has_each_once(package):
    import contents

    found: dict = {}
    exec(contents.release_key_module(["a", "b", "a"]), found)
    assert found["KEYS"] == ("a", "b")


@pytest.mark.skipif(os.name == "nt", reason="packs .tar.xz")
def test_the_download_is_the_same_for_the_same_files(package, tmp_path):
    packed = []
    for number, name in enumerate(("one", "two")):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("LICENSES.txt", "ananta"):
            (folder / file).write_text(f"content of {file}")
            os.utime(folder / file, (number * 1000, number * 1000))
            (folder / file).chmod(0o600 if number else 0o777)
        packed.append(package.download(folder))
    assert packed[0].read_bytes() == packed[1].read_bytes()
    listed = subprocess.run(["tar", "tvf", str(packed[0])], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["-rw-r--r--", "-rwxr-xr-x"]
    assert all(line.split()[1] == "0/0" and f"{packed[0].name.removesuffix('.tar.xz')}/" in line for line in listed)


def test_the_sums_cover_every_file(package, tmp_path):
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    expected = f"{hashlib.sha256(b'1').hexdigest()}  a\n{hashlib.sha256(b'2').hexdigest()}  b\n"
    assert package.sums(tmp_path) == expected == (tmp_path / "SHA256SUMS").read_text()
    assert package.sums(tmp_path) == expected  # not its own


def test_the_newest_glibc_is_found(package, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"\0GLIBC_2.4\0GLIBC_2.17\0GLIBC_2.2.5\0GLIBC_2.9x\0GLIBC_PRIVATE\0")
    assert package.glibc(file) == "2.17"
    file.write_bytes(b"nothing")
    assert package.glibc(file) == ""


def test_another_source_of_pyinstaller_is_refused(package, tmp_path):
    import bootloader

    (tmp_path / f"pyinstaller-{bootloader.VERSION}.tar.gz").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="remove it and try again"):
        bootloader.prepare(tmp_path)


def test_the_versions_fit_together(package):
    import bootloader

    assert f"pyinstaller=={bootloader.VERSION}\n" in (ROOT / "build" / "requirements.txt").read_text()
    assert Path(bootloader.ADDITION).is_file()


def test_a_changed_file_of_a_package_is_noticed(package, tmp_path):
    import contents

    for name in ("bottle.py", "bottle-0.13.4.dist-info"):
        source = Path(importlib.import_module("bottle").__file__).parent / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    assert contents.changed_files(tmp_path) == []
    with open(tmp_path / "bottle.py", "a") as file:
        file.write("import elsewhere\n")
    assert contents.changed_files(tmp_path) == ["bottle.py of bottle==0.13.4"]


def test_what_has_no_licence_text_is_not_handed_on(package, tmp_path):
    import contents

    library = tmp_path / "libunheardof.so.1"
    library.write_bytes(b"")
    with pytest.raises(SystemExit, match=r"libunheardof\.so\.1"):
        contents.components([str(library)], tmp_path / "pyinstaller")
