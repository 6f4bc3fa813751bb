"""The two layers a user writes: blacklist.txt (regular expressions) and policy.json (ordered token prefixes)."""
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ananta.domain.steps import ALLOW, ASK, DENY
from ananta.errors import InvalidInput
from ananta.policy import patterns

DECISIONS = (ALLOW, ASK, DENY)
SHELLS = ("bash", "powershell", "cmd")
RULE_KEYS = {"prefix", "decision", "reason", "match", "not_match", "shell"}
WINDOW_CHARS = 4096


@dataclass(frozen=True)
class Blacklist:
    """Compiled expressions with the line each came from; `plain` lists lines that count as plain text."""

    expressions: tuple[tuple[str, re.Pattern[str]], ...] = ()
    plain: tuple[str, ...] = ()

    def hit(self, text: str) -> str | None:
        """Returns the line that matches, or None.

        Longer texts are searched in overlapping windows, so the time grows with the length and not faster."""
        for window in _windows(text):
            for line, expression in self.expressions:
                if expression.search(window):
                    return line
        return None


@dataclass(frozen=True)
class Rule:
    """One entry of policy.json. `prefix` holds one tuple of alternatives per token; `shell` None means every shell."""

    prefix: tuple[tuple[str, ...], ...]
    decision: str
    reason: str
    shell: str | None = None
    match: tuple[str, ...] = ()
    not_match: tuple[str, ...] = ()

    def fits(self, words: Sequence[str]) -> bool:
        """Whether the words of a simple command begin with the prefix; the first one also by its file name."""
        if len(words) < len(self.prefix):
            return False
        return all(_same(word, tokens, first=position == 0)
                   for position, (word, tokens) in enumerate(zip(words, self.prefix, strict=False)))


@dataclass(frozen=True)
class RuleSet:
    """Rules in their order."""

    rules: tuple[Rule, ...] = ()

    def find(self, words: Sequence[str], shell: str) -> Rule | None:
        """Returns the strictest rule that fits, the first one among equals, or None."""
        fitting = [rule for rule in self.rules if rule.shell in (None, shell) and rule.fits(words)]
        return max(fitting, key=lambda rule: DECISIONS.index(rule.decision), default=None)


def blacklist(text: str) -> Blacklist:
    """Returns the expressions of a blacklist.txt: one per line, any case, '#' starts a comment line.

    A line that is no valid expression, or one that could take exponential time, counts as plain text."""
    expressions, plain = [], []
    for line in (raw.strip() for raw in text.lstrip("\ufeff").splitlines()):
        if not line or line.startswith("#"):
            continue
        compiled = patterns.compile_safely(line)
        if compiled is None:
            plain.append(line)
            compiled = re.compile(re.escape(line), re.IGNORECASE)
        expressions.append((line, compiled))
    return Blacklist(tuple(expressions), tuple(plain))


def parse_rules(json_text: str) -> RuleSet:
    """Returns the rules of a policy.json with their examples verified.

    Raises InvalidInput naming the rule and the example; one wrong rule refuses the whole set."""
    try:
        document = json.loads(json_text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"policy.json is no valid JSON: {error}") from error
    entries = document.get("rules") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InvalidInput('policy.json must be {"rules": [...]}')
    rules = RuleSet(tuple(_rule(number, entry) for number, entry in enumerate(entries, start=1)))
    verify_examples(rules)
    return rules


def verify_examples(rules: RuleSet) -> None:
    """Raises InvalidInput at the first example that a rule does not judge as it says."""
    from ananta.policy import commands  # here, because reading a command line needs the rules of nobody

    for number, rule in enumerate(rules.rules, start=1):
        for example, expected in [*((e, True) for e in rule.match), *((e, False) for e in rule.not_match)]:
            parts = commands.simple_commands(example, rule.shell or "bash")
            if any(rule.fits(words) for words in parts) is not expected:
                verb = "does not match" if expected else "matches, but must not"
                raise InvalidInput(f"rule {number} ({_shown(rule)}): the example {example!r} {verb}")


def _rule(number: int, entry: object) -> Rule:
    if not isinstance(entry, dict):
        raise InvalidInput(f"rule {number} is not an object")
    unknown = sorted(set(entry) - RULE_KEYS)
    if unknown:
        raise InvalidInput(f"rule {number}: unknown field {unknown[0]!r}; there are {', '.join(sorted(RULE_KEYS))}")
    decision, reason, shell = entry.get("decision"), entry.get("reason", ""), entry.get("shell")
    if decision not in DECISIONS:
        raise InvalidInput(f"rule {number}: decision must be one of {', '.join(DECISIONS)}")
    if not isinstance(reason, str):
        raise InvalidInput(f"rule {number}: reason must be a text")
    if shell is not None and shell not in SHELLS:
        raise InvalidInput(f"rule {number}: shell must be one of {', '.join(SHELLS)}")
    return Rule(_prefix(number, entry.get("prefix")), decision, reason, shell,
                _examples(number, "match", entry), _examples(number, "not_match", entry))


def _prefix(number: int, tokens: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(tokens, list) or not tokens:
        raise InvalidInput(f"rule {number}: prefix must be a list of at least one token")
    prefix = []
    for token in tokens:
        choices = token if isinstance(token, list) else [token]
        if not choices or not all(isinstance(choice, str) and choice for choice in choices):
            raise InvalidInput(f"rule {number}: each token of prefix is a text or a list of texts")
        prefix.append(tuple(choices))
    return tuple(prefix)


def _examples(number: int, key: str, entry: dict) -> tuple[str, ...]:
    examples = entry.get(key, [])
    if not isinstance(examples, list) or not all(isinstance(example, str) for example in examples):
        raise InvalidInput(f"rule {number}: {key} must be a list of command lines")
    return tuple(examples)


def _same(word: str, tokens: tuple[str, ...], *, first: bool) -> bool:
    if word in tokens:
        return True
    if not first:
        return False
    name = re.split(r"[\\/]", word)[-1].lower()
    return any(name.removesuffix(".exe") == token.lower().removesuffix(".exe") for token in tokens)


def _shown(rule: Rule) -> str:
    return " ".join("|".join(tokens) for tokens in rule.prefix)


def _windows(text: str) -> list[str]:
    if len(text) <= WINDOW_CHARS:
        return [text]
    return [text[start:start + WINDOW_CHARS] for start in range(0, len(text), WINDOW_CHARS // 2)]
