"""A model server for tests and benches: real HTTP, answers from a list, faults on request.

    with FakeLLM('{"reason": "a", "command": "ls"}') as llm:
        llm.error(500, times=2)         # the next two questions fail, then it answers
        ...                             # ask llm.openai_url, llm.ollama_url or llm.anthropic_url
        assert llm.posts[0].body["model"] == "fake-instruct"

As a program: python3 tests/fake_llm.py --port 1234 --answer '{"reason": "a", "command": "ls"}' --delay 0.5
"""
import argparse
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = '{"reason": "List the files.", "command": "ls"}'
MODEL = "fake-instruct"
QUESTIONS = {"/v1/chat/completions": "openai", "/v1/completions": "openai", "/api/generate": "ollama",
             "/v1/messages": "anthropic"}


@dataclass(frozen=True)
class Seen:
    """One request as it came in; header names in lower case, body decoded, None without one."""

    method: str
    path: str
    headers: dict = field(repr=False)
    body: dict | None


class FakeLLM:
    """Speaks the formats of OpenAI, Ollama and Anthropic at once; `kinds` leaves some out (404).

    answers: texts given in turn, the last one for good. Faults apply to questions (POST), not to the list of models;
    `times` limits them to that many questions, later faults wait for earlier ones. requests: all that came in;
    connections: how often somebody connected."""

    def __init__(self, *answers: str, models: Sequence[str | dict] = (MODEL,), port: int = 0, host: str = "127.0.0.1",
                 kinds: Sequence[str] = ("openai", "ollama", "anthropic")):
        self.requests: list[Seen] = []
        self.connections = 0
        self.models = list(models)
        self.kinds = tuple(kinds)
        self._answers = deque(answers or (ANSWER,))
        self._faults: deque[list] = deque()
        self._schema_refused: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._server = _Server((host, port), _Handler)
        self._server.fake = self
        self.port = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self.openai_url, self.ollama_url, self.anthropic_url = f"{self.url}/v1", self.url, f"{self.url}/v1/messages"

    def __enter__(self) -> "FakeLLM":
        # Polling every 0.5 s, as is usual, would make every test that much longer.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    @property
    def posts(self) -> list[Seen]:
        return [seen for seen in self.requests if seen.method == "POST"]

    def answer(self, *answers: str) -> None:
        """From now on these, in turn."""
        with self._lock:
            self._answers = deque(answers)

    def json_schema_unsupported(self, *, json_object_too: bool = False) -> None:
        """A 400 for every question with a schema, and with plain JSON mode if json_object_too."""
        self._schema_refused = ("json_schema", "json_object") if json_object_too else ("json_schema",)

    def no_models(self) -> None:
        """Nothing in the list of models, and LM Studio's words when asked all the same."""
        self.models = []
        self.error(404, {"error": "No models loaded. Please load a model in the developer page."})

    def hang(self, times: int | None = None) -> None:
        """Takes the question and never says a word."""
        self._add(lambda handler: self._closing.wait(60), times)

    def drip(self, times: int | None = None, *, pause_s: float = 0.02, headers_too: bool = False) -> None:
        """Sends a byte now and then, without end."""
        self._add(lambda handler: handler.drip(pause_s, headers_too), times)

    def html(self, times: int | None = None) -> None:
        self._add(lambda handler: handler.send(200, b"<!doctype html><title>Router</title>", "text/html"), times)

    def cut_off(self, times: int | None = None) -> None:
        """Half of the JSON, with a Content-Length that fits it."""
        self._add(lambda handler: handler.send(200, b'{"choices": [{"message": {"conte'), times)

    def close_midway(self, times: int | None = None) -> None:
        """Half of the body that was announced, then the end of the connection."""
        self._add(lambda handler: handler.send(200, b'{"choices": [', length=1000), times)

    def loading_503(self, times: int | None = None) -> None:
        self.error(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, times=times)

    def empty(self, times: int | None = None) -> None:
        """An answer of no words."""
        self._add(lambda handler: handler.say(""), times)

    def error(self, status: int, body: object = None, *, times: int | None = None, headers: dict | None = None) -> None:
        """body: sent as JSON; without one an error in OpenAI's form."""
        value = {"error": {"message": f"fake error {status}", "code": status}} if body is None else body
        self._add(lambda handler: handler.send(status, json.dumps(value).encode(), headers=headers), times)

    def raw(self, status: int, content: bytes, *, times: int | None = None, headers: dict | None = None) -> None:
        self._add(lambda handler: handler.send(status, content, headers=headers), times)

    def slow(self, seconds: float, times: int | None = None) -> None:
        """Thinks for seconds, then answers."""
        self._add(lambda handler: (self._closing.wait(seconds), handler.say(self.next_answer())), times)

    def well(self) -> None:
        """No faults any more."""
        with self._lock:
            self._faults.clear()
            self._schema_refused = ()

    def next_answer(self) -> str:
        with self._lock:
            return self._answers.popleft() if len(self._answers) > 1 else self._answers[0]

    def _add(self, act: Callable[["_Handler"], object], times: int | None) -> None:
        with self._lock:
            self._faults.append([act, times])

    def fault(self) -> Callable[["_Handler"], object] | None:
        with self._lock:
            while self._faults and self._faults[0][1] == 0:
                self._faults.popleft()
            if not self._faults:
                return None
            if self._faults[0][1] is not None:
                self._faults[0][1] -= 1
            return self._faults[0][0]


class _Server(ThreadingHTTPServer):
    daemon_threads = False      # server_close waits for them: nothing of one test reaches into the next
    request_queue_size = 128
    fake: FakeLLM

    def get_request(self):
        connection, address = super().get_request()
        self.fake.connections += 1
        self.fake._sockets.add(connection)
        return connection, address

    def shutdown_request(self, request) -> None:
        self.fake._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        fake = self._noted(None)
        entries = [model if isinstance(model, dict) else {"id": model, "name": model} for model in fake.models]
        if self.path == "/v1/models" and {"openai", "anthropic"} & set(fake.kinds):
            self._json(200, {"object": "list", "data": entries})
        elif self.path == "/api/tags" and "ollama" in fake.kinds:
            self._json(200, {"models": entries})
        else:
            self._json(404, {"error": {"message": "File Not Found", "code": 404}})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(content) if content else None
        fake = self._noted(body)
        if QUESTIONS.get(self.path) not in fake.kinds:
            self._json(404, {"error": {"message": "File Not Found", "code": 404}})
            return
        fault = fake.fault()
        if fault is not None:
            fault(self)
            return
        asked = _form(body or {})
        if asked in fake._schema_refused:
            self._json(400, {"error": f"'response_format.type' {asked} is not supported"})
        else:
            self.say(fake.next_answer())

    def say(self, text: str) -> None:
        """The text as an answer in the format of the path."""
        model = (self.server.fake.requests[-1].body or {}).get("model", MODEL)
        if self.path == "/api/generate":
            self._json(200, {"model": model, "response": text, "done": True})
        elif self.path == "/v1/messages":
            self._json(200, {"model": model, "role": "assistant", "content": [{"type": "text", "text": text}]})
        elif self.path == "/v1/completions":
            self._json(200, {"model": model, "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]})
        else:
            message = {"role": "assistant", "content": text}
            self._json(200, {"model": model, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def send(self, status: int, content: bytes, kind: str = "application/json", *, length: int | None = None,
             headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length or len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if length is not None:
            self.close_connection = True

    def drip(self, pause_s: float, headers_too: bool) -> None:
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: " if headers_too
                             else b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not self.server.fake._closing.wait(pause_s):
                self.wfile.write(b" ")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _json(self, status: int, value: object) -> None:
        self.send(status, json.dumps(value).encode())

    def _noted(self, body: dict | None) -> FakeLLM:
        fake = self.server.fake
        fake.requests.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        return fake


def _form(body: dict) -> str | None:
    """What was asked for, in OpenAI's words."""
    if "format" in body:
        return "json_schema" if isinstance(body["format"], dict) else "json_object"
    return (body.get("response_format") or {}).get("type")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answer", action="append", help="given in turn; may stand more than once")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="seconds before each answer")
    parser.add_argument("--model", default=MODEL)
    options = parser.parse_args()
    with FakeLLM(*(options.answer or [ANSWER]), models=[options.model], port=options.port) as llm:
        if options.delay:
            llm.slow(options.delay)
        print(f"base_url={llm.openai_url}", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
