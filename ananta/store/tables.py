"""What is kept in the database. Nobody outside store/ imports this.

The tables are made by the steps in migrations.py; a test compares them with the classes here.
"""
from peewee import BigIntegerField, BlobField, CompositeKey, DatabaseProxy, FloatField, IntegerField, Model, TextField

# The one global: one process has one database. Set by database.open.
database = DatabaseProxy()


class Table(Model):
    class Meta:
        database = database
        legacy_table_names = False


class JournalRow(Table):
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


class JournalPosition(Table):
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


class JournalBreak(Table):
    """Where the log turned out not to be what had been indexed: the first line that was different.

    link: what it had been; record: what it had said; noticed: epoch seconds."""

    link = TextField(primary_key=True)
    noticed = FloatField()
    record = TextField(null=True)

    class Meta:
        table_name = "journal_break"


class ProposalRow(Table):
    """A command that was shown, and what was decided about it; see StoredProposal in domain/proposals.py.

    command, cwd, session, target: UTF-8 to the byte, never masked, because exactly this runs; reasons: a JSON array."""

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
