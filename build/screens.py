"""Pictures of every view of the console, into build/docs/screens/: light, dark, and as wide as a phone.

  python3 build/dev.py screens [VIEW …]

A hub and a worker are started with the data of a small team; a made-up model server answers. Needs Chromium.
"""
import json
import os
import shutil
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import sync_playwright  # noqa: E402

from tests.conftest import Ananta  # noqa: E402
from tests.console.conftest import OPTIONS, PASSWORD, address, enter  # noqa: E402
from tests.fake_llm import FakeLLM  # noqa: E402

SCREENS = ROOT / "build" / "docs" / "screens"
LOOKS = {"light": ("light", 1280, 800), "dark": ("dark", 1280, 800), "phone": ("light", 390, 844)}
SETTLED_MS, QUALITY = 700, 82
TASKS = (
    ("Free space on the build server", "The disk of build-2 fills up each week. Find out what grows, and propose what may go.", "in-progress", ["ops"]),
    ("Rotate the access logs", "Weekly, keep eight, compressed.", "to-do", ["ops", "logs"]),
    ("Upgrade OpenSSL on the gateways", "Both gateways, one after the other, with a check between them.", "to-do", ["security"]),
    ("Why is the nightly backup slow?", "It took 40 minutes longer since Tuesday.", "to-do", ["backup"]),
    ("Certificates that end this quarter", "A list with host, name and date.", "in-progress", ["security"]),
    ("Remove the users who left", "See the list of last month.", "backlog", ["people"]),
    ("Try the new mirror", None, "backlog", []),
    ("Describe the restore in the handbook", "With the commands, from a run that worked.", "backlog", ["docs"]),
    ("Index the orders by customer", "The report waits for it.", "done", ["database"]),
    ("Alert when a unit fails", "To the channel of the team.", "done", ["ops"]),
)


def main() -> int:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("Chromium is missing: apt-get install chromium, or say where it is with CHROMIUM.")
        return 1
    wanted = set(sys.argv[1:])
    SCREENS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ananta-screens-")))
        driver, llm = stack.enter_context(sync_playwright()), stack.enter_context(FakeLLM(models=[{"id": "qwen2.5-coder-7b-instruct", "loaded_context_length": 8192}]))
        browser = driver.chromium.launch(executable_path=chromium, args=OPTIONS)
        stack.callback(browser.close)
        hub = _begin(stack, folder, "hub", "--role", "hub", INITIAL_ADMIN_PASSWORD=PASSWORD, LMSTUDIO_URL=llm.url)
        workers = [_begin(stack, folder, name, "--agent-name", name, "--hub-url", hub.url, LMSTUDIO_URL=llm.url)
                   for name in ("build-2", "gateway-1")]
        shown = _team(hub, workers, llm)
        for look, (theme, width, height) in LOOKS.items():
            context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": height}, locale="en-GB")
            page = context.new_page()
            _take(page, "sign-in", look, wanted, lambda page=page: page.goto(hub.url + "/"))
            enter(page, hub)
            for name, place in _views(page, shown):
                _take(page, name, look, wanted, lambda place=place, page=page: page.goto(f"{hub.url}/ui/#/{place}"))
            context.close()
            context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": height}, locale="en-GB")
            page = context.new_page()
            page.goto(address(workers[0]))
            page.locator("nav").wait_for()
            _take(page, "ask", look, wanted, lambda page=page: _ask(page, llm))
            context.close()
    print(f"{len(list(SCREENS.glob('*.jpg')))} pictures, {sum(each.stat().st_size for each in SCREENS.glob('*.jpg')) / 1e6:.1f} MB")
    return 0


def _begin(stack: ExitStack, folder: Path, name: str, *arguments: str, **settings: str) -> Ananta:
    (folder / name).mkdir()
    made = Ananta(folder / name, "--host", "127.0.0.1", *arguments, token=f"token-of-{name}-0123456789", **settings)
    stack.callback(made.stop)
    return made


def _views(page, task_id: str) -> list[tuple[str, str]]:
    """Every view of the menu, and the ones that are reached from others."""
    names = [each.get_attribute("data-view") for each in page.locator(".nav a").all()]
    return [(name, name) for name in names if name != "ask"] + [("task", f"task/{task_id}"), ("account", "account")]


def _take(page, name: str, look: str, wanted: set[str], show) -> None:
    if wanted and name not in wanted:
        return
    page.goto("about:blank") if name not in ("sign-in", "ask") else None
    show()
    page.locator("h1").first.wait_for()
    if name == "status":
        page.locator(".findings li").nth(8).wait_for()
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=SCREENS / f"{name}-{look}.jpg", type="jpeg", quality=QUALITY)


def _ask(page, llm: FakeLLM) -> None:
    _answers(llm, "df -h / && du -xsh /var/log", "Shows how full the disk is, and how much of it the logs take.")
    _say(page, "How full is the disk, and is it the logs?")
    page.get_by_role("button", name="Run", exact=True).last.click()
    page.locator(".pill.good, .pill.bad").last.wait_for()
    _answers(llm, "journalctl --disk-usage && rm -f /var/log/*.gz", "Old logs that are packed already can go; the journal is only asked.")
    _say(page, "Make some room there")
    page.locator(".part.ask").last.wait_for()


def _say(page, sentence: str) -> None:
    page.locator("main textarea").fill(sentence)
    page.keyboard.press("Enter")


def _answers(llm: FakeLLM, command: str, reason: str) -> None:
    llm.answer(json.dumps({"reason": reason, "command": command}))


def _team(hub: Ananta, workers: list[Ananta], llm: FakeLLM) -> str:
    """Fills the hub; returns the task that is looked at."""
    def made(path: str, **fields) -> dict:
        answer = hub.post(path, json=fields)
        assert answer.ok, answer.text
        return answer.json()

    for name, role in (("ada", "admin"), ("grace", "user"), ("linus", "user")):
        made("/users", username=name, password="a long enough password", role=role)
    made("/templates", name="Careful operator", description="For machines that others use", prompt_template="You work on {{agent_name}} for "
         "{{team_name}}. Look first, change as little as possible, and say why.\n\n{{task_title}}: {{task_description}}")
    made("/templates", name="Read only", description="For questions", prompt_template="Answer with one command that only reads: {{task_title}}")
    made("/teams/setup-scrum", name="Platform")
    ids = []
    for title, text, status, tags in reversed(TASKS):
        ids.append(made("/tasks", title=title, description=text, status=status, tags=tags)["id"])
    first = ids[-1]
    urls = _registered(hub, len(workers))
    made(f"/tasks/{first}/assign", agent_url=urls["build-2"])
    made(f"/tasks/{ids[5]}/assign", agent_url=urls["gateway-1"])
    for command in ("df -h /", "ls -d /var/log /var/cache /tmp", "echo '/var/cache/build 41G' && false"):
        hub.post(f"/tasks/{first}/step/execute", json={"command": command, "reason": "to see what grows"})
    hub.post(f"/tasks/{ids[5]}/step/execute", json={"command": "echo 'gateway-1 2026-12-19' > certificates.txt"})
    _answers(llm, "find /var/cache/build -mtime +30 -delete", "What nobody has used for a month can be built again.")
    made(f"/tasks/{first}/step/propose", prompt="Make room, carefully")
    _answers(llm, "systemctl restart nginx", "The new certificates count after a restart.")
    made(f"/tasks/{ids[5]}/step/propose", prompt="Let the new certificates count")
    return first


def _registered(hub: Ananta, count: int) -> dict[str, str]:
    waiting = threading.Event()
    for _ in range(200):
        found = hub.get("/agents?format=list").json()
        if len(found) >= count:
            return {each["name"]: each["url"] for each in found}
        waiting.wait(0.1)
    raise SystemExit("The workers have not registered.")


if __name__ == "__main__":
    raise SystemExit(main())
