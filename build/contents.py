"""What goes into the executable, and what that is: for the recipe ananta.spec, the licences and the bill of materials."""
import base64
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
LICENCES = Path(__file__).resolve().parent / "licences"
# Extensions may import what they like of the standard library, but no windows, no tests, nothing that brings a
# library nobody wants (nis), and no GNU libraries whose licence would be the whole executable's (gdbm, and readline unless
# it is libedit).
LEFT_OUT = {"antigravity", "ensurepip", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo", "venv",
            "_tkinter", "_gdbm", "_dbm", "nis"}
TESTS = re.compile(r"(^|\.)(tests?|_?xx.*|_test.*|_ctypes_test)(\.|$)")
LICENCE_FILE = re.compile(r"(?i)(licen[cs]e|copying|notice|copyright)")


# --- what goes in


def own_modules() -> list[str]:
    """Returns the names of all modules of Ananta: an extension may import one that nothing else imports."""
    return sorted(_module_name(file, ROOT) for file in (ROOT / "ananta").rglob("*.py") if file.name != "__main__.py")


def release_key_module(keys: Iterable[str]) -> str:
    """Returns the text of ananta/release_key.py with these public keys, each once and in this order."""
    return f"KEYS: tuple[str, ...] = {tuple(dict.fromkeys(keys))!r}\n"


def own_files() -> list[tuple[str, str]]:
    """Returns the files of Ananta that are no Python, as (source, folder inside)."""
    return sorted((str(file), file.parent.relative_to(ROOT).as_posix()) for file in (ROOT / "ananta").rglob("*")
                  if file.is_file() and file.suffix not in (".py", ".pyc"))


def standard_library() -> list[str]:
    """Returns the names of the modules of the standard library that this Python has, without LEFT_OUT."""
    found = set()
    for name in sys.stdlib_module_names - LEFT_OUT - ({"readline"} if _has_gnu_readline() else set()):
        try:
            spec = importlib.util.find_spec(name)
        except ValueError:  # a module that is no file, such as __main__
            continue
        if spec is None or TESTS.search(name):
            continue
        found.add(name)
        for folder in spec.submodule_search_locations or ():
            found |= {_module_name(file, Path(folder).parent) for file in Path(folder).rglob("*.py")
                      if "site-packages" not in file.parts}
    return sorted(name for name in found if not TESTS.search(name) and not name.endswith("__main__"))


def not_wanted() -> list[str]:
    """Returns what must not come in, although it may be installed and something tries to import it."""
    wanted, modules = _wanted(), {True: set(), False: set()}
    for each in _installed():
        for file in each.files or ():
            name = file.parts[0].partition(".")[0]
            if name.isidentifier() and name != "__pycache__" and not file.parts[0].endswith((".dist-info", ".pth", ".libs")):
                modules[_plain(each.name) in wanted].add(name)
    return sorted(modules[False] - modules[True] | LEFT_OUT | ({"readline"} if _has_gnu_readline() else set()))


def _installed() -> list[importlib.metadata.Distribution]:
    # Not those that a package brings along in a folder of its own.
    return list(importlib.metadata.distributions(path=sorted({sysconfig.get_paths()[each] for each in ("purelib", "platlib")})))


def _wanted() -> set[str]:
    """The distributions of requirements.txt, and those that their extras bring along."""
    from packaging.requirements import Requirement

    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    names = {_plain(each.name) for each in asked}
    for each in asked:
        for text in importlib.metadata.requires(each.name) or () if each.extras else ():
            needed = Requirement(text)
            if needed.marker and any(needed.marker.evaluate({"extra": extra}) for extra in each.extras):
                names.add(_plain(needed.name))
    return names


def _has_gnu_readline() -> bool:
    try:
        import readline
    except ImportError:
        return False
    return "libedit" not in (readline.__doc__ or "")


def _module_name(file: Path, above: Path) -> str:
    parts = file.relative_to(above).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def changed_files(folder: Path | None = None) -> list[str]:
    """Returns which files of the packages that go in are not as the packages brought them, with the package's version.

    Such as a list of certificate authorities to which somebody has added one for this machine. folder: where packages are
    looked for, None: where this Python has them."""
    wanted, found = _wanted(), []
    for each in _installed() if folder is None else importlib.metadata.distributions(path=[str(folder)]):
        for file in each.files or () if _plain(each.name) in wanted else ():
            if file.hash is None or file.hash.mode != "sha256" or ".." in file.parts:
                continue
            content = Path(str(each.locate_file(file)))
            digest = hashlib.sha256(content.read_bytes()).digest() if content.is_file() else b""
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                found.append(f"{file} of {each.name}=={each.version}")
    return sorted(found)


# --- what that is


@dataclass(frozen=True)
class Component:
    """Something with a licence of its own. licence: an SPDX expression where it is known, else a name."""

    name: str
    version: str
    purl: str
    licence: str
    texts: tuple[str, ...]
    needs: tuple[str, ...] = ()
    part_of: str = ""


def components(sources: Iterable[str], pyinstaller: Path) -> list[Component]:
    """Returns what the files at these paths belong to, besides Ananta, sorted by name. pyinstaller: its folder.

    Raises SystemExit for what has no licence text: nothing may be handed on without."""
    files = sorted({source for source in sources if source and source != "-"})
    owners = _owners()
    found: dict[str, Component] = {}
    for source in files:
        component = _component(Path(source), owners, pyinstaller)
        if component is not None:
            found[component.purl] = component
            for inner in _grafted(Path(source), component):
                found[inner.purl] = inner
    found["python"] = _python()
    found["pyinstaller"] = _bootloader(pyinstaller)
    missing = [each.name for each in found.values() if not each.texts]
    if missing:
        raise SystemExit(f"No licence text was found for {', '.join(sorted(missing))}: install the package's documentation "
                         f"or licences, or put the text into build/licences as {missing[0]}.txt.")
    return sorted(found.values(), key=lambda each: (each.name.lower(), each.purl))


def _owners() -> dict[str, importlib.metadata.Distribution]:
    # By real paths: the virtual environment may be a link, and the packager follows it for some files.
    return {os.path.realpath(str(each.locate_file(file))): each for each in _installed() for file in each.files or ()}


def _component(source: Path, owners, pyinstaller: Path) -> Component | None:
    own = owners.get(str(source.resolve()))
    if own is not None:
        return None if _plain(own.name) in ("pyinstaller", "pyinstaller-hooks-contrib") else _distribution(own)
    if source.is_relative_to(ROOT) or source.is_relative_to(pyinstaller) or "site-packages" in source.parts:
        return None
    resolved = source.resolve()
    standard = [Path(sysconfig.get_paths()[each]).resolve() for each in ("stdlib", "platstdlib")]
    base = Path(sys.base_prefix).resolve()
    if any(resolved.is_relative_to(each) for each in standard) or "libpython" in source.name or (
            base != Path("/usr") and resolved.is_relative_to(base)):
        return None  # Python's own
    return _of_system(source)


@functools.cache
def _distribution(own: importlib.metadata.Distribution) -> Component:
    from packaging.requirements import Requirement

    needed = [Requirement(each) for each in own.requires or ()]
    texts = tuple(_read(Path(str(own.locate_file(file)))) for file in sorted(own.files or ()) if LICENCE_FILE.search(file.name)
                  and ".dist-info" in str(file) and file.suffix not in (".py", ".pyc"))
    licence = own.metadata.get("License-Expression") or own.metadata.get("License") or next(
        (each.rpartition(" :: ")[2] for each in own.metadata.get_all("Classifier") or () if each.startswith("License ::")), "")
    name = _plain(own.name)
    return Component(name, own.version, f"pkg:pypi/{name}@{own.version}", licence.strip().splitlines()[0] if licence else "",
                     texts, tuple(sorted(_plain(each.name) for each in needed
                                         if each.marker is None or each.marker.evaluate({"extra": ""}))))


def _python() -> Component:
    version = ".".join(map(str, sys.version_info[:3]))
    places = [Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt", Path(sys.base_prefix) / "LICENSE.txt",
              Path(f"/usr/share/doc/python{version.rpartition('.')[0]}/copyright"),
              *Path("/usr/share/licenses").glob(f"python{version.rpartition('.')[0]}*/LICENSE")]
    texts = [_read(place) for place in places if place.is_file()]
    return Component("python", version, f"pkg:generic/python@{version}", "PSF-2.0", tuple(texts[:1]))


def _bootloader(pyinstaller: Path) -> Component:
    version = importlib.metadata.version("pyinstaller")
    texts = tuple(_read(file) for file in (pyinstaller / "COPYING.txt",) if file.is_file()) or _distribution(
        importlib.metadata.distribution("pyinstaller")).texts
    return Component("pyinstaller", version, f"pkg:pypi/pyinstaller@{version}",
                     "GPL-2.0-or-later WITH Bootloader-exception", texts)


def _grafted(source: Path, owner: Component) -> list[Component]:
    """Libraries of others that a wheel brings along; the wheel keeps no licence of theirs."""
    if not any(part.endswith(".libs") for part in source.parts):
        return []
    name = source.name.split(".so")[0].rsplit("-", 1)[0]
    file = next((each for each in sorted(LICENCES.glob("*.txt")) if name in each.stem.split("+")), None)
    release = re.search(rb"OpenSSL (\d+\.\d+\.\d+)", source.read_bytes()) if name in ("libcrypto", "libssl") else None
    version = release[1].decode() if release else source.name.partition(".so.")[2]
    texts = (_read(file),) if file else ()
    return [Component(name, version, f"pkg:generic/{name}@{version}", "", texts, part_of=owner.name)]


def _of_system(source: Path) -> Component:
    for path in (source, source.resolve()):
        package = _answer("dpkg-query", "--search", str(path)).split(":")[0]
        if package:
            version, arch = _answer("dpkg-query", "--show", "--showformat=${Version} ${Architecture}\n",
                                    package).splitlines()[0].split()
            text = Path(f"/usr/share/doc/{package}/copyright")
            return Component(package, version, f"pkg:deb/debian/{package}@{quote(version)}?arch={arch}", "",
                             (_read(text),) if text.is_file() else _kept(package))
        package, _, rest = _answer("rpm", "--query", "--file", "--queryformat=%{NAME} %{VERSION}-%{RELEASE} %{LICENSE}",
                                   str(path)).partition(" ")
        version, _, licence = rest.partition(" ")
        if version and not package.startswith(("file", "error")):
            texts = tuple(_read(Path(each)) for each in _answer("rpm", "--query", "--licensefiles", package).splitlines()
                          if Path(each).is_file())
            return Component(package, version, f"pkg:rpm/{package}@{quote(version)}", licence, texts or _kept(package))
    return Component(source.name, "", f"pkg:generic/{source.name}", "", _kept(source.name))


def _kept(name: str) -> tuple[str, ...]:
    return tuple(_read(each) for each in sorted(LICENCES.glob("*.txt")) if name in each.stem.split("+"))


def _answer(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no such package manager here
        return ""
    return done.stdout if done.returncode == 0 else ""


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip()


# --- the two files that say so


def licence_file(version: str, parts: list[Component]) -> str:
    """Returns the licences of Ananta and of all parts as one text; a text that several have stands there once."""
    blocks = [f"Ananta {version}\n\n{_read(ROOT / 'LICENSE')}"]
    holders: dict[str, list[Component]] = {}
    for part in parts:
        for text in part.texts:
            holders.setdefault(text, []).append(part)
    for text, named in holders.items():
        names = ", ".join(sorted({f"{each.name} {each.version}".strip() + (f" (in {each.part_of})" if each.part_of else "")
                                  for each in named}))
        blocks.append(f"{names}\n\n{text}")
    mentioned = sorted(set(re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9])", "\n".join(blocks))))
    for name in mentioned:
        file = Path("/usr/share/common-licenses") / name
        if file.is_file():
            blocks.append(f"/usr/share/common-licenses/{name}\n\n{_read(file)}")
    return f"\n\n{'=' * 100}\n".join(blocks) + "\n"


def bill_of_materials(version: str, parts: list[Component]) -> dict:
    """Returns a CycloneDX 1.6 document. It holds no time and no random number, so that the same parts give the same."""
    own = f"pkg:generic/ananta@{version}"
    names = {part.name: part.purl for part in parts}
    inside = {part.purl: sorted(each.purl for each in parts if each.part_of == part.name) for part in parts}
    identity = "\n".join([own, *(part.purl for part in parts)])
    top = [part.purl for part in parts if not part.part_of and not any(part.name in each.needs for each in parts)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}", "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": own, "name": "ananta", "version": version, "purl": own,
                                   "licenses": [{"license": {"id": "MIT"}}]}},
        "components": [_entry(part) for part in parts],
        "dependencies": [{"ref": own, "dependsOn": top}] + [
            {"ref": part.purl, "dependsOn": sorted({names[each] for each in part.needs if each in names} | set(inside[part.purl]))}
            for part in parts]}


def _entry(part: Component) -> dict:
    entry = {"type": "platform" if part.name == "python" else "library", "bom-ref": part.purl, "name": part.name,
             "version": part.version, "purl": part.purl}
    if part.licence:
        spdx = re.fullmatch(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*", part.licence) and "-" in part.licence
        entry["licenses"] = [{"expression": part.licence}] if spdx or part.licence == "MIT" else [
            {"license": {"name": part.licence}}]
    return entry
