"""Extensions: from a folder, as module, failing ones, access in either order."""
import pytest

GOOD = '''
"""Greets."""
from agent.auth import admin_required, check_auth, check_user_auth, rotate_token
from ananta.extensions import Blueprint, jsonify

bp = Blueprint("greeting", __name__, url_prefix="/greeting")


@bp.route("/<name>")
@check_auth
def greet(name):
    return {"hello": name}


@admin_required
@bp.route("/admin", methods=["POST"])
def admin():
    return jsonify(done=True)


@bp.route("/user")
@check_user_auth
def user():
    return "a user"


@bp.route("/number/<int:number>", access="open")
def number(number):
    return [number + 1]


@bp.route("/bare")
def bare():
    return "bare"


@bp.route("/broken", access="open")
def broken():
    raise RuntimeError("inside")
'''
INIT = '''
def init_app(app):
    name = app.config["AGENT_NAME"]

    @app.route("/who", methods=["GET"], access="open")
    def who():
        return {"agent": name}

    @app.route("/health", access="open")
    def health():
        return "taken over"
'''


@pytest.fixture
def worker(start, tmp_path):
    folder = tmp_path / "extensions"
    folder.mkdir()
    (folder / "good.py").write_text(GOOD)
    (folder / "with_init.py").write_text(INIT)
    (folder / "broken.py").write_text("raise RuntimeError('at import')\n")
    (folder / "leaving.py").write_text("import sys; sys.exit(3)\n")
    (folder / "nothing.py").write_text("x = 1\n")
    return start("extended", "--host", "127.0.0.1", "--extensions-dir", str(folder), token="a-token-of-some-length",
                 AGENT_EXTENSIONS="good, broken, leaving, missing_module, nothing, with_init", AGENT_NAME="anna")


def test_extensions_serve_under_the_same_rules(worker):
    assert worker.get("/greeting/ada").json() == {"hello": "ada"}
    assert worker.get("/greeting/ada", auth=False).status_code == 401
    assert worker.post("/greeting/admin").json() == {"done": True}
    assert worker.post("/greeting/admin", auth=False).status_code == 401
    assert worker.get("/greeting/user").status_code == 401
    assert worker.get("/greeting/bare", auth=False).status_code == 401
    assert worker.get("/greeting/bare").text == "bare"
    assert worker.get("/greeting/number/41", auth=False).json() == [42]
    assert worker.get("/who", auth=False).json() == {"agent": "anna"}
    assert worker.get("/greeting/number/41", auth=False, headers={"Host": "evil.example"}).status_code == 403
    assert "/greeting/{name}" in worker.get("/openapi.json").json()["paths"]


def test_failing_extensions_are_logged_and_stop_nothing(worker):
    assert worker.get("/health").json() == {"status": "ok"}
    answer = worker.get("/greeting/broken")
    assert answer.status_code == 500 and "inside" not in answer.text
    text = "\n".join(worker.errors)
    for name in ("broken", "leaving", "missing_module"):
        assert f"the extension {name} " in text
    assert "nothing" in text and "/health" in text
