"""What a line is read as."""
import pytest

from ananta.policy import commands


@pytest.mark.parametrize(("line", "words"), [
    ("r\"\"m $'\\x72m' \\rm", [["rm", "rm", "rm"]]),
    ("cp x{,.bak} {1..3}", [["cp", "x", "x.bak", "1", "2", "3"]]),
    ("cat <<'E'\nrm x\nE\nls", [["cat"], ["ls"]]),
    ("if a; then b; else c; fi | d", [["a"], ["b"], ["c"], ["d"]]),
    ("case x in y|z) a;; esac; b", [["a"], ["b"]]),
    ("[[ $x =~ ^(a|b)$ ]] && c", [["c"]]),
    ("echo a#b # c", [["echo", "a#b"]]),
])
def test_bash(line, words):
    reading = commands.read(line, "bash")
    assert [[word.text for word in c.words] for c in reading.commands if c.words] == words and not reading.problems


@pytest.mark.parametrize(("line", "words"), [
    ("Select-Object Name, Id", [["Select-Object", "Name", ",", "Id"]]),
    ("gci | ? { $_.Name -eq 'x' }", [["gci"], ["?", "\0"]]),
    ("& 'a b' c", [["a b", "c"]]),
])
def test_powershell(line, words):
    reading = commands.read(line, "powershell")
    assert [[word.text for word in c.words] for c in reading.commands] == words and not reading.problems


@pytest.mark.parametrize(("line", "words"), [
    ("d^el/q x", [["del", "/q", "x"]]),
    ('echo "a & b" & dir', [["echo", "a & b"], ["dir"]]),
    ("for /f %i in ('dir') do echo %i", [["dir"], ["echo", "\0"]]),
])
def test_cmd(line, words):
    reading = commands.read(line, "cmd")
    assert [[word.text for word in c.words] for c in reading.commands] == words and not reading.problems


@pytest.mark.parametrize("line", ["sudo -u x rm y", "env A=1 nice -n 5 rm y", "sh -c 'rm y'", "find . -exec rm y \\;", "ssh h 'rm y'", "xargs -n1 rm y",
                                  "pwsh -Command \"rm y\"", "timeout -k 1 5 rm y", "watch rm y", "eval 'rm y'"])
def test_wrappers_are_opened(line):
    assert any(words[:2] == ["rm", "y"] for words in commands.simple_commands(line, "bash"))
