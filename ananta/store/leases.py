"""Jobs that only one of the processes on a database may do."""
from ananta.store import database


def take(name: str, owner: str, until: float, now: float) -> bool:
    """Says whether the job is the owner's until then (epoch seconds): it was free, had run out, or was the owner's."""
    with database.writing():
        return database.change(
            "INSERT INTO leases (name, owner, until) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "owner = excluded.owner, until = excluded.until WHERE leases.owner = excluded.owner OR leases.until <= ?",
            name, owner, until, now) == 1


def give_back(name: str, owner: str) -> None:
    """Ends the lease if it is the owner's."""
    with database.writing():
        database.change("DELETE FROM leases WHERE name = ? AND owner = ?", name, owner)
