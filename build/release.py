"""Publishes the files of a folder as the release of this version: python3 build/dev.py release FOLDER (in GitHub's runs)."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import package

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    tag, files = os.environ.get("GITHUB_REF_NAME", ""), sorted(file for file in folder.glob("*") if file.is_file())
    problem = problem_of(tag, [file.name for file in files])
    if problem:
        print(problem)
        return 1
    with tempfile.NamedTemporaryFile("w", suffix=".md", encoding="utf-8", delete=False) as notes:
        notes.write(changes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), package.version()))
    try:
        return subprocess.run(["gh", "release", "create", tag, "--verify-tag", "--title", f"Ananta {package.version()}",
                               "--notes-file", notes.name, *map(str, files)], check=False).returncode
    finally:
        os.unlink(notes.name)


def problem_of(tag: str, names: list[str]) -> str | None:
    """Returns why these files cannot be the release of this tag, None when they can."""
    version = package.version()
    if tag != f"v{version}":
        return f"The tag is {tag!r} and the version in ananta/__init__.py {version}: the tag must be v{version}."
    if "SHA256SUMS" not in names:
        return "There is no SHA256SUMS: run python3 build/dev.py sums FOLDER first."
    foreign = [name for name in names if name != "SHA256SUMS" and not name.startswith(f"ananta-{version}-")]
    if foreign:
        return f"These files are not of version {version}: {', '.join(foreign)}."
    missing = [system for system in ("linux-x86_64", "linux-arm64", "macos-arm64", "windows-x86_64")
               if not any(name.startswith(f"ananta-{version}-{system}.") and not name.endswith(".json") for name in names)]
    return f"There is no download for {', '.join(missing)}." if missing else None


def changes(changelog: str, version: str) -> str:
    """Returns what CHANGELOG.md says of the version; its newest part when none is of it."""
    parts = changelog.split("\n## ")[1:]
    return next((part.partition("\n")[2].strip() + "\n" for part in parts if version in part.partition("\n")[0]),
                next((part.partition("\n")[2].strip() + "\n" for part in parts), ""))


if __name__ == "__main__":
    sys.exit(main())
