"""blacklist.txt and policy.json."""
import json

import pytest

from ananta.errors import InvalidInput
from ananta.policy.rules import blacklist, parse_rules


def test_comments_and_empty_lines_of_a_blacklist_do_not_count():
    lines = blacklist("# a comment\n\n  mkfs\n")
    assert lines.hit("MKFS.ext4 x") == "mkfs" and lines.hit("a comment") is None


@pytest.mark.parametrize("line", ["[bad", "(a+)+$", "(a|a)*b", "x" * 2000])
def test_an_invalid_or_explosive_expression_counts_as_plain_text(line):
    lines = blacklist(line)
    assert lines.plain == (line,) and lines.hit(f"before {line} after") == line and lines.hit("a" * 50_000) is None


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"rules": 1}', '{"rules": [1]}', '{"rules": [{"prefix": [], "decision": "ask"}]}',
                                      '{"rules": [{"prefix": ["a"], "decision": "maybe"}]}', '{"rules": [{"prefix": ["a"], "decision": "ask", "typo": 1}]}',
                                      "[" * 100_000])
def test_a_wrong_rule_set_is_refused(document):
    with pytest.raises(InvalidInput):
        parse_rules(document)


def test_a_failing_example_names_the_rule_and_refuses_the_set():
    good = {"prefix": ["git", ["push", "pull"]], "decision": "ask", "match": ["git push origin", "sudo git pull"], "not_match": ["git log", "echo git push"]}
    assert parse_rules(json.dumps({"rules": [good]})).rules[0].prefix == (("git",), ("push", "pull"))
    bad = {"prefix": ["ls"], "decision": "allow", "match": ["pwd"]}
    with pytest.raises(InvalidInput, match=r"rule 2 \(ls\).*'pwd'"):
        parse_rules(json.dumps({"rules": [good, bad]}))
