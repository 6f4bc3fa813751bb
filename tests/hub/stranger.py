"""A worker that misbehaves: a real server whose every connection is handled by the test."""
import contextlib
import json
import socket
import threading


class Stranger:
    """Listens on a free port; `answer(number, request, connection)` is called for each request, number counted from 0.
    To /health it says that it is one of ours.

    Returns bytes: they are sent, and the connection stays open; None: the connection ends."""

    def __init__(self, answer):
        self.answer, self.requests, self.connections = answer, [], 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            while request := _read(connection):
                if request["path"].startswith("/health"):
                    connection.sendall(reply({"status": "ok", "version": "0", "role": "worker"}))
                    continue
                self.requests.append(request)
                answer = self.answer(len(self.requests) - 1, request, connection)
                if answer is None:
                    return
                connection.sendall(answer)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for each in self._threads:
            each.join(30)


def _read(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, path, _ = first.split(" ")
    return {"method": method, "path": path, "headers": headers, "body": json.loads(body) if body else None}


def reply(content, status=200, headers=()):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
