"""Files of the data directory exchanged for others, so that everything can be put back: also after a loss of power.

What is about to be moved stands in restoring.json first. While that file is there, no program starts on the directory.
Every step is a rename within one directory tree: no links, and nothing that Windows could not do with closed files.
"""
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ananta.errors import FileDamaged, StoreFailed
from ananta.store import files
from ananta.store.directory import RESTORING


@dataclass(frozen=True)
class Move:
    """One file. target: its place; new: what is put there, None: nothing; kept: where what is there now goes; had: whether
    something is there now. All absolute."""

    target: str
    new: str | None
    kept: str
    had: bool


@dataclass(frozen=True)
class Plan:
    """All moves, in order. schema: in Postgres, where the old tables go."""

    moves: tuple[Move, ...]
    schema: str | None = None


def plan(moves: list[tuple[Path, Path | None, Path]], schema: str | None) -> Plan:
    """Returns the plan for (target, new, kept)."""
    return Plan(tuple(Move(str(target), None if new is None else str(new), str(kept), os.path.lexists(target))
                      for target, new, kept in moves), schema)


def swap(data_dir: Path, plan: Plan) -> None:
    """Moves everything. Raises StoreFailed: then `back` puts back what has moved."""
    files.replace(data_dir / RESTORING, msgspec.json.encode(plan))
    try:
        for move in plan.moves:
            if move.had:
                _folder(Path(move.kept).parent)
                os.rename(move.target, move.kept)
            if move.new is not None:
                _folder(Path(move.target).parent)
                os.rename(move.new, move.target)
        _sync(plan)
    except OSError as cause:
        raise StoreFailed(f"{cause.filename} cannot be moved: {files.reason(cause)}") from cause


def settled(data_dir: Path) -> None:
    """From now on programs start on the new state. Raises StoreFailed."""
    try:
        (data_dir / RESTORING).unlink(missing_ok=True)
        files.sync_directory(data_dir)
    except OSError as cause:
        raise StoreFailed(f"{data_dir / RESTORING} cannot be removed: {files.reason(cause)}") from cause


def interrupted(data_dir: Path) -> Plan | None:
    """Returns the plan of a restoring that was cut off, None without one. Raises FileDamaged."""
    try:
        return msgspec.json.decode((data_dir / RESTORING).read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as cause:
        raise FileDamaged(f"{data_dir / RESTORING} cannot be read: {cause}. The state before lies in the folder before-restore-… beside "
                          "it: move its files back by hand, and remove this one.") from cause


def back(data_dir: Path, plan: Plan, tables_back: Callable[[str], None]) -> None:
    """Puts everything back as it was, however far it had come; may be called again. tables_back(schema): for Postgres.
    Raises StoreFailed."""
    files.replace(data_dir / RESTORING, msgspec.json.encode(plan))
    if plan.schema is not None:
        tables_back(plan.schema)
    try:
        for move in reversed(plan.moves):
            if move.had:
                if os.path.lexists(move.kept):
                    os.replace(move.kept, move.target)
            elif move.new is None or not os.path.lexists(move.new):
                # It is of the new state, or was made by a program that worked on that.
                with suppress(FileNotFoundError):
                    os.unlink(move.target)
        _sync(plan)
    except OSError as cause:
        raise StoreFailed(f"{cause.filename} cannot be moved back: {files.reason(cause)} `ananta restore --undo` tries it again.") from cause
    for folder in sorted({Path(move.kept).parent for move in plan.moves}, key=lambda each: len(each.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
    settled(data_dir)


def _folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(mode=files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        files.owned_like(path, path.parent)


def _sync(plan: Plan) -> None:
    for folder in {Path(each).parent for move in plan.moves for each in (move.target, move.kept)}:
        if folder.is_dir():
            files.sync_directory(folder)
