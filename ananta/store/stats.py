"""The figures of each minute."""
import msgspec

from ananta.store import database


def add(snapshot: dict, *, keep: int) -> None:
    """Stores the figures of a moment, with its `timestamp`, and removes all but the newest `keep`."""
    with database.writing():
        database.change("INSERT INTO stats_history (timestamp, document) VALUES (?, ?)", snapshot["timestamp"],
                        msgspec.json.encode(snapshot).decode())
        database.change("DELETE FROM stats_history WHERE id < (SELECT min(id) FROM "
                        "(SELECT id FROM stats_history ORDER BY id DESC LIMIT ?) AS newest)", keep)


def newest(limit: int | None = None, offset: int = 0) -> list[str]:
    """Returns the JSON of the newest `limit` snapshots (None: all), oldest first; offset: so many of the newest are
    left out."""
    found = database.rows("SELECT document FROM stats_history ORDER BY id DESC LIMIT ? OFFSET ?",
                          1 << 31 if limit is None else limit, offset)
    return [document for (document,) in reversed(found)]
