"""Where the executable unpacks to, when the usual directory cannot be used."""
import os
import subprocess
import sys

import pytest

from tests.conftest import WAIT_S, clean_environment

pytestmark = [pytest.mark.executable, pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux has them")]


@pytest.fixture
def mounted(executable, tmp_path):
    """Runs `ananta version` in a mount namespace of its own, after the mounts have been made."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace can be made here: it takes root")

    def run(*mounts: str, **environment: str) -> subprocess.CompletedProcess:
        script = "set -e; mount -t tmpfs none /mnt; cp $0 /mnt/ananta; " + "".join(
            f"mount -t tmpfs -o {options} none {place}; " for place, options in (each.split(" ") for each in mounts))
        return subprocess.run(["unshare", "--mount", "sh", "-c", f"{script} cd /; exec /mnt/ananta version", str(executable)],
                              env=clean_environment(tmp_path, **environment), capture_output=True, text=True, timeout=WAIT_S,
                              check=False)

    return run


def test_a_directory_without_programs_is_passed_over(mounted):
    done = mounted("/tmp noexec")
    assert done.returncode == 0 and done.stdout.startswith("ananta ") and done.stderr == "", done


def test_without_any_directory_it_says_which_and_what_to_do(mounted):
    done = mounted("/tmp noexec", "/var/tmp size=8m", TMPDIR="/nowhere")
    assert done.returncode != 0 and done.stdout == ""
    for text in ("/nowhere does not exist", "/tmp is mounted noexec: no program may run from there",
                 "/var/tmp has 8 MiB free and ", "TMPDIR=/a/directory ananta"):
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 10


def test_tmpdir_cures_it(mounted):
    done = mounted("/tmp noexec", "/var/tmp ro", TMPDIR="/mnt")
    assert done.returncode == 0 and done.stdout.startswith("ananta "), done


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_others_is_passed_over(executable, tmp_path):
    done = subprocess.run([str(executable), "version"], env=clean_environment(tmp_path, TMPDIR="/usr"), capture_output=True,
                          text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0 and done.stderr == ""
