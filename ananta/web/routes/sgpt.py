"""The sgpt proxy: a prompt and a few options in, text or a command out."""
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle, request
from msgspec import Meta

from ananta.agent.sgpt import Sgpt
from ananta.errors import InvalidInput
from ananta.web import server
from ananta.web.access import AUTH, Access, Counter


@dataclass
class SgptRequest:
    """options: --shell, --model, --temperature, --top-p, --md, --no-interaction, --cache, --no-cache."""

    prompt: Annotated[str, Meta(max_length=1_000_000)] = ""
    options: list[str] | None = None
    execute: bool = False


class SgptRoutes:
    """POST /api/sgpt/execute, also as /sgpt/execute."""

    def __init__(self, sgpt: Sgpt, access: Access, calls: Counter):
        self.sgpt, self.access, self.calls = sgpt, access, calls

    def mount(self, app: Bottle) -> None:
        for path in ("/api/sgpt/execute", "/sgpt/execute"):
            app.post(path, callback=self.execute, access=AUTH, body=SgptRequest, gives=dict,
                     fails=(403, 409, 429, 500, 502, 503), limited=self._count)

    def execute(self, body: SgptRequest) -> dict:
        """Answers a prompt; with --shell gives a bare command, and with `execute` runs it if the policy allows it
        without a person's decision."""
        caller = server.caller()
        address = self.access.address(request.environ)
        if not body.prompt.strip():
            raise InvalidInput("prompt is missing.", code="missing_prompt", details="prompt")
        return self.sgpt.execute(body.prompt, body.options or [], run=body.execute, caller=caller.name,
                                 address=address)

    def _count(self) -> None:
        caller = server.caller()
        self.calls.count(caller.name if caller.kind == "user" else self.access.address(request.environ))
