"""What a restored database must not bring back, and what it has lost. Works on the open main database.

A state of yesterday knows nothing of what has been decided since: what waits for a decision may have run, and who was signed
out may have been so for a reason.
"""
from ananta.domain.proposals import EXPIRED, OPEN
from ananta.store import database
from ananta.store.vault import FACT, Vault

# Further than users are signed out in all the time that a backup is kept.
GENERATIONS = 1_000_000
SEALED = {"agents": ("token", "previous_token"), "tasks": ("assigned_agent_token", "callback_token"),
          "archived_tasks": ("assigned_agent_token", "callback_token")}


def settle() -> None:
    """Ends what waited for a decision, and signs everybody out. Raises StoreFailed."""
    with database.writing(for_good=True):
        database.change("UPDATE proposals SET state = ? WHERE state = ?", EXPIRED, OPEN)
        database.change("UPDATE users SET generation = generation + ?", GENERATIONS)
        database.change("DELETE FROM refresh_tokens")


def sealed_with_another(secret_key: str) -> bool:
    """Whether tokens in the database were sealed with another key than the one that is made from this."""
    found = database.rows("SELECT value FROM facts WHERE name = ?", FACT)
    return bool(found) and found[0][0] != Vault(secret_key).fingerprint


def sealed() -> list[str]:
    """Returns a line for each kind of what is sealed in the database; empty without any."""
    lines = []
    agents = [row[0] for row in database.rows("SELECT url FROM agents WHERE token IS NOT NULL ORDER BY url LIMIT 21")]
    if agents:
        lines.append("the tokens of the agents " + ", ".join(agents[:20]) + (", …" if len(agents) > 20 else "") +
                     " (they register again by themselves, or assign a task with the token)")
    for column, what in (("assigned_agent_token", "the agent's token of {} assigned tasks (assign them anew)"),
                         ("callback_token", "the callback token of {} tasks")):
        count = database.rows(f"SELECT count(*) FROM tasks WHERE {column} IS NOT NULL")[0][0]
        if count:
            lines.append(what.format(count))
    return lines


def forget_sealed() -> None:
    """Removes what only another key could open, and the note of which key that was. Raises StoreFailed."""
    with database.writing(for_good=True):
        for table, columns in SEALED.items():
            if table != "agents":
                database.change(f"UPDATE {table} SET document = replace(document, ?, ?) WHERE assigned_agent_token IS NOT NULL",
                                '"has_token":true', '"has_token":false')
            for column in columns:
                database.change(f"UPDATE {table} SET {column} = NULL WHERE {column} IS NOT NULL")
        database.change("DELETE FROM facts WHERE name = ?", FACT)
