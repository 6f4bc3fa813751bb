"""The workflows do nothing but call build/dev.py, with as few rights as they need."""
import importlib
import re
import sys

import pytest
import yaml

from tests.conftest import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = ("actions/checkout@", "actions/setup-python@", "actions/upload-artifact@", "actions/download-artifact@",
           "actions/attest-build-provenance@")
COMPLETE = ["SHA256SUMS", *(f"ananta-1.2.3-{system}.{ending}" for system, ending in (
    ("linux-x86_64", "tar.xz"), ("linux-arm64", "tar.xz"), ("macos-arm64", "tar.xz"), ("windows-x86_64", "zip")))]


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def workflow(request):
    # Without implied types, so that "on" stays a word.
    return yaml.load(request.param.read_text(), Loader=yaml.BaseLoader)


def test_there_are_workflows():
    assert [file.name for file in FILES] == ["check.yml", "release.yml"]


def test_each_step_is_a_known_action_or_a_development_command(workflow):
    known = re.findall(r"python3 build/dev\.py (\w+)", (ROOT / "build" / "dev.py").read_text())
    for job in workflow["jobs"].values():
        for step in job.get("steps", []):
            if "run" in step:
                found = re.fullmatch(r"python build/dev\.py (\w+)( [\w-]+)?( \$\{\{ matrix\.options \}\})?", step["run"])
                assert found and found[1] in known, step
            else:
                assert step["uses"].startswith(ACTIONS) and re.search(r"@v\d+$", step["uses"]), step


def test_rights_are_given_where_they_are_needed_only(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert not {"pull_request_target", "workflow_run"} & set(workflow["on"])
    for name, job in workflow["jobs"].items():
        assert ("permissions" in job) == (name == "publish")
        assert "timeout-minutes" in job or "uses" in job


def test_each_system_is_tested_and_packed():
    jobs = yaml.load((ROOT / ".github" / "workflows" / "check.yml").read_text(), Loader=yaml.BaseLoader)["jobs"]
    for job in jobs.values():
        systems = [each["system"] for each in job["strategy"]["matrix"]["include"]]
        assert [system.rpartition("-")[0] if system[-3:] != "arm" else "arm" for system in systems] == [
            "ubuntu", "arm", "macos", "windows"]


@pytest.fixture
def release():
    sys.path.insert(0, str(ROOT / "build"))
    try:
        yield importlib.import_module("release")
    finally:
        sys.path.remove(str(ROOT / "build"))


def test_a_release_is_complete_and_of_its_version(release):
    complete = [name.replace("1.2.3", release.package.version()) for name in COMPLETE]
    tag = f"v{release.package.version()}"
    assert release.problem_of(tag, complete) is None
    assert "the tag must be" in release.problem_of("v0.0.0", complete)
    assert "SHA256SUMS" in release.problem_of(tag, complete[1:])
    assert "linux-arm64" in release.problem_of(tag, [name for name in complete if "linux-arm64" not in name])
    assert "ananta-9.9.9-x" in release.problem_of(tag, [*complete, "ananta-9.9.9-x"])


def test_a_release_says_what_changed(release):
    text = "# Changelog\n\n## 2.0 (unreleased)\n\nnew\n\n## 1.0\n\nold\n"
    assert release.changes(text, "1.0") == "old\n" and release.changes(text, "2.0") == "new\n" == release.changes(text, "3.0")
