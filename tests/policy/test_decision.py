"""The corpus, and texts nobody would write."""
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ananta.domain.steps import ALLOW, ASK, DENY, STRICTNESS
from ananta.policy.decision import Context, check_examples, decide, replay
from ananta.policy.rules import blacklist, parse_rules
from tests.policy import corpus

PIECES = ["ls", "rm -rf /", "$(", ")", "`", "'", '"', "{", "}", "|", "&", ";", "\n", "<<E", "E", "$x", "${", "%a%", "^", "@(", "[", "]", "\0", "\ud800", " "]


@pytest.mark.parametrize("shell", corpus.SHELLS)
def test_nothing_is_judged_less_strictly_than_its_label(shell):
    for label, line, context in corpus.load(shell):
        verdict = decide(line, shell=shell, context=context)
        assert STRICTNESS[verdict.decision] >= STRICTNESS[corpus.EXPECTED[label]], (label, line, verdict)
        assert verdict.reasons and all(verdict.reasons)


@pytest.mark.parametrize("shell", corpus.SHELLS)
def test_readers_are_not_asked_about_and_harmless_lines_not_denied(shell):
    readers = [(label, line, decide(line, shell=shell, context=context).decision)
               for label, line, context in corpus.load(shell) if label in ("read", "harmless")]
    assert not [line for _, line, decision in readers if decision == DENY]
    assert len([line for _, line, decision in readers if decision == ASK]) <= 0.05 * len(readers)


@pytest.mark.parametrize("shell", corpus.SHELLS)
@given(pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=20)), max_size=30))
@settings(max_examples=150, deadline=None)
def test_every_text_gets_a_verdict(shell, pieces):
    assert decide("".join(pieces), shell=shell, context=corpus.CONTEXTS[shell]).decision in (ALLOW, ASK, DENY)


@pytest.mark.parametrize("shell", corpus.SHELLS)
@pytest.mark.parametrize("text", ["a" * 1_000_000, "ls; " * 250_000, "$(" * 1000 + "rm x" + ")" * 1000, "(" * 100_000, "{" * 50_000, "'" * 99_999, "`" * 10_001,
                                  "@{" * 20_000, "%a%" * 50_000, "<<E\n" * 3000, "\0" * 1000, "[a" * 30_000, "$((" * 20_000, "<#" * 30_000])
def test_huge_texts_get_a_verdict(shell, text):
    assert decide(text, shell=shell, context=corpus.CONTEXTS[shell]).decision in (ALLOW, ASK, DENY)


def test_a_deletion_behind_padding_is_still_denied():
    assert decide("ls; " * 25_000 + "rm -rf /", context=corpus.POSIX).decision == DENY


def test_importing_the_module_loads_no_grammar():
    code = "import ananta.policy.decision, sys; sys.exit(any('tree_sitter' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_blacklist_also_sees_what_quotes_hide():
    verdict = decide('to""uch x', context=Context(), blacklist=blacklist("touch"))
    assert verdict.decision == DENY and "touch" in verdict.reasons[0]


def test_an_allow_rule_lifts_an_ask_and_never_the_floor():
    rules = parse_rules('{"rules": [{"prefix": [["rm", "touch"]], "decision": "allow"}]}')
    assert decide("touch x", context=Context(), rules=rules).decision == ALLOW
    assert decide("touch x > y", context=Context(), rules=rules).decision == ASK
    assert decide("touch $(cp a b)", context=Context(), rules=rules).decision == ASK
    assert decide("touch 'x", context=Context(), rules=rules).decision == ASK
    assert decide("rm -rf /", context=Context(), rules=rules).decision == DENY


def test_rules_ask_about_and_forbid_readers():
    rules = parse_rules('{"rules": [{"prefix": ["git", "log"], "decision": "deny", "reason": "no"}, {"prefix": ["ls"], "decision": "ask"}]}')
    assert decide("sudo git log", context=Context(), rules=rules).decision == DENY
    assert decide("ls", context=Context(), rules=rules).decision == ASK


def test_replay_counts_and_puts_the_riskiest_first():
    after = parse_rules('{"rules": [{"prefix": ["touch"], "decision": "allow"}, {"prefix": ["ls"], "decision": "ask"}]}')
    report = replay(["ls", "touch x", "touch x", "pwd"], None, after, context=Context())
    assert (report.total, report.asked_before, report.asked_after) == (4, 2, 1)
    assert [change.command for change in report.changes] == ["touch x", "ls"]
    assert check_examples(after) == ()


@pytest.mark.parametrize("text", ["\u6140rm -rf /}\u0130{\U000c2bc9", ")\u0130{|\U0001f600')\u02c2<<lsE[\u20ac\0{\U000f6551<<\"}\U0001f600"])
def test_unusual_characters_do_not_end_the_process(text):
    code = ("import sys; from ananta.policy.decision import Context, decide\n"
            "for _ in range(20): decide(sys.argv[1].replace('NUL', chr(0)), context=Context())")
    assert subprocess.run([sys.executable, "-c", code, text.replace("\0", "NUL")], check=False).returncode == 0


@pytest.mark.parametrize("line", ["cat /run/credentials/ananta.service/agent_token", "head /run/credentials/ananta*/*",
                                  "cd /run/credentials; cat ananta.service/agent_token"])
def test_what_a_service_manager_has_laid_out_is_a_secret(line):
    context = Context(secrets_dir="/var/lib/ananta/data/secrets", data_dir="/var/lib/ananta/data", cwd="/var/lib/ananta/work",
                      credentials_dir="/run/credentials/ananta.service", secrets_shielded=True)
    assert decide(line, context=context).decision == DENY
    assert decide("cat /run/credentials.txt", context=context).decision == ALLOW


@pytest.mark.parametrize(("shielded", "expected"), [(True, ALLOW), (False, ASK)])
def test_readers_of_a_tree_with_laid_out_secrets_are_asked_about_unless_those_are_shielded(shielded, expected):
    context = Context(secrets_dir="/var/lib/ananta/data/secrets", data_dir="/var/lib/ananta/data", cwd="/var/lib/ananta/work",
                      credentials_dir="/run/credentials/ananta.service", secrets_shielded=shielded)
    assert decide("grep -r x /run", context=context).decision == expected


@pytest.mark.parametrize("command", ["kill 41", "kill -9 -- -42", "cat /proc/41/environ", "gdb -p 42"])
def test_the_process_around_the_program_is_protected_like_the_program(command):
    assert decide(command, context=Context(pid=42, outer_pid=41)).decision == DENY


def test_another_process_is_not():
    assert decide("kill 41", context=Context(pid=7, outer_pid=8)).decision == ASK
