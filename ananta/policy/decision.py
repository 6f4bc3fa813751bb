"""All layers → Verdict: floor, blacklist, rules, built-in classes; the strictest part wins."""
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ananta.domain.steps import ALLOW, ASK, DENY, STRICTNESS, Part, Verdict
from ananta.errors import InvalidInput
from ananta.policy import rules as rule_files
from ananta.policy.context import Context
from ananta.policy.rules import Blacklist, RuleSet

SHOWN_CHARS = 200
MAX_PARTS = 200
MAX_REASONS = 20


@dataclass(frozen=True)
class Change:
    """A command whose verdict another rule set would change."""

    command: str
    shell: str
    before: str
    after: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a new rule set would have decided; `changes` has the riskiest first."""

    total: int
    asked_before: int
    asked_after: int
    denied_before: int
    denied_after: int
    changes: tuple[Change, ...]


def decide(command: str, *, shell: str = "bash", context: Context,
           blacklist: Blacklist | None = None, rules: RuleSet | None = None) -> Verdict:
    """Returns the verdict for one command line of a shell ("bash", "powershell" or "cmd").

    Never raises, whatever the text is: what cannot be checked is asked about."""
    from ananta.policy.judging import Judge  # here, so that a plain start loads no tables

    try:
        judge = Judge(context, blacklist, rules)
        parts = judge.line(command, shell)
    except Exception as error:  # a fault in the checker must never let a command pass, nor end the caller
        parts = [Part(_short(command), ASK, f"the command cannot be checked ({type(error).__name__})")]
        hit = blacklist.hit(command) if blacklist else None
        if hit is not None:
            parts.append(Part(_short(command), DENY, f"the blacklist line `{hit}` matches"))
    return _verdict(parts)


def check_examples(rules: RuleSet) -> tuple[str, ...]:
    """Returns a sentence for each rule whose examples do not hold; none means all do."""
    failures = []
    for number, rule in enumerate(rules.rules, start=1):
        try:
            rule_files.verify_examples(RuleSet((rule,)))
        except InvalidInput as error:
            failures.append(re.sub(r"^rule 1\b", f"rule {number}", error.message))
    return tuple(failures)


def replay(commands: Iterable[tuple[str, str] | str], before: RuleSet | None, after: RuleSet | None, *,
           context: Context, shell: str = "bash", blacklist: Blacklist | None = None) -> Report:
    """Returns what rule set `after` would have decided over a history, compared with `before`.

    A command is a text, or a pair (text, shell); the same one counts as often as it occurs."""
    known: dict[tuple[str, str], tuple[Verdict, Verdict]] = {}
    counts = [0, 0, 0, 0, 0]
    for entry in commands:
        text, kind = (entry, shell) if isinstance(entry, str) else entry
        if (text, kind) not in known:
            known[text, kind] = tuple(decide(text, shell=kind, context=context, blacklist=blacklist, rules=r) for r in (before, after))  # type: ignore[assignment]
        old, new = known[text, kind]
        counts[0] += 1
        for position, (verdict, decision) in enumerate([(old, ASK), (new, ASK), (old, DENY), (new, DENY)], start=1):
            counts[position] += verdict.decision == decision
    changes = [Change(text, kind, old.decision, new.decision, new.reasons if new.reasons else old.reasons)
               for (text, kind), (old, new) in known.items() if old.decision != new.decision]
    # What becomes looser is riskier than what becomes stricter; what was denied before is the riskiest.
    changes.sort(key=lambda c: (STRICTNESS[c.after] - STRICTNESS[c.before], -STRICTNESS[c.before], c.command))
    total, asked_before, asked_after, denied_before, denied_after = counts
    return Report(total, asked_before, asked_after, denied_before, denied_after, tuple(changes))


def _verdict(parts: list[Part]) -> Verdict:
    decision = max((part.decision for part in parts), key=STRICTNESS.__getitem__, default=ALLOW)
    ordered = sorted(parts, key=lambda part: -STRICTNESS[part.decision]) if len(parts) > MAX_PARTS else parts
    reasons = list(dict.fromkeys(part.reason for part in parts if part.decision == decision))
    if not parts:
        return Verdict(ALLOW, ("there is nothing to run",))
    if decision == ALLOW:
        reasons = reasons if len(reasons) == 1 else ["every part only reads", *reasons]
    return Verdict(decision, tuple(reasons[:MAX_REASONS]), tuple(ordered[:MAX_PARTS]))


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS - 3] + "..."
