"""Fixtures: what the other tests do with the source, done with the built file."""
import subprocess
from pathlib import Path

import pytest

from tests.conftest import WAIT_S, Ananta, clean_environment
from tests.executable import built


@pytest.fixture(scope="session")
def executable() -> Path:
    return built.path()


@pytest.fixture
def start(tmp_path, executable):
    """Starts workers and stops them at the end, as the fixture of this name does with the source."""
    running = []

    class Executable(Ananta):
        program = [str(executable)]

    def begin(name: str = "worker", *arguments: str, token: str | None = None, **environment: str) -> Ananta:
        running.append(Executable(tmp_path / name, *arguments, token=token, **environment))
        return running[-1]

    yield begin
    for each in running:
        if each.process.returncode is None:
            each.stop()


@pytest.fixture
def ananta_at(tmp_path):
    """Starts another executable than that under test, and stops it at the end."""
    running = []

    def begin(program: Path, *arguments: str, **options) -> Ananta:
        other = type("Other", (Ananta,), {"program": [str(program)]})
        running.append(other(tmp_path / "other", *arguments, **options))
        return running[-1]

    yield begin
    for each in running:
        if each.process.returncode is None:
            each.stop()


@pytest.fixture
def ananta(tmp_path, executable):
    """Runs one command to its end."""
    def run(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(executable), *arguments], cwd=tmp_path, input=stdin, text=True, capture_output=True,
                              env=clean_environment(tmp_path, **environment), timeout=WAIT_S, check=False)

    return run
