"""Judges the corpus and measures: misses, false asks and latency per shell, and long lines.

    python -m tests.bench.policy
"""
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "policy"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import corpus

from ananta.policy.decision import decide

STRICT = {"allow": 0, "ask": 1, "deny": 2}
LONG = {"one long word": lambda: "echo " + "a" * 100_000, "many words": lambda: "echo " + "a " * 50_000, "many commands": lambda: "ls; " * 25_000,
        "nested": lambda: "$(" * 50_000, "a file in the line": lambda: "cat > f <<'E'\n" + "abc $x\n" * 14_000 + "E\n",
        "a deletion at the end": lambda: "ls; " * 25_000 + "rm -rf /", "quotes": lambda: "echo " + "'a' " * 25_000}


def main() -> int:
    """Prints the table; the exit code is 1 if a line is less strict than its label."""
    misses = 0
    for shell in corpus.SHELLS:
        entries = corpus.load(shell)
        context = corpus.CONTEXTS[shell]  # the default layout; a line's own may differ
        decide("x", shell=shell, context=context)
        times, wrong = [], []
        counts: dict[str, list[int]] = {}
        for label, line, where in entries:
            began = time.perf_counter()
            verdict = decide(line, shell=shell, context=where)
            times.append((time.perf_counter() - began) * 1000)
            row = counts.setdefault(label, [0, 0])
            row[0] += 1
            if verdict.decision != corpus.EXPECTED[label]:
                row[1] += 1
                wrong.append((label, verdict.decision, line, verdict.reasons[0]))
        print(f"{shell}: {len(entries)} lines, " + ", ".join(f"{label} {row[0]} ({row[1]} wrong)" for label, row in counts.items()))
        print(f"  median {statistics.median(times):.3f} ms, p99 {sorted(times)[int(len(times) * 0.99)]:.3f} ms, slowest {max(times):.3f} ms")
        for label, got, line, reason in wrong:
            less_strict = STRICT[got] < STRICT[corpus.EXPECTED[label]]
            misses += less_strict
            print(f"  {'MISS' if less_strict else 'strict'} {label} -> {got}: {line!r}: {reason}")
        for title, make in LONG.items():
            text = make()
            began = time.perf_counter()
            verdict = decide(text, shell=shell, context=context)
            print(f"  {title} ({len(text) // 1000} kB): {(time.perf_counter() - began) * 1000:.1f} ms, {verdict.decision}")
    print(f"less strict than their label: {misses}")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
