"""What can be said about Windows without Windows."""
import base64
import json

import pytest

from ananta.shell import windows
from ananta.shell.orders import State


@pytest.mark.parametrize("path, kind", [
    (r"C:\Windows\System32\cmd.exe", "cmd"), ("CMD", "cmd"), (r"C:\Program Files\PowerShell\7\pwsh.exe", "powershell"),
    (r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe", "powershell")])
def test_the_kind_of_a_shell_follows_from_its_name(path, kind):
    assert windows.kind_of(path) == kind


def test_powershell_reads_the_command_from_a_file():
    line = windows.command_line("powershell", r"C:\Program Files\pwsh.exe", r"C:\it's ü")
    start, _, script = line.rpartition(" ")
    assert start == r'"C:\Program Files\pwsh.exe" -NoLogo -NoProfile -NonInteractive -EncodedCommand'
    decoded = base64.b64decode(script).decode("utf-16-le")
    assert r"ReadAllText('C:\it''s ü\command.ps1.txt')" in decoded and "OutputEncoding" in decoded
    assert len(line) < 32_767
    assert windows.files("powershell", "echo 'ü' %", r"C:\x") == {"command.ps1.txt": "echo 'ü' %".encode()}


def test_cmd_runs_the_command_from_a_file():
    assert windows.command_line("cmd", r"C:\cmd.exe", r"C:\a b") == r'"C:\cmd.exe" /d /s /c ""C:\a b\run.cmd""'
    files = windows.files("cmd", "cd x\necho ü\r\n", r"C:\50% off")
    assert files["command.cmd"] == "@echo off\r\ncd x\r\necho ü\r\n\r\n".encode()
    wrapper = files["run.cmd"].decode()
    assert 'call "C:\\50%% off\\command.cmd"\r\n' in wrapper and wrapper.endswith("exit /b %__ananta_code%\r\n")


@pytest.mark.parametrize("text, literal", [("a", "'a'"), ("it's $x `n", "'it''s $x `n'"), ("‘’", "'‘‘’’'")])
def test_powershell_literals_hold_any_text(text, literal):
    assert windows.quoted(text) == literal


def test_powershells_state_is_understood():
    state = {"cwd": "C:\\x", "environment": {"A": "two\nlines", "ANANTA_RUN": "r", "__ananta_x": "1"}}
    assert windows.told("powershell", {windows.TOLD: b"\xef\xbb\xbf" + json.dumps(state).encode()}) == State(
        "C:\\x", {"A": "two\nlines"})


def test_cmds_state_is_understood():
    files = {windows.TOLD: "A=1=2\r\nÜ=ü\r\nANANTA_RUN=r\r\n__ananta_code=0\r\n".encode(), windows.TOLD_CWD: b"C:\\x y\r\n"}
    assert windows.told("cmd", files) == State("C:\\x y", {"A": "1=2", "Ü": "ü"})


@pytest.mark.parametrize("kind, files", [
    ("powershell", {}), ("powershell", {windows.TOLD: b""}), ("powershell", {windows.TOLD: b"[]"}),
    ("powershell", {windows.TOLD: b'{"cwd": "C:"'}), ("cmd", {windows.TOLD: b"A=1"}),
    ("cmd", {windows.TOLD: b"A=1", windows.TOLD_CWD: b"\r\n"})])
def test_half_a_state_is_no_state(kind, files):
    assert windows.told(kind, files) is None
