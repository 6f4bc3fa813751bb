#!/usr/bin/env python3
"""Writes build/docs/DATABASE.md from the classes of ananta/store/tables.py.

  .venv/bin/python build/database_docs.py            writes the file
  .venv/bin/python build/database_docs.py --check    says whether it is as it would be written (exit code 1 if not)
"""
import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "docs" / "DATABASE.md"
TYPES = {"TEXT": "text", "FLOAT": "number", "BIGINT": "whole number", "INT": "whole number", "AUTO": "whole number, given by the database",
         "BLOB": "bytes"}
HEAD = """# The database

Written by `build/database_docs.py` from `ananta/store/tables.py`; do not edit.

The *main* database is `ananta.db` in the data folder, SQLite, or with `DATABASE_URL` a Postgres that several hubs may share. The *local*
one is always SQLite: without Postgres the same file, with Postgres `journal.db`, because it is the index of the log files of
this data folder. Times are seconds since 1970 in UTC. The tables are made by numbered steps (`ananta/store/migrations.py`), which are
taken at the start, after a copy of the database into `backups/`; `schema_version` says which.
"""


def main() -> int:
    text = document()
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(tables())} tables")
    return 0


def document() -> str:
    """Returns the whole document."""
    from ananta.store import migrations

    steps = "\n".join(f"{number}. `{step.__name__}`" for number, step in enumerate(migrations.STEPS, 1))
    contents = "\n".join(f"- [`{each._meta.table_name}`](#{each._meta.table_name}) ({_place(each)})" for each in tables())
    return "\n".join([HEAD, contents, "", *map(_table, tables()), "## Steps", "", steps, ""])


def tables() -> list:
    """Returns the classes in the order in which they stand in the file."""
    from ananta.store import tables as module

    # What others derive from is no table itself.
    return [each for each in vars(module).values() if inspect.isclass(each) and issubclass(each, module.Model)
            and each.__module__ == module.__name__ and not each.__subclasses__()]


def _place(table) -> str:
    from ananta.store.proxies import local

    return "local" if table._meta.database is local else "main"


def _table(table) -> str:
    meta = table._meta
    about = re.sub(r"\s+", " ", _words(table)).strip()
    lines = [f"## {meta.table_name}", "", *([about, ""] if about else []), "| Column | Type | May be empty | Index |", "|---|---|---|---|"]
    for field in meta.sorted_fields:
        kind = TYPES.get(field.field_type, field.field_type.lower())
        key = "primary key" if field.primary_key or (meta.composite_key and field.name in meta.primary_key.field_names) else \
            "unique" if field.unique else "yes" if field.index else ""
        lines.append(f"| `{field.column_name}` | {kind} | {'yes' if field.null else ''} | {key} |")
    several = [f"- {'unique ' if unique else ''}index on {', '.join(f'`{each}`' for each in fields)}" for fields, unique in meta.indexes]
    return "\n".join([*lines, "", *several, *([""] if several else [])])


def _words(table) -> str:
    """The docstring of the class, or of the one it takes its columns from; "" where nobody has written one."""
    for each in table.__mro__:
        if each.__module__ == table.__module__ and each.__doc__ and not each.__doc__.startswith("In the "):
            return each.__doc__
    return ""


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
