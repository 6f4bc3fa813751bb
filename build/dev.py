#!/usr/bin/env python3
"""Development commands; needs nothing but Python 3.10 or newer.

  python3 build/dev.py try [--built] set up, then run the main job once and show each step; --built: with dist/ananta
  python3 build/dev.py test [ARGS]   set up, then run the tests (ARGS go to pytest)
  python3 build/dev.py lint          set up, then ruff, and mypy for Linux and Windows
  python3 build/dev.py bench [NAME]  set up, then print the figures of tests/bench (all, or one)
  python3 build/dev.py screens       set up, then take the pictures of the console in build/docs/screens
  python3 build/dev.py run [ARGS]    set up, then ananta ARGS
  python3 build/dev.py package       set up, then make the executable and its download in dist/ (--help says more)
  python3 build/dev.py sums FOLDER   write SHA256SUMS for its files
  python3 build/dev.py release FOLDER  publish its files as the release of this version (in GitHub's runs)
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
ALL_REQUIREMENTS = ("requirements.txt", "build/requirements.txt", "requirements-dev.txt")
SENTENCE = "Show the free disk space."


def main() -> int:
    commands = {"try": try_out, "test": test, "lint": lint, "bench": bench, "run": run, "package": package, "sums": sums,
                "release": release, "screens": screens}
    name, rest = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name not in commands:
        print(__doc__.strip())
        return 0 if name in ("-h", "--help", "help") else 2
    if sys.version_info < (3, 10):
        print(f"This is Python {sys.version.split()[0]}; Ananta needs 3.10 or newer. Install it and call it by name, for "
              "example: python3.11 build/dev.py " + name)
        return 1
    return commands[name](rest)


def set_up(requirements: str) -> None:
    """Makes the virtual environment and installs what the file lists, unless exactly that is there already."""
    # Each of these files includes those before it, so a later one's mark is as good.
    marks = {each: _installed(each) for each in ALL_REQUIREMENTS[ALL_REQUIREMENTS.index(requirements):]}
    if PYTHON.exists() and any(mark.exists() and mark.read_text() == _mark(each) for each, mark in marks.items()):
        return
    if not PYTHON.exists() or not _works(PYTHON):
        for module in ("venv", "ensurepip"):
            try:
                __import__(module)
            except ImportError:
                raise SystemExit(f"This Python has no {module}: install it (Debian and Ubuntu: sudo apt install "
                                 "python3-venv; Fedora: sudo dnf install python3-pip) and try again.") from None
        print(f"making a virtual environment in {VENV.name} ...", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    print(f"installing the packages of {requirements} ...", flush=True)
    done = subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                           str(ROOT / requirements)], check=False)
    if done.returncode != 0:
        raise SystemExit("The packages could not be installed: see the lines above. pip needs to reach a package index, "
                         "or PIP_NO_INDEX=1 with PIP_FIND_LINKS=folder.")
    _installed(requirements).write_text(_mark(requirements))


def _installed(requirements: str) -> Path:
    return VENV / f".installed-{requirements.replace('/', '-')}"


def _mark(requirements: str) -> str:
    return hashlib.sha256(sys.version.encode() + b"".join(
        (ROOT / each).read_bytes() for each in ALL_REQUIREMENTS[:ALL_REQUIREMENTS.index(requirements) + 1])).hexdigest()


def _works(python: Path) -> bool:
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def test(rest: list[str]) -> int:
    set_up("requirements-dev.txt")
    if os.environ.get("ANANTA_NO_SKIPS"):
        _install_chromium()
    # Most tests wait for processes, so several run at once; a file's tests stay together and share its servers.
    several = [] if rest else ["-n", str(max(4, min(6, (os.cpu_count() or 2) + 3))), "--dist", "loadfile"]
    return _python("-m", "pytest", *several, *rest)


def _install_chromium() -> None:
    """Where no test may be left out, those of the console need a browser: that of Debian, when there is none and we may."""
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))) or not shutil.which("apt-get"):
        return
    print("installing chromium ...", flush=True)
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run([*as_root, *command], stdout=subprocess.DEVNULL, check=False)


def lint(rest: list[str]) -> int:
    set_up("requirements-dev.txt")
    codes = [_python("-m", "ruff", "check", *(rest or ["."]))]
    codes += [_python("-m", "mypy", "--platform", platform, "ananta") for platform in ("linux", "win32")]
    return max(codes)


def bench(rest: list[str]) -> int:
    set_up("requirements-dev.txt")
    names = rest[:1] or sorted(each.stem for each in (ROOT / "tests" / "bench").glob("*.py") if each.stem[0] != "_")
    codes = []
    for name in names:
        if not (ROOT / "tests" / "bench" / f"{name}.py").exists():
            print(f"There is no tests/bench/{name}.py.")
            return 2
        print(f"## {name}", flush=True)
        codes.append(_python("-m", f"tests.bench.{name}", *rest[1:]))
    return max(codes)


def screens(rest: list[str]) -> int:
    set_up("requirements-dev.txt")
    return _python(str(ROOT / "build" / "screens.py"), *rest)


def run(rest: list[str]) -> int:
    set_up("requirements.txt")
    return subprocess.run([str(PYTHON), str(ROOT / "ananta.py"), *rest], check=False).returncode


def package(rest: list[str]) -> int:
    if "--container" in rest:  # it brings its own Python
        return subprocess.run([sys.executable, str(ROOT / "build" / "package.py"), *rest], check=False).returncode
    set_up("build/requirements.txt")
    return _python(str(ROOT / "build" / "package.py"), *rest)


def sums(rest: list[str]) -> int:
    from package import sums

    print(sums(Path(rest[0] if rest else ROOT / "dist")), end="")
    return 0


def release(rest: list[str]) -> int:
    return subprocess.run([sys.executable, str(ROOT / "build" / "release.py"), *rest], check=False).returncode


def _python(*arguments: str) -> int:
    return subprocess.run([str(PYTHON), *arguments], cwd=ROOT, check=False).returncode


# --- try: the main job once, seen from outside


def try_out(rest: list[str]) -> int:
    """Starts the worker, lets a model propose a command, runs it, and shows the record."""
    built = ROOT / "dist" / ("ananta.exe" if os.name == "nt" else "ananta")
    program = [str(built)] if rest == ["--built"] else [str(PYTHON), str(ROOT / "ananta.py")]
    if rest == ["--built"] and not built.exists():
        print("There is no executable in dist: python3 build/dev.py package makes one.")
        return 1
    if rest != ["--built"]:
        set_up("requirements.txt")
    with tempfile.TemporaryDirectory(prefix="ananta-try-") as folder:
        environment = {name: text for name, text in os.environ.items() if name not in ("AGENT_TOKEN", "HOST", "PORT")}
        server = subprocess.Popen(
            [*program, "--port", "0", "--data-dir", str(Path(folder) / "data")],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            return _main_job(server)
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
            print("6. The worker has been stopped.")


def _main_job(server: subprocess.Popen) -> int:
    address = _address(server)
    if address is None:
        print("The worker did not start.")
        return 1
    print(f"1. A worker runs: {address}\n   GET /health → {json.dumps(_call(address, '/health')[1])}")
    print(f'2. A person types: "{SENTENCE}"')
    status, answer = _call(address, "/step/propose", {"prompt": SENTENCE})
    if status != 200:
        print(f"   No model answered: {answer.get('message', answer)}\n   Going on with the mock provider, which answers "
              "from a fixed text, so that the flow is seen whole.")
        _call(address, "/config", {"default_provider": "mock"})
        status, answer = _call(address, "/step/propose", {"prompt": SENTENCE})
    if status != 200 or not answer.get("command"):
        print(f"   The model gave no command: {answer}")
        return 1
    print(f"3. {answer.get('model', 'The model')} proposes: {answer['command']}\n   because: {answer['reason']}\n"
          f"   The policy says: {answer['decision']} ({' '.join(answer['reasons'])})")
    command = answer["command"] if answer["decision"] == "allow" else _decision(answer["command"])
    status, done = _call(address, "/step/execute", {"command": command, "task_id": "try", "reason": answer["reason"]})
    if status != 200:
        print(f"   It was not run: {done.get('message', done)}")
        return 1
    print(f"4. It ran in {done['duration']:.3f} s, exit code {done['exit_code']}:")
    print("\n".join("   | " + line for line in done["output"].splitlines()[:12]))
    _, records = _call(address, "/logs?task_id=try")
    record = records[-1]
    print(f"5. On record: step {record['step']} of task {record['task_id']}, decided by {record['decided_by']}, "
          f"hash {record['hash'][:16]}…")
    return 0


def _decision(command: str) -> str:
    """A proposal that changes something is run only when a person at this terminal says so."""
    harmless = "echo hello from ananta"
    if not sys.stdin.isatty():
        print(f"   Nobody is at the terminal to decide about it, so a harmless command runs instead: {harmless}")
        return harmless
    if input("   Run it? [y/N] ").strip().lower() in ("y", "yes"):
        return command
    print(f"   Not run. A harmless command runs instead: {harmless}")
    return harmless


def _address(server: subprocess.Popen) -> str | None:
    found: list[str] = []
    seen = threading.Event()

    def read() -> None:
        for line in server.stdout:  # type: ignore[union-attr]
            match = re.search(r"http://\S+:\d+", line)
            if match and not found:
                found.append(match.group(0))
                seen.set()
        seen.set()

    threading.Thread(target=read, daemon=True).start()
    seen.wait(30)
    until = time.monotonic() + 10
    while found and time.monotonic() < until:
        if _call(found[0], "/health")[0] == 200:
            return found[0]
        time.sleep(0.05)
    return None


def _call(address: str, path: str, body: dict | None = None) -> tuple[int, dict]:
    request = urllib.request.Request(address + path, None if body is None else json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError as error:
        return 0, {"message": str(error)}


if __name__ == "__main__":
    raise SystemExit(main())
