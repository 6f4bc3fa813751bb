"""A real browser at real servers. Without Chromium these tests are left out, unless ANANTA_NO_SKIPS asks for all."""
import json
import os
import shutil
import threading

import pytest
from axe_core_python.sync_playwright import Axe

from tests.conftest import Ananta
from tests.fake_llm import FakeLLM

playwright = pytest.importorskip("playwright.sync_api")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]
PASSWORD = "the-first-password"
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp"
WAIT_MS = 30_000  # a guard against hanging
# Both themes, and both widths.
LOOKS = pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        assert not os.environ.get("ANANTA_NO_SKIPS"), "Chromium is missing: apt-get install chromium"
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def console(chromium):
    """Opens the console of an agent: console(agent, language="en", theme="light", width=1280) → a page, signed in."""
    contexts, problems = [], []

    def open_page(agent: Ananta, *, theme: str = "light", width: int = 1280, height: int = 800, language: str = "en-US",
                  signed_in: bool = True):
        context = chromium.new_context(color_scheme=theme, viewport={"width": width, "height": height}, locale=language)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = watched(context.new_page(), agent, problems)
        if signed_in:
            enter(page, agent)
        return page

    yield open_page
    for each in contexts:
        each.close()
    assert not problems, problems


def watched(page, agent: Ananta, problems: list):
    """Notes what no page of ours may do: errors of scripts, violations of the policy, requests to others."""
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text or "TrustedScript" in message.text else None)
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith((agent.url, "data:", "blob:")) else None)
    return page


def enter(page, agent: Ananta) -> None:
    if "hub" in agent.line_with("ananta "):
        page.goto(agent.url + "/")
        page.get_by_label("User name").or_(page.get_by_label("Benutzername")).fill("admin")
        page.locator("input[type=password]").fill(PASSWORD)
        page.locator("form button").click()
    else:
        page.goto(address(agent))
    page.locator("nav").wait_for()


def signed_in_as(console, hub: Ananta, name: str):
    """A page of a new user of that name who is no administrator."""
    made = hub.post("/users", json={"username": name, "password": "a long enough one"})
    assert made.status_code == 200, made.text
    page = console(hub, signed_in=False)
    page.goto(hub.url + "/")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill("a long enough one")
    page.keyboard.press("Enter")
    page.locator("nav").wait_for()
    return page


def violations(page) -> list:
    """What axe finds wrong with the page."""
    return [(each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in Axe().run(page)["violations"]]


def clean(page, found: dict[str, list]) -> None:
    """Nothing was found in any view, nobody's text became an element, and nothing is wider than the page."""
    assert not any(found.values()), json.dumps(found, indent=1)
    assert page.locator("main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def go(page, agent: Ananta, name: str) -> None:
    page.goto(f"{agent.url}/ui/#/{name}")
    page.locator("main h1").wait_for()


def address(agent: Ananta) -> str:
    """A fresh address with a one-time code."""
    return f"{agent.url}/ui/#code={agent.post('/session/code').json()['code']}"


def proposes(model: FakeLLM, command: str, reason: str = "Because it was asked for.") -> None:
    model.answer(json.dumps({"reason": reason, "command": command}))


@pytest.fixture(scope="module")
def llm():
    with FakeLLM() as fake:
        yield fake


@pytest.fixture(scope="module")
def worker(tmp_path_factory, llm):
    running = Ananta(tmp_path_factory.mktemp("worker"), "--host", "127.0.0.1", token="a-token-of-some-length", LMSTUDIO_URL=llm.url)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def hub(tmp_path_factory, llm):
    running = Ananta(tmp_path_factory.mktemp("hub"), "--role", "hub", "--host", "127.0.0.1", token="hub-token-of-some-length",
                     LMSTUDIO_URL=llm.url, INITIAL_ADMIN_PASSWORD=PASSWORD)
    yield running
    running.stop()


def in_background(call) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def joined(hub, worker):
    """The worker, registered at the hub."""
    answer = hub.post("/register", json={"name": "alpha", "url": worker.url, "token": worker.token})
    assert answer.status_code == 200, answer.text
    return worker
