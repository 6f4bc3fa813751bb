"""The web of an agent, worker or hub: its routes, its gate, its server, and the jobs that go on beside it."""
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ananta import __version__, extensions
from ananta.agent import backups, housekeeping
from ananta.agent.audit_analysis import analysis
from ananta.agent.background import Job, Jobs
from ananta.agent.backups import Backups
from ananta.agent.figures import Figures
from ananta.agent.generation import Generation
from ananta.agent.housekeeping import Retention
from ananta.agent.live import Live
from ananta.agent.loaded_models import LoadedModels
from ananta.agent.schedule import Scheduler
from ananta.agent.sgpt import Sgpt
from ananta.domain.events import AGENT_REGISTERED, CREDENTIALS_CHANGED, PROPOSALS_UPDATED, TOKEN_ROTATED
from ananta.domain.proposals import RUN
from ananta.domain.steps import Record
from ananta.hub.membership import Identity, Membership, Rotation, is_due, is_same_place
from ananta.settings import Settings, is_loopback, secret_names
from ananta.store import accounts, audit, database, stats
from ananta.store.limits import Bans, Limit
from ananta.store.secrets import new_token
from ananta.store.shared_journal import TaskLog
from ananta.web import server as web
from ananta.web.access import Access, Counter, RateLimit, Tokens
from ananta.web.gate import Gate
from ananta.web.metrics import MetricsText
from ananta.web.routes.accounts import AccountRoutes
from ananta.web.routes.audit import AuditRoutes
from ananta.web.routes.configuration import ConfigurationRoutes
from ananta.web.routes.console import ConsoleRoutes, open_address
from ananta.web.routes.llm import LLMRoutes
from ananta.web.routes.pages import PageRoutes
from ananta.web.routes.policy import PolicyRoutes
from ananta.web.routes.schedule import ScheduleRoutes
from ananta.web.routes.second_factor import SecondFactorRoutes
from ananta.web.routes.sgpt import SgptRoutes
from ananta.web.routes.stats import StatsRoutes
from ananta.web.routes.steps import StepRoutes
from ananta.web.routes.streams import EventRoutes, OutputRoutes, TaskLogRoutes
from ananta.web.routes.system import Check, SystemRoutes
from ananta.web.session import Codes, Sessions
from ananta.web.sign_in import Door
from ananta.web.streams import Streams

if TYPE_CHECKING:
    from ananta.hub.heartbeat import Heartbeat

log = logging.getLogger(__name__)
# By then the agent has registered with a hub that is there.
ROTATE_FIRST_S = 3.0


class AgentServer:
    """The listening agent. url: an address that works on this machine."""

    def __init__(self, agent, settings: Settings):
        self.agent, self.settings = agent, settings
        self.tokens = Tokens(agent.token, agent.secret_key, accounts.standing, known_only=settings.role == "hub")
        self.host = settings.host or ("127.0.0.1" if agent.token is None else "0.0.0.0")
        self.sessions, self.codes = Sessions(agent.secret_key, lambda: self.tokens.agent_token, accounts.standing), Codes()
        self.access = Access(self.tokens, sessions=self.sessions, anonymous_reads=settings.anonymous_reads, hosts=(*settings.allowed_hosts, *_named(settings.agent_url)),
                             origins=settings.cors_origins, proxies=settings.trusted_proxies, bound=self.host)
        self.streams = Streams()
        self.figures = self._figures()
        self.backups = Backups(agent.data_dir, self._back_up, every_hours=settings.backup_every_hours, keep=settings.backup_keep)
        self.heartbeat: Heartbeat | None = None
        self.rotation = self._rotation()
        self.scheduler = Scheduler(agent.steps, owner=database.local().place,
                                   scope="hub" if settings.role == "hub" else database.local().place)
        app = web.application(self._parts(), self.access)
        self._extend(app)
        gate = Gate(app, self.access, agent.steps.stopping.is_set)
        agent.events.listen(self.streams.on_event)
        agent.steps.on_begin.append(self._decided)
        lanes = [agent.command_lane, agent.model_lane, agent.steps.waiting, *([agent.hub.workers.lane] if agent.hub else [])]
        places = sum(lane.places for lane in lanes)
        self.server = web.Server(gate, self.access, self.streams, host=self.host, port=settings.port, lane_places=places)
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host.strip("[]")
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.server.port}"
        self.jobs = self._jobs()
        self.rotation.membership = self.membership = self._membership()
        if not is_loopback(self.host) and settings.anonymous_reads == "all":
            log.warning("ANONYMOUS_READS=all: everybody who reaches this agent can read what its commands printed")

    def _decided(self, record: Record) -> None:
        if record.proposal_id is not None:
            self._proposals_changed(record.proposal_id, RUN)

    def _proposals_changed(self, proposal_id: str, state: str) -> None:
        self.agent.events.publish(PROPOSALS_UPDATED, {"id": proposal_id, "state": state})

    def start(self) -> None:
        self.server.start()
        self.jobs.start()
        self.scheduler.start()
        if self.membership is not None:
            self.membership.start()

    def stop(self) -> None:
        if self.membership is not None:
            self.membership.close()
        if self.heartbeat is not None:
            self.heartbeat.close()
        self.jobs.close()
        self.scheduler.close()
        self.server.stop()

    def _jobs(self) -> Jobs:
        settings, agent, stopping = self.settings, self.agent, threading.Event()
        retention = Retention(settings.tasks_retention_days, settings.archived_tasks_retention_days,
                              settings.backups_retention_days)
        jobs = [Job("token age", self._rotate_old, 600, ROTATE_FIRST_S),
                Job("statistics", self._keep_figures, 60, 4 if agent.hub else 60, alone=True),
                *housekeeping.jobs(retention, agent.journal, agent.data_dir, hub=agent.hub is not None,
                                   stopping=lambda: stopping.is_set() or agent.steps.stopping.is_set())]
        if settings.backup_every_hours:
            self.backups.stopping = stopping.is_set
            jobs.append(Job("backup", self.backups.job, backups.LOOK_S, backups.FIRST_S))
        if agent.hub is not None:
            from ananta.hub.heartbeat import EVERY_S, FIRST_S, Heartbeat

            self.heartbeat = Heartbeat(agent.hub.registry)
            jobs += [Job("heartbeat", self.heartbeat.round, EVERY_S, FIRST_S),
                     Job("task history", agent.hub.steps.history.note_rest, 60, 60)]
        found = Jobs(jobs, stopping=stopping)
        if agent.hub is not None:
            # Who has just come is asked at once how it is.
            agent.events.listen(lambda event: found.soon("heartbeat", 1.0) if event.type == AGENT_REGISTERED else None)
        return found

    def _keep_figures(self) -> None:
        stats.add(self.figures.snapshot(), keep=self.settings.stats_history_size)

    def _back_up(self, path: Path, check: Callable[[], None]) -> None:
        from ananta.store import snapshot  # few starts make one
        from ananta.store.snapshot import Place

        settings, agent = self.settings, self.agent
        url = settings.database_url
        place = Place(agent.data_dir, url if url and database.is_shared(url) else database.file_of(url or agent.data_dir / "ananta.db"),
                      agent.secrets.directory, settings.role, settings.agent_name, __version__)
        snapshot.make(path, place, check=check)

    def _backup(self) -> Check | None:
        if not self.settings.backup_every_hours:
            return None
        problem = self.backups.problem
        return Check("ok" if problem is None else "error", 0.0, None if problem is None else "backup_failed", problem)

    def _parts(self) -> list:
        agent = self.agent
        system = SystemRoutes(self.access, MetricsText(agent.meter, agent.command_lane, Usage()), agent.audit,
                              about=self._about, database=_database, llm=self._llm, hub=self._hub, backup=self._backup, rotate=self.rotate,
                              reports=self._limit("csp-report", 10, 60))
        steps = StepRoutes(agent.steps, agent.journal, self.access, self._limit("anonymous propose", 10, 60),
                           known=agent.mask.known, changed=self._proposals_changed,
                           **({"propose": agent.hub.steps.propose_here, "run": agent.hub.steps.execute_proposal,
                               "stop": agent.hub.steps.stop}
                              if agent.hub else {}))
        return [system, *self._accounts(), steps, *self._hub_parts(steps),
                ConfigurationRoutes(agent.configuration, agent.audit, self.access),
                SgptRoutes(Sgpt(agent.steps, agent.audit, default_model=self.settings.sgpt_default_model,
                                secret_names=secret_names()), self.access, self._limit("sgpt", 5, 60)),
                PolicyRoutes(agent.decide, agent.replay, agent.policy_files, agent.audit, self.access,
                             cwd=lambda: agent.runner.directory("default"), hide=agent.mask.known),
                AuditRoutes(agent.audit, self.access, lambda limit: analysis(agent.steps, limit),
                            lambda: audit.verify(agent.data_dir / "audit.log", self.settings.database_url or agent.data_dir / "ananta.db")),
                self._llm_routes(),
                ScheduleRoutes(self.scheduler, self.access, agent.audit, hide=agent.mask.known),
                EventRoutes(self.streams, self.access), self._output(), StatsRoutes(self.settings.agent_name, self.figures.snapshot,
                                                                           model=lambda: agent.watch.in_use, jobs=lambda: self.jobs.report()),
                PageRoutes()]

    def _output(self) -> OutputRoutes:
        output = OutputRoutes(self.streams, self.access)
        output.live = self.agent.steps.live = Live(self.agent.mask, output.tell, output.wanted)
        if self.agent.hub is not None:
            from ananta.hub.relay import Relay

            self.agent.hub.steps.relay = Relay(output.live)
        return output

    def _llm_routes(self) -> LLMRoutes:
        agent = self.agent
        generation = Generation(agent.steps, agent.tools, agent.llm_log, agent.configuration, agent.mask.known)
        return LLMRoutes(generation, LoadedModels(agent.models, agent.configuration), agent.configuration, self.access,
                         lambda: agent.models().history())

    def _limit(self, scope: str, calls: int, window_s: float) -> Counter:
        """Hubs that share a database count together."""
        return Limit(scope, calls, window_s) if self.settings.role == "hub" else RateLimit(calls, window_s)

    def _accounts(self) -> list:
        door, factors, settings = Door(self.access, self.agent.audit, Limit("sign-in", 10, 60), Bans()), self.agent.second_factors, self.settings

        def revoked() -> None:
            self.agent.events.publish(CREDENTIALS_CHANGED, {})

        return [AccountRoutes(door, self.tokens, factors, min_length=self.settings.password_min_length,
                              first_admin=self.settings.initial_admin_user,
                              revoked=revoked),
                SecondFactorRoutes(factors, door, self.tokens),
                ConsoleRoutes(self.sessions, self.codes, door, self.access, ended=revoked, doctor=self._examine,
                              about=(settings.agent_name, settings.role, __version__))]

    def _examine(self) -> list:
        from ananta.operations import doctor  # few ask

        return doctor.examine(lambda: self.settings)

    def address_with_code(self) -> str:
        """An address that signs in whoever opens it first, within 15 minutes."""
        return open_address(self.url, self.codes.make()[0])

    def _figures(self) -> Figures:
        if self.settings.role != "hub":
            return Figures(self.agent.command_lane, Usage())
        from ananta.store import agents, tasks

        return Figures(self.agent.command_lane, Usage(), agents=agents.counts, tasks=tasks.counts)

    def _hub_parts(self, steps: StepRoutes) -> list:
        agent, hub = self.agent, self.agent.hub
        if hub is None:
            return []
        from ananta.release_key import KEYS
        from ananta.store import archive
        from ananta.store.releases import Releases
        from ananta.web.routes.agents import AgentRoutes
        from ananta.web.routes.archive import ArchiveRoutes
        from ananta.web.routes.delegation import DelegationRoutes
        from ananta.web.routes.releases import ReleaseRoutes
        from ananta.web.routes.task_steps import TaskStepRoutes
        from ananta.web.routes.tasks import TaskRoutes
        from ananta.web.routes.teams import TeamRoutes
        from ananta.web.routes.templates import TemplateRoutes

        task_logs = TaskLogRoutes(TaskLog(agent.journal), self.streams, self.access, exists=archive.known)
        agent.events.listen(task_logs.on_event)
        hub.registry.own_token = self._is_own
        hub.delegation.own_url = self._own_url
        return [TaskRoutes(hub.news, agent.meter, hub.vault.seal), ArchiveRoutes(hub.news), task_logs,
                DelegationRoutes(hub.delegation, self.access, agent.audit),
                AgentRoutes(hub.registry, self.access, agent.audit, self._limit("register", 20, 60)),
                TaskStepRoutes(hub.steps, self.access, steps.count_anonymous, known=agent.mask.known,
                               changed=self._proposals_changed),
                TemplateRoutes(self.access, hub.templates, lambda: agent.configuration["template_variables_allowlist"]),
                TeamRoutes(hub.teams, self.access, agent.audit),
                ReleaseRoutes(Releases(agent.data_dir, KEYS), self.access, agent.audit, who_has=hub.registry.who_has)]

    def _is_own(self, credential: str) -> bool:
        found = self.tokens.caller(credential, "header")
        return found is not None and found.kind == "system"

    def _extend(self, app) -> None:
        shown = self.agent.configuration.shown
        added = extensions.ExtensionApp(MappingProxyType({
            "AGENT_NAME": self.settings.agent_name, "AGENT_TOKEN": self.agent.token, "AGENT_CONFIG": shown(),
            "DATA_DIR": str(self.agent.data_dir),
            "PROVIDER_URLS": {name: shown()[f"{name}_url"] for name in ("ollama", "lmstudio", "openai", "anthropic")}}))
        loaded = extensions.load(self.settings.agent_extensions, self.settings.extensions_dir, added, self.rotate)
        try:
            added.mount(app)
            web.check_declared(app)
        except Exception as failure:
            log.error("the routes of the extensions cannot be added: %s", failure)
        if loaded:
            log.info("extensions: %s", ", ".join(loaded))

    def rotate(self) -> str:
        """Replaces the agent token, together with the hub; returns the new one. Raises InvalidInput `rotation_failed`."""
        return self.rotation.rotate()

    def _rotation(self) -> Rotation:
        agent, settings = self.agent, self.settings

        def keep(token: str) -> None:
            agent.secrets.keep_token(token, now=time.time(), replaced=settings.agent_token)

        return Rotation(make=new_token, token=lambda: self.tokens.agent_token, swap=self._swap,
                        keep=keep if settings.agent_token_persistence else None)

    def _swap(self, token: str) -> None:
        self.tokens.agent_token = token
        self.agent.set_token(token)
        self.agent.events.publish(TOKEN_ROTATED, {"new_token": token, "agent_name": self.settings.agent_name}, admins=True)

    def _rotate_old(self) -> None:
        """Replaces a kept token that has become too old; one that the operator has set is the operator's."""
        kept = self.agent.secrets.token()
        if kept is not None and kept.agent_token == self.tokens.agent_token and is_due(
                kept.last_rotation, self.settings.token_rotation_days):
            self.rotate()
            self.agent.audit.write("token_rotated", username="system")
            log.info("the agent token was %d days old and has been replaced: `ananta token show` prints the new one",
                     self.settings.token_rotation_days)

    def _own_url(self) -> str:
        """Where other agents reach this one."""
        return (self.settings.agent_url or f"http://localhost:{self.server.port}").rstrip("/")

    def _membership(self) -> Membership | None:
        settings, port, own = self.settings, self.server.port, self._own_url()
        if settings.role == "hub" or is_same_place(settings.hub_url, {own, self.url}, port):
            return None
        return Membership(
            settings.hub_url, Identity(settings.agent_name, own, settings.role, settings.registration_token),
            explicit="hub_url" in settings.given, token=lambda: self.tokens.agent_token, adopt=self.rotation.take,
            lock=self.rotation.lock)

    def _about(self) -> dict:
        good, _, _ = self.agent.watch.report()
        provider = self.agent.configuration["default_provider"]
        return {"agent": self.settings.agent_name, "role": self.settings.role, "version": __version__, "checks": {
            "shell": {"status": "ok" if self.agent.runner.shell_path else "down"},
            "llm_providers": {provider: "ok" if good else "unreachable"}}}

    def _llm(self) -> Check:
        good, text, seconds = self.agent.watch.report()
        return Check("ok" if good else "unreachable", round(seconds, 4), None if good else "llm_unreachable", text,
                     self.agent.configuration["default_provider"])

    def _hub(self) -> Check | None:
        if self.membership is None or not self.membership.explicit:
            return None
        start = time.monotonic()
        problem = self.membership.reach()
        return Check("ok" if problem is None else "error", round(time.monotonic() - start, 4),
                     None if problem is None else "hub_unreachable", problem)


def _database() -> Check:
    start = time.monotonic()
    try:
        database.rows("select 1")
    except Exception as failure:
        log.warning("the database does not answer: %s", failure)
        return Check("error", round(time.monotonic() - start, 6), "database_error", str(failure))
    return Check("ok", round(time.monotonic() - start, 6))


def _named(url: str | None) -> list[str]:
    """The host of the address under which others are told to call, as they then name it."""
    host = urlsplit(url).hostname if url else None
    return [host] if host else []


class Usage:
    """What this process uses: processor time in percent since the last call, and resident memory in bytes."""

    def __init__(self):
        self._process = None
        self._spent_s, self._at = time.process_time(), time.monotonic()

    def __call__(self) -> tuple[float, int]:
        import psutil

        self._process = self._process or psutil.Process()
        spent_s, now = time.process_time(), time.monotonic()
        percent = 100 * (spent_s - self._spent_s) / max(now - self._at, 1e-3)
        self._spent_s, self._at = spent_s, now
        return round(percent, 1), self._process.memory_info().rss


def build(agent, settings: Settings) -> AgentServer:
    return AgentServer(agent, settings)
