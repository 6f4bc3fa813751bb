"""Where a command would run, as the policy sees it."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Context:
    """Where a command would run, and what belongs to the program itself.

    credentials_dir: where a service manager has laid out secrets, outside of the data. program: its names and paths; pid: its
    process, outer_pid: that around it when it is the one-file executable, None if unknown or not there. secrets_shielded:
    what nobody decided runs so that it cannot read the program's private files; naming them is denied all the same."""

    cwd: str = "/"
    home: str = "/root"
    data_dir: str = ""
    secrets_dir: str = ""
    credentials_dir: str = ""
    program: tuple[str, ...] = ()
    pid: int | None = None
    outer_pid: int | None = None
    platform: str = "posix"
    secrets_shielded: bool = False

    @property
    def pids(self) -> tuple[str, ...]:
        """The numbers of the program's processes, as they stand in a command line."""
        return tuple(str(each) for each in (self.pid, self.outer_pid) if each is not None)
