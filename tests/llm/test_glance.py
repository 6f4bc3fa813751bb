"""The light look at a model server; the heavy way is tested in test_calls.py."""
import socket
import subprocess
import sys
import threading

import pytest

from ananta.llm import glance
from tests.conftest import ROOT


def look(url, **options):
    return glance.get(url, {"Accept": "application/json"}, **{"timeout_s": 20, "max_bytes": 1 << 20, "uses": lambda _: None,
                                                              **options})


def test_status_headers_and_body_come_back(model):
    status, headers, body = look(f"{model.url}/v1/models")
    assert status == 200 and headers["content-type"].startswith("application/json") and b"fake-instruct" in body
    assert look(f"{model.url}/nowhere")[0] == 404


@pytest.fixture
def says():
    """A server that says exactly these bytes."""
    listeners = []

    def begin(content: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(content)

        thread = threading.Thread(target=answer)
        thread.start()
        listeners.append(thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models"

    yield begin
    for each in listeners:
        each.close() if isinstance(each, socket.socket) else each.join()


@pytest.mark.parametrize(("content", "error"), [
    (b"", EOFError), (b"SSH-2.0-x\r\n\r\n", ValueError), (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{}", EOFError),
    (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 200_000, ValueError)])
def test_what_is_no_whole_answer_is_an_error(says, content, error):
    with pytest.raises(error):
        look(says(content), max_bytes=1000)


def test_a_refused_connection_is_one():
    with pytest.raises(ConnectionRefusedError):
        look("http://127.0.0.1:1/v1/models")


def test_a_look_does_not_import_requests(model):
    script = ("import sys; from ananta.llm.catalog import LanguageModels, Target\n"
              f"found = LanguageModels(locate_local=False).models(Target('lmstudio', 'auto', {model.url!r}, None, 'chat'), 20)\n"
              "print(found, 'requests' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['fake-instruct'] False\n"
