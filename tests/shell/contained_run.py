"""Runs contained commands as whoever starts this, and prints what became of them: python contained_run.py WORKSPACE."""
import json
import os
import sys
from pathlib import Path

from ananta.shell.runner import Runner

COMMANDS = ["echo x >inside && cat inside", "echo x >../outside", "echo x >$TMPDIR/f && cat $TMPDIR/f",
            "mkdir -p $TMPDIR/a/b && chmod 0 $TMPDIR/a && echo $TMPDIR", "cat /etc/passwd >/dev/null && echo read"]

workspace = Path(sys.argv[1])
runner = Runner(shell_path=None, home=workspace, environment=os.environ)
found = []
with runner.session("a", 0) as session:
    for number, command in enumerate(COMMANDS):
        outcome = runner.run(command, session=session, run_id=f"{os.getpid()}-{number}", timeout_s=60, contained=True)
        found.append([outcome.exit_code, outcome.stdout.strip()])
runner.close()
try:
    workspace.with_name("outside").write_text("free")
    free = True
except OSError:
    free = False
print(json.dumps({"uid": os.getuid(), "found": found, "free": free}))
