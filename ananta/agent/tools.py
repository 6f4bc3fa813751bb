"""The functions that a model may ask for: one table, who allows them, and the record of every call.

A tool is a method with a docstring; its signature is its JSON schema and the check of its arguments. The first parameter
is on whose word it is called. Who owns data puts its tools into the table: `Tools.add(*OwnTools(...).all())`.
"""
import functools
import inspect
import logging
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import msgspec

from ananta.agent.configuration import LiveConfiguration
from ananta.domain.prompts import Tool as Offer
from ananta.domain.prompts import clipped
from ananta.domain.redaction import MASK, is_secret_name, masked
from ananta.domain.steps import ToolCall
from ananta.errors import AnantaError
from ananta.store.audit import Audit

log = logging.getLogger(__name__)
NOT_ALLOWED = "tool_not_allowed"
NAME_CHARS, VALUE_CHARS = 100, 300
# What a schema needs for a check and no model for an answer; servers that hold a model to a schema choke on it.
CHECKS = ("title", "pattern", "minLength", "maxLength", "minimum", "maximum", "maxItems", "default")


@dataclass(frozen=True)
class By:
    """On whose word something is called. address: None for what did not come from outside."""

    name: str
    admin: bool
    address: str | None = None


@dataclass(frozen=True)
class ToolResult:
    tool: str
    success: bool
    output: object = None
    error: str | None = None


class Tool:
    """One function of the table, under its own name. changes: whether it changes anything."""

    def __init__(self, function: Callable, *, changes: bool = False):
        self.function, self.changes = function, changes
        self.name: str = function.__name__

    @functools.cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """What the function takes, without on whose word."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        fields = [(name, hints[name], *([] if each.default is each.empty else [each.default]))
                  for name, each in list(inspect.signature(self.function).parameters.items())[1:]]
        return msgspec.defstruct(self.name, fields, forbid_unknown_fields=True, kw_only=True)

    @functools.cached_property
    def schema(self) -> dict:
        """The JSON schema of the arguments."""
        return msgspec.json.schema(self.arguments)["$defs"][self.name]

    @functools.cached_property
    def offer(self) -> Offer:
        """The tool as a model is told of it."""
        needed = self.schema.get("required", ())
        told = {name: _kind(each) + ("" if name in needed else ", optional") for name, each in self.schema["properties"].items()}
        text = inspect.getdoc(self.function) or self.name
        return Offer(self.name, " ".join(text.split()), told, _plain(self.schema))

    def __call__(self, by: By, args: dict) -> object:
        """Returns what the function gives, as plain JSON values. Raises msgspec.ValidationError for other arguments than
        its own, and what the function raises."""
        values = msgspec.convert(args, self.arguments)
        given = {name: getattr(values, name) for name in self.arguments.__struct_fields__}
        return msgspec.to_builtins(self.function(by, **given))


class Tools:
    """The table. Calls what the configuration permits (`llm_tool_allowlist`, `llm_tool_denylist`; the deny list wins) for
    administrators, and keeps in the audit trail what was called and what was not. hide: text → text without the secrets
    that this process knows."""

    def __init__(self, configuration: LiveConfiguration, audit: Audit, hide: Callable[[str], str]):
        self.configuration, self.audit, self.hide = configuration, audit, hide
        self.table: dict[str, Tool] = {}

    def add(self, tools: Iterable[Tool]) -> None:
        self.table.update((each.name, each) for each in tools)

    def permitted(self, name: str) -> bool:
        allowed = self.configuration["llm_tool_allowlist"]
        return (name not in self.configuration["llm_tool_denylist"] and name in self.table
                and (allowed == "*" or "*" in allowed or name in allowed))

    def offered(self, by: By) -> list[Offer]:
        """Returns what a model may be told of for this caller."""
        return [each.offer for name, each in self.table.items() if self.permitted(name)] if by.admin else []

    def changing(self, calls: Iterable[ToolCall]) -> list[str]:
        """Returns the names of those that would change something."""
        return [each.name for each in calls if self.permitted(each.name) and self.table[each.name].changes]

    def blocked(self, calls: Iterable[ToolCall], by: By, *, keep: bool = True) -> list[str]:
        """Returns the names of those that are not permitted, each once. keep: whether the audit trail shall hold it."""
        names = list(dict.fromkeys(each.name for each in calls if not (by.admin and self.permitted(each.name))))
        if names and keep:
            self.audit.write("tool_calls_blocked", username=by.name, ip=by.address, details={
                "tools": [each[:NAME_CHARS] for each in names], "reason": NOT_ALLOWED if by.admin else "admin_required"})
        return names

    def call(self, wanted: ToolCall, by: By) -> ToolResult:
        """Returns what the tool gave; a failure is a result, too. Raises nothing."""
        if self.blocked([wanted], by):
            return ToolResult(wanted.name, False, error=NOT_ALLOWED)
        result = self._called(self.table[wanted.name], wanted, by)
        args = {name: _short(each) for name, each in self.shown(wanted).args.items()}
        kept = {"tool": wanted.name, "args": args, "success": result.success}
        self.audit.write("tool_called", username=by.name, ip=by.address,
                         details=kept if result.success else {**kept, "error": result.error})
        return result

    def _called(self, tool: Tool, wanted: ToolCall, by: By) -> ToolResult:
        try:
            return ToolResult(tool.name, True, output=masked(tool(by, wanted.args), self.hide))
        except AnantaError as error:
            return ToolResult(tool.name, False, error=self.hide(error.message))
        except msgspec.ValidationError as error:
            return ToolResult(tool.name, False, error=f"wrong arguments: {error}")
        except Exception:
            # Others of the same request may have run: what they gave must not be lost.
            log.exception("the tool %s failed unexpectedly", tool.name)
            return ToolResult(tool.name, False, error="Something unexpected failed; the log of this agent says what.")

    def shown(self, call: ToolCall) -> ToolCall:
        """Returns the call as it may stand in a log, before a new secret in it is known as one."""
        args = typing.cast(dict, masked(call.args, self.hide))
        if is_secret_name(str(args.get("key", ""))) and args.get("value") is not None:
            args = {**args, "value": MASK}
        return replace(call, args=args)


def _short(value: object) -> object:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= VALUE_CHARS else clipped(text, VALUE_CHARS)


def _kind(schema: dict) -> str:
    if "enum" in schema:
        return "one of " + " ".join(map(str, schema["enum"]))
    kinds = [each.get("type", "any") for each in schema.get("anyOf", [schema])]
    return " or ".join("list" if each == "array" else each for each in kinds if each != "null")


def _plain(schema: object) -> dict:
    """The schema without what only checks."""
    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {name: {key: plain(each) for key, each in inner.items()} if name == "properties" else plain(inner)
                    for name, inner in value.items() if name not in CHECKS}
        return [plain(each) for each in value] if isinstance(value, list) else value

    return typing.cast(dict, plain(schema))
