"""The self-unpacking executable → the same program that needs no unpacking.

PyInstaller's executable is a loader with an archive behind it: Python modules, which it reads from there, and libraries
and data, which it unpacks into a temporary folder at every start, in a process of its own that waits for the program.
Without the latter kind in the archive the loader takes them from the folder beside it, and there is one process: the
program itself, which is what a service manager wants to see. Source of the format: PyInstaller 6, PyInstaller/archive/writers.py.
"""
import struct

from ananta.errors import CannotStart

MAGIC = b"MEI\014\013\012\013\016"
COOKIE = struct.Struct("!8sIIII64s")    # magic, length of all, where the table begins, its length, Python's version, its library
ENTRY = struct.Struct("!IIIIBc")        # length, where, stored length, real length, compressed, kind; then the name
STEP = 16                               # an entry's length is a multiple of this
UNPACKED = b"bxZnd"                     # binaries, data, ZIP archives, links, references to other archives


def without_unpacked(program: bytes) -> bytes:
    """Returns the executable without what it would unpack. Raises CannotStart for what is no such executable."""
    at = program.rfind(MAGIC)
    try:
        _, length, table, table_length, version, library = COOKIE.unpack_from(program, at)
        start = at + COOKIE.size - length
        if at < 0 or start < 0 or table + table_length + COOKIE.size > length:
            raise ValueError("its table is not where it should be")
        kept = [each for each in _entries(program, start, table, table_length) if each[1][5] not in UNPACKED]
        if not any(fields[5] == b"z" for _, fields in kept):
            raise ValueError("there are no modules in it")
    except (struct.error, ValueError) as cause:
        raise CannotStart(f"This executable cannot be laid out: it is not packed as expected ({cause}). Install from the folder "
                          "that `python3 build/dev.py` makes, or from source.") from cause
    contents, entries = bytearray(), bytearray()
    for name, (_, where, stored, real, compressed, kind) in kept:
        size = -(-(ENTRY.size + len(name) + 1) // STEP) * STEP
        entries += ENTRY.pack(size, len(contents), stored, real, compressed, kind) + name.ljust(size - ENTRY.size, b"\0")
        contents += program[start + where:start + where + stored]
    cookie = COOKIE.pack(MAGIC, len(contents) + len(entries) + COOKIE.size, len(contents), len(entries), version, library)
    return program[:start] + bytes(contents) + bytes(entries) + cookie


def _entries(program: bytes, start: int, table: int, table_length: int) -> list[tuple[bytes, tuple]]:
    """Returns name and fields of every entry. Raises ValueError and struct.error."""
    found, position, end = [], start + table, start + table + table_length
    while position < end:
        fields = ENTRY.unpack_from(program, position)
        if fields[0] <= ENTRY.size or fields[1] + fields[2] > table:
            raise ValueError("an entry is broken")
        found.append((program[position + ENTRY.size:position + fields[0]].rstrip(b"\0"), fields))
        position += fields[0]
    return found
