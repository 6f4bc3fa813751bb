"""The web of a worker: its routes, its gate, its server."""
import logging
import time
from types import MappingProxyType

from ananta import __version__, extensions
from ananta.agent.sgpt import Sgpt
from ananta.domain.events import TOKEN_ROTATED
from ananta.settings import Settings, is_loopback, secret_names
from ananta.store import accounts, database
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
from ananta.web.routes.pages import PageRoutes
from ananta.web.routes.policy import PolicyRoutes
from ananta.web.routes.sgpt import SgptRoutes
from ananta.web.routes.steps import StepRoutes
from ananta.web.routes.streams import EventRoutes, TaskLogRoutes
from ananta.web.routes.system import Check, SystemRoutes
from ananta.web.streams import Streams

log = logging.getLogger(__name__)


class WorkerServer:
    """The listening worker. url: an address that works on this machine."""

    def __init__(self, agent, settings: Settings):
        self.agent, self.settings = agent, settings
        self.tokens = Tokens(agent.token, agent.secret_key, accounts.standing, known_only=settings.role == "hub")
        self.host = settings.host or ("127.0.0.1" if agent.token is None else "0.0.0.0")
        self.access = Access(self.tokens, anonymous_reads=settings.anonymous_reads, hosts=settings.allowed_hosts,
                             origins=settings.cors_origins, proxies=settings.trusted_proxies, bound=self.host)
        self.streams = Streams()
        app = web.application(self._parts(), self.access)
        self._extend(app)
        gate = Gate(app, self.access, agent.steps.stopping.is_set)
        agent.events.listen(self.streams.on_event)
        places = sum(lane.places for lane in (agent.command_lane, agent.model_lane, agent.steps.waiting))
        self.server = web.Server(gate, self.access, self.streams, host=self.host, port=settings.port, lane_places=places)
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host.strip("[]")
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.server.port}"
        self.start, self.stop = self.server.start, self.server.stop
        if not is_loopback(self.host) and settings.anonymous_reads == "all":
            log.warning("ANONYMOUS_READS=all: everybody who reaches this agent can read what its commands printed")

    def _parts(self) -> list:
        agent = self.agent
        system = SystemRoutes(self.access, MetricsText(agent.meter, agent.command_lane, usage), agent.audit,
                              about=self._about, database=_database, llm=self._llm, rotate=self.rotate,
                              reports=self._limit("csp-report", 10, 60))
        return [system, self._accounts(),
                StepRoutes(agent.steps, agent.journal, self.access, self._limit("anonymous propose", 10, 60),
                           known=agent.mask.known),
                ConfigurationRoutes(agent.configuration, agent.audit, self.access),
                SgptRoutes(Sgpt(agent.steps, agent.audit, default_model=self.settings.sgpt_default_model,
                                secret_names=secret_names()), self.access, self._limit("sgpt", 5, 60)),
                PolicyRoutes(agent.decide, agent.policy_files, agent.audit, self.access,
                             cwd=lambda: agent.runner.directory("default")), AuditRoutes(),
                EventRoutes(self.streams, self.access), *self._hub_parts(), PageRoutes()]

    def _limit(self, scope: str, calls: int, window_s: float) -> Counter:
        """Hubs that share a database count together."""
        return Limit(scope, calls, window_s) if self.settings.role == "hub" else RateLimit(calls, window_s)

    def _accounts(self) -> AccountRoutes:
        return AccountRoutes(self.access, self.agent.audit, Limit("sign-in", 10, 60), Bans(),
                             min_length=self.settings.password_min_length, first_admin=self.settings.initial_admin_user)

    def _hub_parts(self) -> list:
        agent = self.agent
        if self.settings.role != "hub":
            return []
        from ananta.store import tasks
        from ananta.web.routes.tasks import TaskRoutes
        from ananta.web.routes.templates import TemplateRoutes

        task_logs = TaskLogRoutes(TaskLog(agent.journal), self.streams, self.access, exists=tasks.exists)
        agent.events.listen(task_logs.on_event)
        return [task_logs, TaskRoutes(agent.news, agent.meter, agent.vault.seal),
                TemplateRoutes(self.access, agent.audit, lambda: agent.configuration["template_variables_allowlist"])]

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
        """Replaces the agent token in memory and, if that is set, with the secrets; returns the new one."""
        new = new_token()
        if self.settings.agent_token_persistence:
            self.agent.secrets.keep_token(new, now=time.time(), replaced=self.settings.agent_token)
        self.tokens.agent_token = new
        self.agent.set_token(new)
        self.agent.events.publish(TOKEN_ROTATED, {"new_token": new, "agent_name": self.settings.agent_name}, admins=True)
        return new

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


def _database() -> Check:
    start = time.monotonic()
    try:
        database.rows("select 1")
    except Exception as failure:
        log.warning("the database does not answer: %s", failure)
        return Check("error", round(time.monotonic() - start, 6), "database_error", str(failure))
    return Check("ok", round(time.monotonic() - start, 6))


_process: list = []


def usage() -> tuple[float, int]:
    """Processor time in percent since the last call, and resident memory in bytes, of this process."""
    import psutil

    if not _process:
        _process.append(psutil.Process())
    return _process[0].cpu_percent(None), _process[0].memory_info().rss


def build(agent, settings: Settings) -> WorkerServer:
    return WorkerServer(agent, settings)
