"""Fifteen one-line tasks for a real model, judged by running what it proposes.

    python3 tests/real_model/run.py [--url http://127.0.0.1:1234/v1] [--model auto] [--json]

Prints a table and the totals. Exit code 0 when at least 12 commands do their task and all 15 answers parse, 1 when not,
2 when no model answers. Each command runs in a new directory with prepared files, and only when it consists of words
known to be harmless: a wrong model must not be able to do damage here.
"""
import argparse
import getpass
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from ananta.domain import answers, prompts  # noqa: E402
from ananta.errors import AnantaError  # noqa: E402
from ananta.llm.catalog import LanguageModels, Target  # noqa: E402

RIGHT_WANTED, ANSWER_S, RUN_S, MAX_TOKENS = 12, 120, 10, 160
HARMLESS = {"df", "date", "pwd", "echo", "find", "wc", "cat", "mkdir", "uname", "uptime", "tail", "head", "grep", "egrep",
            "cp", "whoami", "id", "ls", "ps", "top", "du", "sort", "awk", "sed", "cut", "tr", "tac", "free", "hostname",
            "stat", "xargs", "printf", "nl", "uniq", "column", "test", "true", "logname", "basename", "dirname"}
RISKY = re.compile(r"[`;]|\$\(|>|<|-exec\b|-execdir\b|-delete\b|-ok\b|-fprint|system\s*\(|\bsed\b.*-i|\.\.|&(?!&)")


@dataclass
class Result:
    task: str
    command: str | None
    parses: bool
    right: bool
    seconds: float
    why: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:1234/v1")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--provider", default="lmstudio")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    llm = LanguageModels(locate_local=False)
    target = Target(options.provider, options.model, options.url)
    try:
        results = [attempt(llm, target, each) for each in json.loads((HERE / "tasks.json").read_text("utf-8"))]
    except AnantaError as error:
        print(error.message, file=sys.stderr)
        return 2
    finally:
        llm.close()
    right, parsed = sum(each.right for each in results), sum(each.parses for each in results)
    if options.json:
        print(json.dumps({"right": right, "parses": parsed, "results": [asdict(each) for each in results]}, indent=1))
    else:
        show(results, right, parsed)
    return 0 if right >= RIGHT_WANTED and parsed == len(results) else 1


def attempt(llm: LanguageModels, target: Target, task: dict) -> Result:
    """Returns what became of one task: asked, read, run, judged."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        prepare(place)
        messages = prompts.proposal_messages(task["task"], shell_kind="bash", os_name="Linux", cwd=str(place))
        start = time.monotonic()
        reply = llm.complete(target, messages, schema=prompts.PROPOSAL_SCHEMA, budget_s=ANSWER_S, max_tokens=MAX_TOKENS,
                             temperature=0.0)
        seconds = time.monotonic() - start
        proposal = answers.parse(reply.text)
        if proposal.command is None:
            return Result(task["task"], None, False, False, seconds, "no command")
        why = judge(task, proposal.command, place)
        return Result(task["task"], proposal.command, True, not why, seconds, why)


def prepare(place: Path) -> None:
    (place / "notes.txt").write_text("".join(f"note {n}\n" for n in range(1, 8)), "utf-8")
    (place / "list.txt").write_text("a\nb\n", "utf-8")
    marks = {12: " ERROR no such user", 27: " ERROR disk full"}
    (place / "app.log").write_text("".join(f"line {n}{marks.get(n, '')}\n" for n in range(1, 31)), "utf-8")
    (place / "sub").mkdir()
    (place / "sub" / "deep.txt").write_text("deep\n", "utf-8")
    (place / "big.bin").write_bytes(b"x" * 200_000)
    (place / "small.bin").write_bytes(b"x")
    # With other permissions, so that sorting the lines of a listing as text is not sorting by size.
    (place / "small.bin").chmod(0o755)


def judge(task: dict, command: str, place: Path) -> str:
    """Returns why the command does not do the task; empty when it does."""
    if not is_harmless(command):
        return "not run: not known to be harmless"
    if "pattern" in task and not re.search(task["pattern"], command):
        return "another program"
    try:
        done = subprocess.run(["timeout", str(RUN_S), "bash", "-c", command], cwd=place, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, errors="replace",
                              env={"PATH": os.environ["PATH"], "HOME": str(place), "LC_ALL": "C"})
    except OSError as error:
        return str(error)
    if done.returncode:
        return f"exit code {done.returncode}: {done.stderr.strip()[:60]}"
    return wrong_result(task, done.stdout, place)


def is_harmless(command: str) -> bool:
    """Whether the line is a pipe or list of programs that read, or change only the scratch directory."""
    if RISKY.search(re.sub(r"2>(/dev/null|&1)", "", command)):
        return False
    parts = [part.split() for part in re.split(r"\|\|?|&&", command)]
    if not all(words and words[0] in HARMLESS for words in parts):
        return False
    changing = [words for words in parts if words[0] in ("cp", "mkdir", "xargs")]
    return all(not word.startswith(("/", "~")) and word not in ("rm", "sh", "bash") for words in changing for word in words[1:])


def wrong_result(task: dict, stdout: str, place: Path) -> str:
    known = {"cwd": re.escape(str(place)), "kernel": re.escape(platform.release()), "user": re.escape(getpass.getuser())}
    if "stdout" in task:
        pattern = re.sub(r"\{(cwd|kernel|user)\}", lambda match: known[match[1]], task["stdout"])
        if not re.search(pattern, stdout):
            return f"printed {stdout.strip()[:60]!r}"
    for name in task.get("stdout_lines", ()):
        if not any(line.rstrip().endswith(name) for line in stdout.splitlines()):
            return f"{name} is missing"
    if "not" in task and re.search(task["not"], stdout):
        return f"printed too much: {task['not']}"
    if "exists" in task and not (place / task["exists"]).is_dir():
        return f"{task['exists']} was not made"
    if "same" in task:
        first, second = (place / name for name in task["same"])
        if not second.exists() or first.read_bytes() != second.read_bytes():
            return "not the same content"
    if "order" in task:
        places = [stdout.find(name) for name in task["order"]]
        if -1 in places or places not in (sorted(places), sorted(places, reverse=True)):
            return "not in that order"
    if task.get("memory_order") and not is_sorted_by_memory(stdout):
        return "not in order of memory"
    return ""


def is_sorted_by_memory(stdout: str) -> bool:
    """Whether a column named after memory falls from line to line; the title may be missing if a column of numbers falls."""
    lines = [line.split() for line in stdout.splitlines() if line.strip()]
    if not lines:
        return False
    titles = [index for index, word in enumerate(lines[0]) if word.strip("%").upper() in ("MEM", "RSS", "RSZ", "SIZE")]
    columns = titles or [index for index, word in enumerate(lines[0]) if re.fullmatch(r"[0-9.]+", word)]
    rows = lines[1:] if titles else lines
    for column in columns:
        values = [float(row[column]) for row in rows if len(row) > column and re.fullmatch(r"[0-9.]+", row[column])]
        # Processes grow and shrink while they are listed: a little disorder is no fault.
        if values and len(values) == len(rows) and values[0] >= max(values) * 0.9 and values[0] > 0:
            return all(a >= b * 0.9 for a, b in pairwise(values))
    return False


def show(results: list[Result], right: int, parsed: int) -> None:
    print(f"{'task':44} {'parses':6} {'right':5} {'s':>5}  command")
    for each in results:
        print(f"{each.task:44} {'yes' if each.parses else 'NO':6} {'yes' if each.right else 'NO':5} {each.seconds:5.1f}  "
              f"{each.command}{f'   [{each.why}]' if each.why else ''}")
    print(f"parses {parsed} of {len(results)}, right {right} of {len(results)}, {sum(e.seconds for e in results):.0f} s")


if __name__ == "__main__":
    sys.exit(main())
