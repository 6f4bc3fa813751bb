"""What a model may write, and what is understood."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ananta.domain import answers
from ananta.domain.steps import ToolCall

FENCE = "```"


@pytest.mark.parametrize(("text", "reason", "command"), [
    ('{"reason": "Show it.", "command": "ls"}', "Show it.", "ls"),
    (f'{FENCE}json\n{{"reason": "a", "command": "ls"}}\n{FENCE}', "a", "ls"),
    (f'{FENCE}\n{{"reason": "a", "command": "ls"}}\n{FENCE}', "a", "ls"),
    ('Sure! Here it is:\n{"reason": "a", "command": "ls"}\nHave fun.', "a", "ls"),
    (f'Sure:\n{FENCE}json\n{{"reason": "a", "command": "ls"}}\n{FENCE}\nbye', "a", "ls"),
    ('Assistant: {"reason": "a", "command": "ls"}', "a", "ls"),
    ('{"thought": "a", "command": "ls"}', "a", "ls"),
    ('{"explanation": "a", "command": "ls"}', "a", "ls"),
    ('{"Begründung": "a", "Befehl": "ls"}', "a", "ls"),
    ('{"reason": "", "thought": "b", "command": "ls"}', "b", "ls"),
    ('{"reason": "a", "command": "ls"', "a", "ls"),
    ('{"reason": "a", "command": "ls",', "a", "ls"),
    ('{"command": "ls", "reason": "it lis', "it lis", "ls"),
    ('{"command": "ls", "reason": "it \\', "it ", "ls"),
    ('{"command": "ls", "reason": "it \\u00', "it", "ls"),
    ('{"command": "ls", "reason":', "", "ls"),
    ('{"command": "ls", "rea', "", "ls"),
    ('Sure: {"reason": "a", "command": "ls"', "a", "ls"),
    (f'{FENCE}json\n{{"reason": "a", "command": "ls"\n{FENCE}', "a", "ls"),
    ('{"reason": "two\nlines", "command": "ls"}', "two\nlines", "ls"),
    ('{"reason": "a", "command": "awk \'{print $1}\' f"}', "a", "awk '{print $1}' f"),
    ('{"reason": "a"} {"reason": "b", "command": "ls"}', "a", None),
    ('{"note": 1} {"reason": "b", "command": "ls"}', "b", "ls"),
    ('[{"reason": "a", "command": "ls"}]', "a", "ls"),
    ('<think>Perhaps {"command": "rm -rf x"}?</think>{"reason": "a", "command": "ls"}', "a", "ls"),
])
def test_json(text, reason, command):
    proposal = answers.parse(text)
    assert (proposal.reason.strip(), proposal.command) == (reason.strip(), command)


def test_a_command_that_was_cut_off_says_so():
    proposal = answers.parse('{"reason": "Remove it.", "command": "rm -r /tmp/sc')
    assert proposal.command == "rm -r /tmp/sc"
    assert "cut off" in proposal.reason and proposal.reason.startswith("Remove it.")


@pytest.mark.parametrize(("value", "command"), [
    ('"`pwd`"', "pwd"), ('"``pwd``"', "pwd"), ('"```pwd```"', "pwd"), ('"```bash\\npwd\\n```"', "pwd"),
    ('"echo `date`"', "echo `date`"), ('"`which ls` -l `pwd`"', "`which ls` -l `pwd`"),
    ('"$ ls -l"', "ls -l"), ('"> ls -l"', "ls -l"), ('"$HOME/run"', "$HOME/run"), ('"PS C:\\\\x> dir"', "dir"),
    ('"$ ls\\nfile\\n$ pwd"', "ls\npwd"), ('"\\n\\n  ls\\n"', "ls"),
    ('["ls", "-l", "a b"]', "ls -l 'a b'"), ('["ls -l"]', "ls -l"), ('["cd /tmp", "ls"]', "cd /tmp && ls"),
    ("[]", None), ('["ls", 3]', None), ("5", None), ("null", None), ('""', None), ('"  "', None), ('"None"', None),
    ("true", None), ('{"cmd": "ls"}', None),
])
def test_the_command_of_an_object(value, command):
    proposal = answers.parse(f'{{"reason": "a", "command": {value}}}')
    assert (proposal.reason, proposal.command) == ("a", command)


@pytest.mark.parametrize(("text", "calls"), [
    ('{"reason": "a", "tool_calls": [{"name": "f", "args": {"x": 1}}]}', [ToolCall("f", {"x": 1})]),
    ('[{"name": "f", "args": {"x": 1}}, {"name": "g"}]', [ToolCall("f", {"x": 1}), ToolCall("g", {})]),
    ('{"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\\"x\\": 1}"}}]}',
     [ToolCall("f", {"x": 1})]),
    ('{"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}', [ToolCall("f", {"x": 1})]),
    ('{"tool_calls": [{"name": "f", "arguments": "not json"}]}', [ToolCall("f", {})]),
    ('{"tool_calls": {"name": "f"}}', [ToolCall("f", {})]),
    ('{"tool_calls": [{"name": 5}, 7, {"name": "f", "args": [1]}]}', [ToolCall("f", {})]),
    ('{"tool_calls": [{"name": "f", "args": {"x\\ud800": ["\\udfff1"]}}]}', [ToolCall("f", {"x": ["1"]})]),
])
def test_tool_calls(text, calls):
    proposal = answers.parse(text)
    assert proposal.tool_calls == tuple(calls) and proposal.command is None


@pytest.mark.parametrize("text", ['{"reason": "a", "tool_calls": []}', '{"reason": "a", "tool_calls": "x"}'])
def test_no_tool_calls_are_none(text):
    assert answers.parse(text).tool_calls is None


@pytest.mark.parametrize(("text", "reason", "command"), [
    ("REASON: Show it.\nCOMMAND: ls -l", "Show it.", "ls -l"),
    ("Reason: Show it.\nCommand: `ls -l`", "Show it.", "ls -l"),
    ("BEGRÜNDUNG: Zeig es.\nBEFEHL: ls", "Zeig es.", "ls"),
    ("**REASON:** Show it.\n**COMMAND:** ls", "Show it.", "ls"),
    ("REASON: It has\ntwo lines.\nCOMMAND: ls \\\n  -l", "It has\ntwo lines.", "ls \\\n  -l"),
    (f"REASON: a\nCOMMAND:\n{FENCE}bash\nls\n{FENCE}\nThat is all.", "a", "ls"),
    (f"{FENCE}\nREASON: a\nCOMMAND: ls\n{FENCE}", "a", "ls"),
    ("COMMAND: ls\nREASON: a", "a", "ls"),
    ("COMMAND: ls\nUSER: and now?", "", "ls"),
    ("COMMAND: ls\n\nThis lists the files.", "", "ls"),
    ("COMMAND: cat <<X\na\n\nb\nX", "", "cat <<X\na\n\nb\nX"),
    ("REASON: nothing to do", "nothing to do", None),
    ("REASON: a\nCOMMAND:", "a", None),
    ("REASON: a\nCOMMAND: ls\nCOMMAND: rm x", "a", "ls"),
    ("""COMMAND: curl -d '{"command": "halt"}' http://x""", "", """curl -d '{"command": "halt"}' http://x"""),
])
def test_reason_and_command_lines(text, reason, command):
    proposal = answers.parse(text)
    assert (proposal.reason, proposal.command) == (reason, command)


@pytest.mark.parametrize(("text", "reason", "command"), [
    (f"Do this:\n{FENCE}bash\nls -l\n{FENCE}\nbye", "Do this:", "ls -l"),
    (f"Do this:\n{FENCE}powershell\nGet-ChildItem\n{FENCE}", "Do this:", "Get-ChildItem"),
    (f"First\n{FENCE}python\nx\n{FENCE}\nor\n{FENCE}sh\nls\n{FENCE}", "First", "ls"),
    (f"{FENCE}python\nprint()\n{FENCE}", "", "print()"),
    (f"{FENCE}\nls\n{FENCE}", "", "ls"),
    (f"{FENCE}\nbash\nls\n{FENCE}", "", "ls"),
    (f"{FENCE}ls -l\n{FENCE}", "", "ls -l"),
    (f"{FENCE}bash\nls -l", "", "ls -l"),
    (f"{FENCE}console\n$ ls -l\nfile\n{FENCE}", "", "ls -l\nfile"),
    (f"""{FENCE}bash\ncurl -d '{{"command": "halt"}}' http://x\n{FENCE}""", "",
     """curl -d '{"command": "halt"}' http://x"""),
])
def test_fenced_blocks(text, reason, command):
    proposal = answers.parse(text)
    assert (proposal.reason, proposal.command) == (reason, command)


@pytest.mark.parametrize("text", ["", "I cannot do that.", "USER: whoami", "{", "[1, 2]", "{}", "42", "Use `ls` here.",
                                  f"{FENCE}\n{FENCE}", "a: {b}"])
def test_plain_text_holds_no_command(text):
    proposal = answers.parse(text)
    assert proposal.command is None and proposal.tool_calls is None
    assert proposal.reason == proposal.raw == text


def test_plain_text_is_shortened():
    assert answers.parse("x" * 201).reason == "x" * 200 + "..."
    assert answers.parse("x" * 200).reason == "x" * 200


@pytest.mark.parametrize("text", [
    "[" * 200_000, '{"a":' * 100_000, '{"a":[' * 50_000, "{" * 300_000, '{"' * 300_000, "```\n" * 50_000,
    "REASON:" * 50_000, "REASON:\n" * 20_000, "`" * 100_000, '{"command": ' + "9" * 5000 + "}", '{"command": NaN}',
    '{"command": "' + "a" * 2_000_000, '{"reason": ' + '{"x":' * 900 + "1" + "}" * 900 + ', "command": "ls"}',
    "<think>" * 30_000, " \n" * 100_000, '{"command": "' + "\\" * 99_999,
], ids=range(16))
def test_a_hostile_text_is_answered(text):
    assert answers.parse(text).raw


def test_what_no_shell_takes_is_removed():
    proposal = answers.parse('{"reason": "a\\u0000b\\ud800", "command": "ls\\u0000 -l\\udfff"} \x00 \ud83d')
    assert (proposal.reason, proposal.command) == ("ab", "ls -l")
    proposal.raw.encode()
    assert "\x00" not in proposal.raw


def test_whole_characters_beyond_the_first_plane_stay():
    assert answers.parse('{"reason": "\\ud83d\\ude00", "command": "echo 😀"}').reason == "😀"


@given(st.text() | st.text(alphabet='{}[]":,\\`\n reasoncommand$>'))
def test_any_text_is_answered(text):
    proposal = answers.parse(text)
    assert proposal.command is None or proposal.command.strip()


@given(st.text(min_size=1), st.text())
def test_what_was_written_as_json_is_read_back(command, reason):
    import json
    whole = json.dumps({"reason": reason, "command": f"echo {command}x"})
    assert answers.parse(whole).command == answers.cleaned(f"echo {command}x").strip()


@pytest.mark.parametrize(("text", "command"), [
    ("ls -l", "ls -l"), ("`ls -l`", "ls -l"), (f"{FENCE}bash\nls -l\n{FENCE}", "ls -l"), ("$ ls -l", "ls -l"),
    ('{"reason": "a", "command": "ls -l"}', "ls -l"), ("cd /tmp &&\nls", "cd /tmp &&\nls"), ("", None), ("  \n", None),
    ("<think>hm</think>\nls", "ls"), ("echo " + "x" * 300, "echo " + "x" * 300), ("COMMAND: ls", "ls"),
])
def test_a_bare_command(text, command):
    assert answers.bare_command(text) == command
