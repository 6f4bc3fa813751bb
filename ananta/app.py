"""Composition: settings → store, models, shell, policy, steps, web; the order of start and stop."""
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ananta import __version__, diagnostics, packaged
from ananta import settings as settings_module
from ananta.agent.configuration import LiveConfiguration
from ananta.agent.decisions import Decisions
from ananta.agent.events import Events
from ananta.agent.lanes import Lane
from ananta.agent.meter import Meter
from ananta.agent.own_tools import OwnTools
from ananta.agent.policy_files import PolicyFiles
from ananta.agent.steps import Steps
from ananta.agent.tools import Tools
from ananta.agent.watch import ModelWatch
from ananta.domain.events import CONFIG_UPDATED, TASK_RECORD, Event
from ananta.domain.redaction import Redactor
from ananta.domain.steps import STRICTNESS, Record, Verdict
from ananta.errors import CannotStart, ShellFailed
from ananta.operations import supervision
from ananta.settings import Settings
from ananta.shell import containment
from ananta.shell.runner import Runner
from ananta.store import database, directory, shared_journal
from ananta.store.audit import Audit
from ananta.store.configuration import ConfigFile
from ananta.store.journal import Journal
from ananta.store.llm_log import LLMLog
from ananta.store.notices import Notices
from ananta.store.second_factors import SecondFactors
from ananta.store.secrets import Secrets, effective_token

if TYPE_CHECKING:
    from ananta.hub.hub import Hub
    from ananta.llm.catalog import LanguageModels
    from ananta.policy.decision import Context, Report

log = logging.getLogger(__name__)
STOP_COMMANDS_S = 5.0
PRIVATE = ("config.json", "ananta.db", "backups", "restored")  # in the data directory: what may hold keys, and is not masked
VERDICTS, VERDICT_CHARS, REPLAYED = 512, 4096, 2000


class Agent:
    """Everything of one process but the web: the data directory, the journal, the shell, the models, the steps."""

    def __init__(self, settings: Settings, purpose: str):
        self.settings = settings
        self.data_dir = settings.data_dir.resolve()
        self.own_urls: frozenset[str] = frozenset()
        self.hub: Hub | None = None
        self._about = {"pid": os.getpid(), "purpose": purpose, "version": __version__, "started_at": time.time()}
        self._credentials = os.environ.get(settings_module.CREDENTIALS, "")
        mock_answers = _mock_answers(settings.mock_answers)
        self.claim = directory.claim(self.data_dir, {**self._about, "url": None})
        try:
            self._open(mock_answers)
        except BaseException:
            self.claim.release()
            raise

    def describe(self, url: str) -> None:
        """Tells other processes where this one listens."""
        port = url.rsplit(":", 1)[-1]
        own = (url, self.settings.agent_url or "", *(f"http://{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]")))
        self.own_urls = frozenset(each.rstrip("/").lower() for each in own if each)
        self.claim.update({**self._about, "url": url})

    def _open(self, mock_answers: list[str]) -> None:
        settings = self.settings
        self.contained = containment.active(settings.containment)
        self.secrets = Secrets(settings.secrets_folder)
        self.secret_key = settings.secret_key or self.secrets.key()
        # Several hubs on one database have to open the same second factors, and their secret key is the same.
        self.mfa_key = settings.mfa_encryption_key or self.secrets.mfa_key(
            instead=self.secret_key if database.is_shared(settings.database_url) else None)
        self.token = effective_token(settings.agent_token, self.secrets.token())
        settings_module.check(settings, has_token=self.token is not None)
        self.configuration = LiveConfiguration(ConfigFile(self.data_dir / "config.json"), settings_module.configuration_defaults(settings),
                                               settings.given)
        self.mask = Redactor(self._secret_values())
        diagnostics.start(self.configuration["log_level"], as_json=settings.ai_agent_log_json, mask=self.mask)
        for warning in self.secrets.tighten():
            log.warning(warning)
        database.open(settings.database_url or self.data_dir / "ananta.db", local_path=self.data_dir / database.LOCAL_NAME)
        self.second_factors = SecondFactors(self.mfa_key)
        self.journal = Journal(self.data_dir, agent=settings.agent_name, mask=self.mask,
                               rotate_bytes=settings.log_rotate_mb << 20)
        try:
            self.runner = self._make_runner()
        except ShellFailed as cause:
            raise CannotStart(cause.message) from cause
        self.unknown = self.journal.open(on_unknown=self._end_leftovers)
        self.events = Events()
        self.notices = Notices(self.events.tell, self.journal, records_s=settings.tasks_retention_days * 24 * 3600)
        self._mock_answers = mock_answers
        self._verdicts: tuple[tuple, dict[tuple, Verdict]] = ((None, None), {})
        self._models: LanguageModels | None = None
        self._making_models = threading.Lock()
        self.meter = Meter()
        self.command_lane = Lane("running commands", settings.max_commands, retry_after_s=2)
        self.model_lane = Lane("model calls", settings.max_model_calls, retry_after_s=5)
        self.policy_files = PolicyFiles(self.data_dir, Path.cwd(), packaged.program().parent)
        self.llm_log = LLMLog(self.data_dir / "llm_log.jsonl", mask=self.mask)
        self.audit = Audit(self.data_dir / "audit.log", mask=self.mask)
        self.decisions = Decisions(target=settings.agent_name, lifetime_s=settings.proposal_lifetime, judge=self.decide,
                                   directory=self.runner.directory, now=time.time)
        self.decisions.open(self.journal)
        self.tools = Tools(self.configuration, self.audit, self.mask.known)
        self.tools.add(OwnTools(self.configuration, self.audit, self.data_dir).all())
        self.steps = Steps(
            agent_name=settings.agent_name, models=self.models, runner=self.runner, journal=self.journal,
            llm_log=self.llm_log, configuration=self.configuration, decide=self.decide, decisions=self.decisions,
            tools=self.tools, meter=self.meter, model_lane=self.model_lane,
            command_lane=self.command_lane, known=self.mask.known,
            containment=self.contained)
        self.watch = ModelWatch(self.models, self.configuration, enabled=not settings.disable_llm_check)
        self.configuration.listeners.append(self._configuration_changed)
        self.journal.on_record = self._recorded
        if settings.role == "hub":
            self._open_hub()
        self.journal.start()
        if settings.role == "hub" and database.shared():
            self.journal.numbers = shared_journal.next_step
            self.events.elsewhere = self.notices.publish
            self.notices.start()

    def _recorded(self, record: Record, line: bytes) -> None:
        self.notices.share(record, line)
        self.events.tell(Event(TASK_RECORD, {"task_id": record.task_id, "run_id": record.id, "record": line},
                               record.timestamp))

    def _open_hub(self) -> None:
        from ananta.hub.hub import Hub
        from ananta.store.vault import Vault

        vault = Vault(self.secret_key)
        vault.check()
        self.hub = Hub(steps=self.steps, decisions=self.decisions, events=self.events, vault=vault,
                       registration_token=self.settings.registration_token, configuration=self.configuration,
                       own_urls=lambda: self.own_urls, flush=self._flush, mask=self.mask, audit=self.audit)
        self.tools.add(self.hub.tools())
        self.hub.open()

    def _flush(self) -> None:
        if database.shared():
            self.notices.flush()

    def _make_runner(self) -> Runner:
        laid_out = [Path(each) for each in (self._credentials,) if each]
        kept = (self.data_dir, self.secrets.directory, *laid_out)
        private = (self.secrets.directory, *laid_out, *(self.data_dir / name for name in PRIVATE))
        return Runner(shell_path=self.settings.shell_path, home=(self.settings.work_dir or Path.cwd()).resolve(), environment=os.environ,
                      secret_names=settings_module.secret_names(), protected=kept, private=private)

    def models(self) -> "LanguageModels":
        """Returns the language models, made at the first call: a start needs none."""
        from ananta.llm.catalog import LanguageModels

        settings = self.settings
        with self._making_models:
            if self._models is None:
                self._models = LanguageModels(
                    retries=settings.retry_count, backoff=settings.retry_backoff,
                    max_context_tokens=settings.lmstudio_max_context_tokens, mock_answers=self._mock_answers,
                    history_path=self.data_dir / "llm_model_history.json", locate_local=True)
            return self._models

    def finish(self) -> None:
        """Stops taking work, lets runs finish for a moment, ends the rest, and waits for their records."""
        self.steps.stopping.set()
        self.watch.close()
        until = time.monotonic() + STOP_COMMANDS_S
        while (self.runner.running() or (self.hub is not None and self.hub.workers.lane.busy)) and time.monotonic() < until:
            time.sleep(0.02)
        self.runner.interrupt_all()
        if self.hub is not None:
            self.hub.interrupt()
        until = time.monotonic() + 3
        while (self.command_lane.busy or (self.hub is not None and self.hub.workers.lane.busy)) and time.monotonic() < until:
            time.sleep(0.02)  # the threads of the interrupted commands write their records

    def close(self) -> None:
        """Finishes the work and closes everything."""
        self.finish()
        if self.hub is not None:
            self.hub.close()
        self.runner.close()
        if self._models is not None:
            self._models.close()
        self.journal.close()
        self.notices.close()
        database.close()
        self.claim.release()

    def set_token(self, token: str | None) -> None:
        self.token = token
        self.mask.replace(self._secret_values())

    def _secret_values(self) -> list[str]:
        return [each for each in (self.token, self.secret_key, self.mfa_key, *self.configuration.secrets()) if each]

    def _configuration_changed(self, keys: list[str]) -> None:
        diagnostics.set_level(self.configuration["log_level"])
        self.mask.replace(self._secret_values())
        self.events.publish(CONFIG_UPDATED, {"keys": keys})

    def _end_leftovers(self, run_id: str) -> str:
        ended = self.runner.end_leftovers(run_id)
        return f"{ended} processes of it were still running and have been ended." if ended else ""

    def decide(self, command: str, cwd: str, *, shell: str | None = None, built_in_only: bool = False) -> Verdict:
        """Returns the policy's verdict; built_in_only: rules can make it stricter, but not looser."""
        blacklist, rules = self.policy_files.current()
        by, verdicts = self._verdicts
        if (blacklist, rules) != by:
            # Together and anew: a verdict by the old rules, still being worked out, must not end up among the new ones.
            verdicts = {}
            self._verdicts = ((blacklist, rules), verdicts)
        key = (command, cwd, shell, built_in_only)
        known = verdicts.get(key)
        if known is None:
            # The policy is a pure function of these: the same question need not be worked out again.
            known = self._judge(command, cwd, shell or self.runner.shell_kind, blacklist, [rules, None] if
                                built_in_only and rules else [rules])
            if len(command) < VERDICT_CHARS:
                if len(verdicts) >= VERDICTS:
                    verdicts.clear()
                verdicts[key] = known
        return known

    def replay(self, document: object) -> "Report":
        """Returns what these rules, as in policy.json, would have decided about the last REPLAYED commands on record. Raises
        InvalidInput for rules that are none, or that have an example which does not hold."""
        from ananta.policy import decision
        from ananta.policy.rules import parse_rules

        after = parse_rules(json.dumps(document, ensure_ascii=False))
        blacklist, before = self.policy_files.current()
        commands = [each for line in self.journal.last(REPLAYED) if isinstance(each := json.loads(line).get("command"), str) and each.strip()]
        return decision.replay(commands, before, after, context=self._context(self.runner.directory("default")),
                               shell=self.runner.shell_kind, blacklist=blacklist)

    def _context(self, cwd: str) -> "Context":
        from ananta.policy.decision import Context

        return Context(
            cwd=cwd, home=os.path.expanduser("~"), data_dir=str(self.data_dir), secrets_dir=str(self.secrets.directory),
            credentials_dir=self._credentials,
            program=(str(packaged.program()), "ananta"), pid=os.getpid(), outer_pid=packaged.outer_pid(),
            platform="windows" if os.name == "nt" else "posix", secrets_shielded=self.contained)

    def _judge(self, command: str, cwd: str, shell: str, blacklist, rule_sets: list) -> Verdict:
        from ananta.policy.decision import decide  # a start runs no command

        context = self._context(cwd)
        verdicts = [decide(command, shell=shell, blacklist=blacklist, rules=each, context=context)
                    for each in rule_sets]
        return max(verdicts, key=lambda verdict: STRICTNESS[verdict.decision])


def _mock_answers(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as cause:
        raise settings_module.SettingInvalid(f"MOCK_ANSWERS={str(path)!r} cannot be read: {cause}.") from cause


# --- the agent as a service


def serve(settings: Settings, say: Callable[[str], None], supervisor: supervision.Supervisor | None = None) -> int:
    """Runs the agent until SIGTERM, SIGINT or Ctrl-C; returns the exit code. supervisor: who is told how it goes; without
    one the one that the environment names."""
    with _signals() as asked:
        supervisor = supervisor or supervision.of(os.environ)
        try:
            return _serve(settings, say, asked, supervisor)
        finally:
            supervisor.close()


def _serve(settings: Settings, say: Callable[[str], None], asked: socket.socket, supervisor: supervision.Supervisor) -> int:
    from ananta.web.agent import build

    _hide_memory()
    if sys.platform != "win32":
        from ananta.shell.descriptors import raise_limit

        raise_limit()
    agent = Agent(settings, settings.role)
    server = None
    try:
        server = build(agent, settings)
        agent.describe(server.url)
        agent.second_factors.check()
        first = _open_accounts(settings)
        server.start()
        supervisor.ready(server.url)
        # What a service manager keeps, others can read: nothing in it may sign anybody in.
        for line in _greeting(agent, server, first, kept=not isinstance(supervisor, supervision.Nobody)):
            say(line)
        agent.watch.start(lambda text: say(f"model     {text}"))
        # What is there now stays as long as the process: looking through it again and again cost a run half a
        # millisecond.
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)
        gc.enable()
        if packaged.unpacked():
            threading.Thread(target=packaged.sweep, name="sweep", daemon=True).start()
        asked.recv(1)
        log.info("stopping")
    finally:
        supervisor.stopping()
        # Until the work is done the server still answers: who asks whether it lives, and who waits for a command.
        agent.finish()
        if server is not None:
            server.stop()
        agent.close()
    return 0


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Gives a socket from which a byte can be read once the process has been asked to stop.

    The byte is written by the signal itself: a wait for anything else could begin just after the signal came, and
    then would not be woken by it."""
    received = 0

    def count(number, frame) -> None:
        # A signal to the whole group arrives more than once; only a fourth one cuts the orderly stop short.
        nonlocal received
        received += 1
        if received > 3:
            os._exit(1)

    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, count)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(-1)
        reader.close()
        writer.close()


def _open_accounts(settings: Settings) -> str | None:
    """Forgets what has expired, makes the first user where there is none, and returns the line that tells of it: the only
    place where a random password is ever shown. A worker needs no user, unless somebody has set the password."""
    from ananta.store import accounts, limits

    limits.prune(time.time())
    accounts.prune(time.time())
    name, password = settings.initial_admin_user, settings.initial_admin_password
    of_hub = settings.role == "hub" or (password is not None and not database.shared())
    if settings.disable_initial_admin or not of_hub:
        return None
    import secrets

    random = secrets.token_urlsafe(12)
    if not accounts.ensure_admin(name, password or random, time.time()):
        return None
    return f"sign in   as {name} with " + (f"the password {random} (shown this once)" if password is None else
                                           "the password of INITIAL_ADMIN_PASSWORD")


def _greeting(agent: Agent, server, first_admin: str | None, *, kept: bool) -> list[str]:
    """Returns the lines that say what runs. kept: whether they go to a log instead of a person."""
    settings = agent.settings
    lines = [f'ananta {__version__} {settings.role} "{settings.agent_name}" on {server.url}',
             f"data      {agent.data_dir}", f"shell     {agent.runner.shell_path} in {agent.runner.directory('default')}"]
    if agent.token is None:
        lines.append("access    no token: this machine only" if settings_module.is_loopback(server.host) else
                     "access    NO TOKEN AND REACHABLE BY OTHERS (ALLOW_INSECURE): everybody there can run commands")
    else:
        reads = {"loopback": "reading from this machine needs none", "off": "reading, too",
                 "all": "READING IS OPEN TO EVERYBODY (ANONYMOUS_READS=all)"}[settings.anonymous_reads]
        weak = "; THE TOKEN IS SHORT: make one with `ananta token new`" if len(agent.token) < 16 else ""
        lines.append(f"access    with the token; {reads}{weak}")
    if first_admin:
        lines.append(first_admin)
    if agent.unknown:
        many = "1 run was" if len(agent.unknown) == 1 else f"{len(agent.unknown)} runs were"
        lines.append(f"record    {many} cut off by the last stop; how that ended is unknown "
                     "(ananta log tail)")
    if kept:
        signs_in = "  (`ananta ui --service` prints an address that signs in)" if settings.role == "worker" else ""
        return [*lines, f"console   {server.url}/ui/{signs_in}"]
    if settings.role == "worker":
        lines.append(f"console   {server.address_with_code()}  (signs in once, for 15 minutes; `ananta ui` prints another)")
    else:
        lines.append(f"console   {server.url}/ui/")
    lines.append('next      ananta ask "show the free disk space", or open the console in a browser')
    return lines


def _hide_memory() -> None:
    """Keeps other processes of the same user, such as the commands, from reading this one's memory (prctl(2))."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


# --- the command line


@contextmanager
def desk(settings: Settings, task_id: str | None) -> Iterator:
    """A place to propose and run (operations.ask.Desk): the server of this data directory when one runs, else this
    process itself."""
    from ananta.operations.ask import LocalDesk, RemoteDesk
    from ananta.operations.client import Client

    task = task_id or f"ask-{os.urandom(3).hex()}"
    client = Client.find(settings)
    if client is not None:
        yield RemoteDesk(client, task)
        return
    _hide_memory()
    settings = _quiet(settings)
    agent = Agent(settings, "ask")
    try:
        yield LocalDesk(agent.steps, agent.watch, task, agent.mask)
    finally:
        agent.close()


def _quiet(settings: Settings) -> Settings:
    import dataclasses

    return settings if "log_level" in settings.given else dataclasses.replace(settings, log_level="ERROR")


