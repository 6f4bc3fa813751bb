"""What is kept in the databases. Nobody outside store/ imports this.

The tables are made by the steps in migrations.py; a test compares them with the classes here.
"""
from peewee import (
    AutoField,
    BigIntegerField,
    BlobField,
    CompositeKey,
    FloatField,
    IntegerField,
    Model,
    TextField,
)

from ananta.store.proxies import database, local


class Table(Model):
    """In the main database."""

    class Meta:
        database = database
        legacy_table_names = False


class LocalTable(Model):
    """In the database of the data directory."""

    class Meta:
        database = local
        legacy_table_names = False


class JournalRow(LocalTable):
    """The index of the terminal log: a row for every line, in order; the files are the truth.

    seq: which line it is, counted over all files; hash: its link in the chain; record: the JSON that is served, None
    for a line that is not served by itself (broken, or merged into a later one)."""

    seq = BigIntegerField(primary_key=True)
    run_id = TextField(null=True)
    task_id = TextField(null=True)
    timestamp = FloatField(null=True)
    step = IntegerField(null=True)
    hash = TextField()
    record = TextField(null=True)

    class Meta:
        table_name = "journal"
        indexes = ((("task_id", "seq"), False),)


class JournalPosition(LocalTable):
    """How far each file of the log is indexed.

    generation: 1 for the oldest file; first_seq: of its first line; offset: the bytes that are indexed; last_line:
    where the last indexed line begins; link: that line's; records: how many of its lines are served."""

    generation = IntegerField(primary_key=True)
    first_seq = BigIntegerField()
    lines = BigIntegerField()
    records = BigIntegerField()
    offset = BigIntegerField()
    last_line = BigIntegerField()
    link = TextField()

    class Meta:
        table_name = "journal_position"


class JournalBreak(LocalTable):
    """Where the log turned out not to be what had been indexed: the first line that was different.

    link: what it had been; record: what it had said; noticed: epoch seconds."""

    link = TextField(primary_key=True)
    noticed = FloatField()
    record = TextField(null=True)

    class Meta:
        table_name = "journal_break"


class ProposalRow(Table):
    """A command that was shown, and what was decided about it; see StoredProposal in domain/proposals.py.

    command, cwd, session, target: UTF-8 to the byte, never masked, because exactly this runs; reasons: a JSON array;
    place: the data directory whose log has the run."""

    id = TextField(primary_key=True)
    digest = TextField()
    command = BlobField()
    cwd = BlobField()
    session = BlobField()
    target = BlobField()
    task_id = TextField(null=True)
    prompt = TextField()
    reason = TextField()
    decision = TextField()
    reasons = TextField()
    model = TextField(null=True)
    created_at = FloatField()
    expires_at = FloatField()
    state = TextField()
    decided_by = TextField(null=True)
    decided_at = FloatField(null=True)
    decide_reason = TextField(null=True)
    replaces = TextField(null=True)
    run_id = TextField(null=True)
    # Model has a method `raw`.
    raw_text = TextField(column_name="raw")
    place = TextField(null=True)

    class Meta:
        table_name = "proposals"
        indexes = ((("state", "created_at"), False), (("task_id", "created_at"), False))


class AnswerRow(Table):
    """The answer to a request with an Idempotency-Key.

    owner: the process that reserved the key; run_id: what it is about to start; status, body: None until it is
    answered."""

    caller = TextField()
    idempotency_key = TextField()
    fingerprint = TextField()
    begun_at = FloatField(index=True)
    owner = TextField()
    run_id = TextField(null=True)
    status = IntegerField(null=True)
    body = BlobField(null=True)

    class Meta:
        table_name = "answers"
        primary_key = CompositeKey("caller", "idempotency_key")


class _Task(Table):
    """A task. document: the JSON that is served, without its history and its closing brace; recent: its last steps for
    lists, a JSON array; board: the status, normalised; steps: how many there are in task_history.

    assigned_agent_token, callback_token: sealed, see vault.py."""

    id = TextField(primary_key=True)
    title = TextField(null=True)
    description = TextField(null=True)
    status = TextField()
    board = TextField()
    run_state = TextField()
    priority = TextField()
    template_id = TextField(null=True)
    tags = TextField()
    team_id = TextField(null=True)
    assigned_role_id = TextField(null=True)
    parent_task_id = TextField(null=True)
    assigned_agent_url = TextField(null=True)
    assigned_agent_token = BlobField(null=True)
    last_proposal = TextField(null=True)
    last_output = TextField(null=True)
    last_exit_code = BigIntegerField(null=True)
    subtasks = TextField()
    callback_url = TextField(null=True)
    callback_token = BlobField(null=True)
    created_at = FloatField()
    updated_at = FloatField()
    steps = BigIntegerField()
    recent = TextField()
    document = TextField()


class TaskRow(_Task):
    class Meta:
        table_name = "tasks"
        indexes = ((("updated_at", "id"), False), (("board", "updated_at", "id"), False), (("status", "run_state"), False),
                   (("created_at",), False), (("team_id", "updated_at", "id"), False),
                   (("assigned_agent_url", "updated_at", "id"), False), (("parent_task_id",), False),
                   (("template_id",), False), (("assigned_role_id",), False))


class ArchivedTaskRow(_Task):
    archived_at = FloatField(index=True)

    class Meta:
        table_name = "archived_tasks"
        indexes = ((("template_id",), False), (("team_id",), False), (("assigned_role_id",), False),
                   (("assigned_agent_url",), False))


class TaskHistoryRow(Table):
    """A step of a task: what was asked, proposed and run. document: JSON; run_id: of its record in the log."""

    id = AutoField()
    task_id = TextField()
    run_id = TextField(unique=True)
    document = TextField()

    class Meta:
        table_name = "task_history"
        indexes = ((("task_id", "id"), False),)


class CounterRow(Table):
    """The last number that was given out."""

    name = TextField(primary_key=True)
    value = BigIntegerField()

    class Meta:
        table_name = "counters"


class TemplateRow(Table):
    """A prompt with placeholders. defaults: a JSON object."""

    id = TextField(primary_key=True)
    name = TextField(index=True)
    description = TextField(null=True)
    prompt_template = TextField()
    provider = TextField(null=True)
    model = TextField(null=True)
    defaults = TextField(null=True)
    created_at = FloatField()
    updated_at = FloatField()

    class Meta:
        table_name = "templates"


class TeamTypeRow(Table):
    """A kind of team, such as Scrum."""

    id = TextField(primary_key=True)
    name = TextField(unique=True)
    description = TextField(null=True)

    class Meta:
        table_name = "team_types"


class RoleRow(Table):
    """What a member of a team can be. created_at: of several with one name, the oldest is what that name means."""

    id = TextField(primary_key=True)
    name = TextField()
    description = TextField(null=True)
    default_template_id = TextField(null=True, index=True)
    created_at = FloatField()

    class Meta:
        table_name = "roles"
        indexes = ((("name", "created_at", "id"), False),)


class TeamTypeRoleRow(Table):
    """A role that a type of team has, and the template it has there."""

    team_type_id = TextField()
    role_id = TextField(index=True)
    template_id = TextField(null=True, index=True)

    class Meta:
        table_name = "team_type_role_links"
        primary_key = CompositeKey("team_type_id", "role_id")


class TeamRow(Table):
    """A team. is_active: 1 for at most one of them."""

    id = TextField(primary_key=True)
    name = TextField()
    description = TextField(null=True)
    team_type_id = TextField(null=True, index=True)
    is_active = IntegerField(unique=True)

    class Meta:
        table_name = "teams"


class TeamRoleTemplateRow(Table):
    """The template that a role has in a team."""

    team_id = TextField()
    role_id = TextField(index=True)
    template_id = TextField(index=True)

    class Meta:
        table_name = "team_role_templates"
        primary_key = CompositeKey("team_id", "role_id")


class TeamMemberRow(Table):
    """An agent in a team. position: members keep the order in which they were given."""

    id = TextField(primary_key=True)
    team_id = TextField()
    position = IntegerField()
    agent_url = TextField()
    role_id = TextField(null=True, index=True)
    custom_template_id = TextField(null=True, index=True)

    class Meta:
        table_name = "team_members"
        indexes = ((("team_id", "position"), False),)


class AgentRow(Table):
    """A registered agent. token, previous_token: sealed, see vault.py; the previous one stays until the new one has
    worked; resources: a JSON object."""

    url = TextField(primary_key=True)
    name = TextField()
    role = TextField()
    token = BlobField(null=True)
    previous_token = BlobField(null=True)
    last_seen = FloatField()
    status = TextField()
    resources = TextField(null=True)
    report = TextField(null=True)
    registered_at = FloatField()

    class Meta:
        table_name = "agents"


class UserRow(Table):
    """A person who signs in. generation: tokens that name a smaller one are not valid any more; mfa_backup_codes: a
    JSON array of hashes; mfa_secret: sealed; mfa_last_step: of the last one-time code that was used; deleted_at: the row stays, so that no token of a deleted user is taken for
    one of a stranger, or of the next user of that name."""

    username = TextField(primary_key=True)
    password_hash = TextField()
    role = TextField()
    mfa_enabled = IntegerField()
    mfa_secret = BlobField(null=True)
    mfa_backup_codes = TextField()
    failed_login_attempts = IntegerField()
    lockout_until = FloatField(null=True)
    generation = BigIntegerField()
    created_at = FloatField()
    deleted_at = FloatField(null=True)
    mfa_last_step = BigIntegerField(null=True)

    class Meta:
        table_name = "users"


class RefreshTokenRow(Table):
    token_hash = TextField(primary_key=True)
    username = TextField(index=True)
    expires_at = FloatField()

    class Meta:
        table_name = "refresh_tokens"


class PasswordHistoryRow(Table):
    id = AutoField()
    username = TextField(index=True)
    password_hash = TextField()
    created_at = FloatField()

    class Meta:
        table_name = "password_history"


class BannedIpRow(Table):
    ip = TextField(primary_key=True)
    banned_until = FloatField()
    reason = TextField(null=True)

    class Meta:
        table_name = "banned_ips"


class AttemptRow(Table):
    """A call that counts towards a limit. scope: which limit; who: an address or a user."""

    id = AutoField()
    scope = TextField()
    who = TextField()
    at = FloatField(index=True)

    class Meta:
        table_name = "attempts"
        indexes = ((("scope", "who", "at"), False),)


class StatsRow(Table):
    """The figures of a minute; document: JSON."""

    id = AutoField()
    timestamp = FloatField(index=True)
    document = TextField()

    class Meta:
        table_name = "stats_history"


class AuditRow(Table):
    """Who did what. details: a JSON object; hash: the link of this row in the chain."""

    id = AutoField()
    timestamp = FloatField(index=True)
    username = TextField()
    ip = TextField(null=True)
    action = TextField()
    details = TextField()
    hash = TextField()

    class Meta:
        table_name = "audit_logs"


class EventRow(Table):
    """An event for the hubs that share the database; origin: the process it came from. Kept for minutes only."""

    id = AutoField()
    at = FloatField(index=True)
    origin = TextField()
    document = TextField()

    class Meta:
        table_name = "events"


class LeaseRow(Table):
    """Which process does a job that only one may do."""

    name = TextField(primary_key=True)
    owner = TextField()
    until = FloatField()

    class Meta:
        table_name = "leases"


class SharedRecordRow(Table):
    """On Postgres: records of tasks from the logs of all hubs. place: whose data directory; record: JSON."""

    place = TextField()
    run_id = TextField()
    task_id = TextField()
    timestamp = FloatField()
    record = TextField()

    class Meta:
        table_name = "shared_journal"
        primary_key = CompositeKey("place", "run_id")
        indexes = ((("task_id", "timestamp"), False), (("timestamp",), False))


class TaskNumberRow(Table):
    """How many records of runs a task has in the logs of all hubs; with Postgres only."""

    task_id = TextField(primary_key=True)
    step = BigIntegerField()

    class Meta:
        table_name = "task_numbers"


class DelegationRow(Table):
    """A subtask that another agent carries out. token_hash: SHA-256 of what that one shows when it tells how it stands;
    ended_at: since then the token is used up."""

    subtask_id = TextField(primary_key=True)
    task_id = TextField(index=True)
    token_hash = BlobField()
    created_at = FloatField()
    ended_at = FloatField(null=True)

    class Meta:
        table_name = "delegations"


class ScheduleRow(Table):
    """A command that runs again and again; see Entry in domain/schedule.py.

    scope: whose it is, the hubs' together or that of one data directory; approved_digest: what a person has approved;
    held: the policy's decision that keeps it waiting; owner, busy_until: which data directory runs it now, and when that
    must be over."""

    id = TextField(primary_key=True)
    scope = TextField()
    command = TextField()
    interval_seconds = BigIntegerField()
    next_run = FloatField()
    last_run = FloatField(null=True)
    enabled = IntegerField()
    created_by = TextField()
    created_at = FloatField()
    approved_digest = TextField(null=True)
    approved_by = TextField(null=True)
    approved_at = FloatField(null=True)
    held = TextField(null=True)
    misfires = BigIntegerField()
    last_exit_code = BigIntegerField(null=True)
    last_run_id = TextField(null=True)
    owner = TextField(null=True)
    busy_until = FloatField(null=True)

    class Meta:
        table_name = "scheduled_tasks"
        indexes = ((("scope", "next_run"), False),)


class FactRow(Table):
    """What the processes that share the database have to agree on, such as the fingerprint of the key that seals."""

    name = TextField(primary_key=True)
    value = TextField()

    class Meta:
        table_name = "facts"


class SessionRow(Table):
    """A page that is signed in. token_hash, page_hash: SHA-256 of what is in its cookie, and of the token it sends with
    changes; kind: system or user; generation, role: of the user at the sign-in; basis: SHA-256 of the agent token that a
    system session rests on."""

    token_hash = TextField(primary_key=True)
    page_hash = TextField()
    kind = TextField()
    username = TextField()
    role = TextField()
    generation = BigIntegerField()
    basis = TextField()
    signed_in_at = FloatField()
    expires_at = FloatField(index=True)

    class Meta:
        table_name = "sessions"
        indexes = ((("username", "expires_at"), False),)
