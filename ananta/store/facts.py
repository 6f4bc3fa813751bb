"""What all processes on a database have to agree on."""
from ananta.store import database


def agreed(name: str, value: str) -> str:
    """Returns the value that counts: the one of whoever came first, and this one if nobody has."""
    found = database.rows("SELECT value FROM facts WHERE name = ?", name)
    if not found:
        with database.writing():
            database.change("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, value)
        found = database.rows("SELECT value FROM facts WHERE name = ?", name)
    return found[0][0]
