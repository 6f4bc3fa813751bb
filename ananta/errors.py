"""What can go wrong, drawn as a tree.

    AnantaError
    ├── InvalidInput ─────── Unprocessable, TooLarge
    ├── NotAuthenticated
    ├── NotAllowed ───────── CommandDenied, HostNotAllowed, OriginNotAllowed, AccountLocked
    ├── NotFound ─────────── MethodNotAllowed
    ├── Conflict ─────────── ApprovalRequired
    ├── TooManyRequests
    ├── Unavailable ──────── Busy, ShuttingDown, StoreFailed (JournalFailed), BreakerOpen
    ├── Upstream ─────────── ForwardingFailed, DelegationFailed, LLMFailed (LLMUnreachable, LLMTimeout, LLMRefused, LLMNoModel, LLMBadAnswer)
    ├── ShellFailed, RanUnrecorded
    └── CannotStart ──────── SettingInvalid, DirectoryBusy, FileDamaged, NotThereYet

An error's text is a sentence for the person who has to act; `code` is for programs. The status it becomes
stands in web/responses.py, and nowhere else.
"""


class AnantaError(Exception):
    """Everything raised on purpose. `extras` become top-level fields of the error answer."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, details: str | None = None, **extras: object):
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details = details
        self.extras = extras


class InvalidInput(AnantaError):
    """The request is wrong; the message names the field."""

    code = "invalid_value"


class Unprocessable(InvalidInput):
    """A body that does not fit its schema; `errors` lists {loc, msg, type}."""

    code = "validation_failed"


class TooLarge(InvalidInput):
    code = "payload_too_large"


class NotAuthenticated(AnantaError):
    """Credentials are missing or do not verify."""

    code = "unauthorized"


class NotAllowed(AnantaError):
    """Who asks is known and may not do this."""

    code = "forbidden"


class CommandDenied(NotAllowed):
    """The policy refuses a command; `reasons` says why."""

    code = "command_denied"


class HostNotAllowed(NotAllowed):
    code = "host_not_allowed"


class OriginNotAllowed(NotAllowed):
    code = "origin_not_allowed"


class AccountLocked(NotAllowed):
    """Too many wrong passwords; `retry_after` (seconds) says when to try again."""

    code = "account_locked"


class NotFound(AnantaError):
    code = "not_found"


class MethodNotAllowed(NotFound):
    code = "method_not_allowed"


class Conflict(AnantaError):
    code = "conflict"


class ApprovalRequired(Conflict):
    """A command needs a person's decision, and nobody is there to take it."""

    code = "approval_required"


class TooManyRequests(AnantaError):
    code = "rate_limited"


class Unavailable(AnantaError):
    """Not now; `retry_after` (seconds) says when to ask again."""

    code = "service_unavailable"


class Busy(Unavailable):
    """Every place for this kind of work is taken."""

    code = "busy"


class ShuttingDown(Unavailable):
    code = "shutdown_in_progress"


class RanUnrecorded(AnantaError):
    """A command has run, and its record could not be written yet; its outcome is in the extras."""

    code = "ran_but_not_recorded"


class BreakerOpen(Unavailable):
    """Too many failures in a row; calls are refused for a while."""

    code = "service_unavailable"


class StoreFailed(Unavailable):
    """The database or a file of the data directory cannot be read or written."""


class JournalFailed(StoreFailed):
    """The record of a run cannot be written."""

    code = "journal_failed"


class Upstream(AnantaError):
    """Another service failed us."""

    code = "upstream_failed"


class ForwardingFailed(Upstream):
    """A worker did not do what the hub handed on to it; `details` holds its status and code, never a token."""

    code = "forwarding_failed"


class DelegationFailed(Upstream):
    """Another agent did not take a subtask; `details` holds its status and code, never a token."""

    code = "delegation_failed"


class LLMFailed(Upstream):
    """A model call gave no usable answer; the message names the cure."""

    code = "llm_failed"


class LLMUnreachable(LLMFailed):
    """Nothing answers at the address."""


class LLMTimeout(LLMFailed):
    """No answer within the time budget."""


class LLMRefused(LLMFailed):
    """The server answered with an error of its own: a wrong key, an unknown model, a prompt too long."""


class LLMNoModel(LLMFailed):
    """The server answers, but has no model to use."""


class LLMBadAnswer(LLMFailed):
    """Something answered that does not speak the protocol: HTML, a cut-off body, an empty text."""


class ShellFailed(AnantaError):
    """No shell could be started."""

    code = "shell_failed"


class CannotStart(AnantaError):
    """The program refuses to start; the message is the one line that says why and what to do."""

    code = "cannot_start"


class SettingInvalid(CannotStart):
    code = "setting_invalid"


class DirectoryBusy(CannotStart):
    """Another process uses this data directory."""

    code = "directory_busy"


class NotThereYet(CannotStart):
    """Something that is elsewhere cannot be used now: a later start may find it."""


class FileDamaged(CannotStart):
    """A file cannot be understood; it is left as it is."""

    code = "file_damaged"
