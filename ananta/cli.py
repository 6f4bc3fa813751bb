"""The command line: commands, exit codes; the only place that prints.

Exit codes: 0 done · 1 the command that was run failed, or a check found a problem · 2 wrong usage or a setting that
is not possible · 3 nothing was run, because nobody decided or the policy wants a person · 4 no model answered ·
5 denied by the policy · 75 what is needed from elsewhere is not there now · 130 interrupted.
"""
import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ananta import __version__, cli_state, packaged
from ananta.errors import (
    AnantaError,
    ApprovalRequired,
    CannotStart,
    CommandDenied,
    InvalidInput,
    LLMFailed,
    NotThereYet,
)

FAILED, USAGE, NOT_RUN, NO_MODEL, DENIED, LATER, INTERRUPTED = 1, 2, 3, 4, 5, 75, 130
CODES: dict[type, int] = {CannotStart: USAGE, NotThereYet: LATER, InvalidInput: USAGE, ApprovalRequired: NOT_RUN, CommandDenied: DENIED,
                          LLMFailed: NO_MODEL}
SECRETS_VARIABLE = "ANANTA_SECRETS_FD"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; never raises for what a user can cause."""
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    secret = _secret_as_option(given)
    if secret:
        say(f"ananta: {secret} is no option, since every user of the machine can read arguments: use {secret}-file, or "
            "the environment.", error=True)
        return USAGE
    options = parser.parse_args(given)
    if options.call is _serve:
        gc.disable()  # a start makes much and leaves little behind; it is enabled again when the start is over
    environment = _take_secrets_out_of_the_environment(options.runs_commands)
    packaged.begin()
    try:
        if getattr(options, "service", False):
            environment |= _of_service()
        return options.call(options, environment)
    except AnantaError as error:
        say(f"ananta: {error.message}", error=True)
        return next((CODES[cls] for cls in type(error).__mro__ if cls in CODES), FAILED)
    except BrokenPipeError:
        # Whoever read our output has seen enough; without this the interpreter would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        say(f"ananta: {error.filename or 'the system'}: {error.strerror or error}. Correct its permissions, or choose "
            "another folder with DATA_DIR.", error=True)
        return USAGE
    except KeyboardInterrupt:
        say("", error=True)
        return INTERRUPTED
    finally:
        packaged.end()


def _secret_as_option(given: Sequence[str]) -> str | None:
    from ananta.settings import listed

    names = {"--" + field.name.replace("_", "-") for field in listed() if field.metadata["secret"]}
    return next((name for each in given if (name := each.split("=")[0]) in names), None)


def say(text: str, *, error: bool = False) -> None:
    """Prints a line; what the terminal cannot show is replaced instead of failing."""
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        print(text.encode(stream.encoding or "ascii", "replace").decode(stream.encoding or "ascii"), file=stream,
              flush=True)


def _parser() -> argparse.ArgumentParser:
    from ananta import settings

    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("settings (each also as an environment variable or a line in .env)")
    for field in settings.listed():
        default = settings.default_text(field)
        text = f"{field.metadata['meaning']} [{settings.environment_name(field)}{settings.alias_text(field)}"
        text += f"; {settings.type_name(field)}" if settings.type_name(field) not in ("text", "path", "list") else ""
        text += f", {field.metadata['unit']}" if field.metadata["unit"] else ""
        text += f"; default {default}]" if default else "]"
        if field.metadata["secret"]:
            text = f"file that holds: {text}"
        group.add_argument(settings.option_name(field), dest=f"set_{field.name}" + (
            "_file" if field.metadata["secret"] else ""), metavar="VALUE", help=text.replace("%", "%%"))

    parser = argparse.ArgumentParser(
        prog="ananta", parents=[common], formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        description="Gives a language model a terminal, and you control over it. Without a command: start the worker.",
        epilog="example: ananta --port 5001 --data-dir /var/lib/ananta")
    parser.set_defaults(call=_serve, runs_commands=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, call: Callable, text: str, example: str, *, to=commands, runs_commands=False, as_json=True, of_service=True):
        command = to.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".",
                                epilog=f"example: {example}", allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
        command.set_defaults(call=call, runs_commands=runs_commands, json=False)
        if as_json:
            command.add_argument("--json", action="store_true", help="print JSON for programs")
        if of_service:
            command.add_argument("--service", action="store_true", help="of the service that is installed on this machine: its settings count")
        return command

    def family(name: str, text: str):
        group_parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        group_parser.set_defaults(call=lambda options, environment: _usage(group_parser), runs_commands=False)
        return group_parser.add_subparsers(title="commands", metavar="COMMAND")

    ask = add("ask", _ask, "propose a command for a sentence, and run it when you say so",
              'ananta ask "show the five largest files here"', runs_commands=True, of_service=False)
    ask.add_argument("sentence", nargs="+", help="what shall be done")
    ask.add_argument("--yes", action="store_true", help="run at once what the policy allows, and nothing else")
    ask.add_argument("--task", default=None, metavar="ID", help="task (session) to work in; default: one for this call")
    add("ui", _ui, "print an address that signs a browser in to the console of the server that runs, once", "ananta ui")
    add("doctor", _doctor, "check everything that could prevent the work, and say what to do", "ananta doctor --json")
    log = family("log", "the record of everything that ran")
    tail = add("tail", _log_tail, "show the last executions", "ananta log tail -n 20 --task T-1", to=log)
    tail.add_argument("-n", type=int, default=10, metavar="N", help="how many (1 to 1000, default 10)")
    tail.add_argument("--task", default=None, metavar="ID", help="only those of this task")
    add("verify", _log_verify, "check that no record was altered, removed or inserted", "ananta log verify", to=log)
    token = family("token", "the token that callers must present")
    new = add("new", _token_new, "make a token and keep it with the secrets", "ananta token new", to=token)
    new.add_argument("--force", action="store_true", help="replace a token that is there")
    add("show", _token_show, "print the token", "ananta token show", to=token)
    add("rotate", _token_rotate, "replace the token; a running agent takes the new one at once", "ananta token rotate",
        to=token)
    user = family("user", "the people who can sign in")
    making = add("add", _user_add, "make a user", "ananta user add ada --admin", to=user)
    making.add_argument("name", help="the user name")
    making.add_argument("--admin", action="store_true", help="make an administrator")
    add("list", _user_list, "show the users", "ananta user list --json", to=user)
    passwd = add("passwd", _user_passwd, "give a user another password; all sign-ins of the user end", "ananta user passwd ada",
                 to=user)
    passwd.add_argument("name", help="the user name")
    for command in (making, passwd):
        source = command.add_mutually_exclusive_group()
        source.add_argument("--password-stdin", action="store_true", help="read the password from standard input, one line")
        source.add_argument("--generate", action="store_true", help="take a random password and print it, this once")
    role = add("role", _user_role, "give a user another role, which counts at once", "ananta user role ada admin", to=user)
    role.add_argument("name", help="the user name")
    role.add_argument("role", choices=("user", "admin"))
    removing = add("remove", _user_remove, "remove a user; all sign-ins of the user end", "ananta user remove ada", to=user)
    removing.add_argument("name", help="the user name")
    factor_off = add("mfa-off", _user_mfa_off, "switch off the second factor of a user who has lost it; a lock is lifted, too",
                     "ananta user mfa-off ada", to=user)
    factor_off.add_argument("name", help="the user name")
    policy = family("policy", "what the policy says of commands")
    check = add("check", _policy_check, "say whether a command is allowed, asked about or denied, and why",
                "ananta policy check \"find . -name '*.tmp' -delete\"", to=policy)
    check.add_argument("command", help="the command line")
    check.add_argument("--shell", choices=("bash", "powershell", "cmd"), default=None, help="whose command line it is; "
                       "default: this machine's shell")
    check.add_argument("--cwd", default=None, metavar="DIR", help="where it would run; default: here")
    rules = add("test", _policy_test, "check the examples of the rules in policy.json", "ananta policy test", to=policy)
    rules.add_argument("file", nargs="?", default=None, metavar="FILE", help="other rules than those in the data folder")
    replay = add("replay", _policy_replay, "say what other rules would have decided about everything on record; changes "
                 "nothing", "ananta policy replay new-policy.json", to=policy)
    replay.add_argument("file", metavar="FILE", help="the rules to try")
    _add_service(add, family("service", "this program as a service of the machine"))
    cli_state.add(add, family, _settings, say)
    version = add("version", _version, "print the version", "ananta version", of_service=False)
    version.add_argument("--licenses", action="store_true", help="print the licences of everything inside")
    return parser


def _add_service(add: Callable, service) -> None:
    install = add("install", _service_install, "install the service, or bring it up to date; settings given as options are kept",
                  "sudo ananta service install --role worker --hub http://hub:5000 --name alpha --port 5001", to=service, as_json=False,
                  of_service=False)
    install.add_argument("--hub", dest="set_hub_url", metavar="URL", default=argparse.SUPPRESS, help="the same as --hub-url")
    install.add_argument("--name", dest="set_agent_name", metavar="NAME", default=argparse.SUPPRESS, help="the same as --agent-name")
    uninstall = add("uninstall", _service_uninstall, "remove the service; its data stays", "sudo ananta service uninstall", to=service,
                    as_json=False, of_service=False)
    uninstall.add_argument("--purge", action="store_true", help="remove data, settings and secrets, too")
    for each in (install, uninstall):
        each.add_argument("--dry-run", action="store_true", help="print every file and every command, and change nothing")
    install.add_argument("--no-start", action="store_true", help="lay it out and leave what runs running (Linux); `ananta update` uses this")
    status = add("status", _service_status, "say how the service is, and what the doctor finds", "sudo ananta service status", to=service,
                 of_service=False)
    install.add_argument("--firewall", action="store_true", help="let others in private networks reach it (Windows)")
    run = add("run", _service_run, "what Windows starts", "ananta service run", to=service, as_json=False, runs_commands=True,
              of_service=False)
    for each in (install, uninstall, status, run):
        each.add_argument("--user", action="store_true", help="for this person only, from sign-in on, without administrator rights (Windows)")
    for each in (install, uninstall, status):
        each.add_argument("--root", default=None, metavar="DIR", help="work on the image of a system below DIR; starts nothing (Linux)")


def _of_service() -> dict[str, str]:
    from ananta.operations.service import commands

    return commands.environment()


def _usage(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return USAGE


def _settings(options: argparse.Namespace, environment: dict[str, str]):
    from ananta import settings

    return settings.load(_given(options), environment)


def _given(options: argparse.Namespace) -> dict[str, str]:
    return {name.removeprefix("set_"): value for name, value in vars(options).items() if name.startswith("set_")}


def _take_secrets_out_of_the_environment(needed: bool) -> dict[str, str]:
    """Returns the environment for the settings, and leaves none of its secrets where a command could read them.

    The environment a process was started with stays readable in /proc for all processes of its user. So the program
    starts itself anew without the secrets, and hands them on through a pipe."""
    from ananta.settings import secret_names

    if SECRETS_VARIABLE in os.environ:
        with os.fdopen(int(os.environ.pop(SECRETS_VARIABLE)), "rb") as pipe:
            return {**os.environ, **json.loads(pipe.read())}
    found = {name: os.environ[name] for name in secret_names() if name in os.environ}
    if not (found and needed and sys.platform.startswith("linux")):
        return dict(os.environ)
    content = json.dumps(found).encode()
    if len(content) > 60_000:
        return dict(os.environ)  # more than a pipe holds without a reader; no sane secrets are that long
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    os.set_inheritable(reader, True)
    clean = {name: text for name, text in os.environ.items() if name not in found}
    program = [sys.executable, *(sys.argv[1:] if packaged.inside() else sys.orig_argv[1:])]
    os.execve(sys.executable, program, {**clean, SECRETS_VARIABLE: str(reader)})


# --- commands


def _serve(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta import app

    return app.serve(_settings(options, environment), say)


def _ask(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta import app
    from ananta.operations.ask import Conversation

    with app.desk(_settings(options, environment), task_id=options.task) as desk:
        return Conversation(desk, say, yes=options.yes, as_json=options.json).hold(" ".join(options.sentence))


def _ui(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import ui

    address, until = ui.address(_settings(options, environment))
    say(json.dumps({"url": address, "expires_at": until}) if options.json else address)
    if not options.json:
        say("It works once, and for 15 minutes.", error=True)
    return 0


def _doctor(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta import settings
    from ananta.operations import doctor

    return _told(doctor.examine(lambda: _settings(options, environment), environment,
                                lambda: settings.secret_files(_given(options), environment)), as_json=options.json)


def _told(findings: list, *, as_json: bool) -> int:
    """Prints what the doctor found, and returns the exit code."""
    from ananta.operations import doctor

    say(json.dumps([vars(each) for each in findings], ensure_ascii=False, indent=2) if as_json else doctor.report(findings))
    return 0 if all(each.ok for each in findings) else FAILED


def _log_tail(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import records

    if not 1 <= options.n <= 1000:
        raise InvalidInput(f"-n {options.n} is not possible: allowed is 1 to 1000.")
    lines = records.last(_settings(options, environment), options.n, options.task)
    for line in lines:
        say(line.decode() if options.json else records.readable(json.loads(line)))
    if not lines and not options.json:
        say("There are no records yet.", error=True)
    return 0


def _log_verify(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import records

    good, text, facts = records.verify(_settings(options, environment))
    say(json.dumps(facts, ensure_ascii=False) if options.json else text)
    return 0 if good else FAILED


def _token_new(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import tokens

    token = tokens.new(_settings(options, environment), force=options.force)
    say(json.dumps({"agent_token": token}) if options.json else token)
    say("Kept with the secrets. A start from now on listens for other machines, too, and asks for this token.", error=True)
    return 0


def _token_show(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import tokens

    token = tokens.show(_settings(options, environment))
    say(json.dumps({"agent_token": token}) if options.json else token)
    return 0


def _token_rotate(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import tokens

    token = tokens.rotate(_settings(options, environment))
    say(json.dumps({"agent_token": token}) if options.json else token)
    return 0


def _user_add(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import users

    settings = _settings(options, environment)
    users.check_name(options.name)
    password = _new_password(options)
    user = users.add(settings, options.name, password, admin=options.admin)
    return _tell_user(options, {"username": user.username, "role": user.role}, f"The user {user.username} ({user.role}) was made.",
                      password)


def _user_passwd(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import users

    settings = _settings(options, environment)
    password = _new_password(options)
    user = users.set_password(settings, options.name, password)
    return _tell_user(options, {"username": user.username, "role": user.role},
                      f"{user.username} has a new password; all sign-ins of before have ended.", password)


def _user_list(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import users

    found = users.listed(_settings(options, environment))
    if options.json:
        say(json.dumps([{"username": each.username, "role": each.role, "mfa_enabled": each.mfa_enabled,
                         "created_at": each.created_at} for each in found]))
        return 0
    for each in found:
        say(f"{each.role.ljust(5)}  {each.username}{'  (second factor)' if each.mfa_enabled else ''}")
    if not found:
        say("There are no users: `ananta user add NAME --admin` makes one.", error=True)
    return 0


def _user_role(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import users

    user = users.set_role(_settings(options, environment), options.name, options.role)
    return _tell_user(options, {"username": user.username, "role": user.role}, f"The role of {user.username} is {user.role} now.")


def _user_remove(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import users

    users.remove(_settings(options, environment), options.name)
    return _tell_user(options, {"username": options.name, "removed": True}, f"The user {options.name} was removed.")


def _user_mfa_off(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import users

    was_on = users.switch_second_factor_off(_settings(options, environment), options.name)
    return _tell_user(options, {"username": options.name, "mfa_enabled": False, "was_enabled": was_on},
                      f"The second factor of {options.name} {'is off now' if was_on else 'was off already'}.")


def _tell_user(options: argparse.Namespace, facts: dict, text: str, password: str | None = None) -> int:
    shown = password is not None and options.generate
    if options.json:
        say(json.dumps(facts | ({"password": password} if shown else {})))
        return 0
    if shown:
        say(password or "")
        say(f"{text} The password is not shown again.", error=True)
    else:
        say(text)
    return 0


def _new_password(options: argparse.Namespace) -> str:
    from ananta.operations import users

    if options.generate:
        return users.new_password()
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise InvalidInput("Nobody can be asked for a password here: use --password-stdin or --generate.")
    import getpass

    password = getpass.getpass("New password: ")
    if getpass.getpass("The same again: ") != password:
        raise InvalidInput("These are two different passwords: nothing was changed.")
    return password


def _policy_check(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import policy

    verdict = policy.check(_settings(options, environment), options.command, shell=options.shell, cwd=options.cwd)
    if options.json:
        say(json.dumps({"decision": verdict.decision, "reasons": verdict.reasons,
                        "parts": [{"text": each.text, "decision": each.decision, "reason": each.reason}
                                  for each in verdict.parts]}, ensure_ascii=False))
    else:
        say(verdict.decision)
        for each in verdict.parts or ():
            say(f"  {each.decision.ljust(5)}  {each.text}\n         {each.reason}")
    return {"allow": 0, "ask": NOT_RUN, "deny": DENIED}[verdict.decision]


def _policy_test(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import policy

    count, failures = policy.test(_settings(options, environment), options.file)
    if options.json:
        say(json.dumps({"ok": not failures, "rules": count, "failures": failures}, ensure_ascii=False))
    else:
        for each in failures:
            say(each)
        say(f"{count} rules, all examples hold." if not failures else "These rules are refused as a whole.")
    return 0 if not failures else FAILED


def _policy_replay(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from dataclasses import asdict

    from ananta.operations import policy

    report = policy.replay(_settings(options, environment), options.file)
    if options.json:
        say(json.dumps(asdict(report), ensure_ascii=False))
        return 0
    say(f"{report.total} commands on record. Asked about: {report.asked_before} before, {report.asked_after} after. "
        f"Denied: {report.denied_before} before, {report.denied_after} after.")
    for each in report.changes:
        say(f"{each.before} -> {each.after}  {each.command}\n    {' '.join(each.reasons)}")
    return 0


def _service_install(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations.service import commands

    commands.install(_given(options), say, dry_run=options.dry_run, root=_root(options), user=options.user,
                     firewall=options.firewall, start=not options.no_start)
    return 0


def _service_uninstall(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations.service import commands

    commands.uninstall(say, purge=options.purge, dry_run=options.dry_run, root=_root(options), user=options.user)
    return 0


def _service_status(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations import doctor
    from ananta.operations.service import commands

    found = commands.status(_root(options), user=options.user)
    if options.json:
        say(json.dumps({"service": found.facts, "findings": [vars(each) for each in found.findings]}, ensure_ascii=False, indent=2))
    else:
        say(f"{found.line}\n{doctor.report(found.findings)}")
    return 0 if found.running and all(each.ok for each in found.findings) else FAILED


def _service_run(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from ananta.operations.service import commands

    return commands.run(lambda: _settings(options, environment), say, user=options.user)


def _root(options: argparse.Namespace) -> Path | None:
    return Path(options.root) if options.root else None


def _version(options: argparse.Namespace, environment: dict[str, str]) -> int:
    import platform

    if options.licenses:
        inside, source = packaged.inside(), Path(__file__).resolve().parent.parent
        say((inside / "LICENSES.txt" if inside else source / "LICENSE").read_text(encoding="utf-8").rstrip())
        if not inside:
            say("The packages it uses are installed beside it and carry their own.", error=True)
        return 0
    from ananta.release_key import KEYS

    facts = {"ananta": __version__, "python": platform.python_version(), "system": platform.platform(terse=True), "release_keys": KEYS}
    say(json.dumps(facts) if options.json else f"ananta {__version__}")
    return 0
