"""What the console costs in a browser.

How: Chromium without a window, beside the servers on this machine. The first view: from the beginning of the navigation until the
field of Ask is there and can be typed into, in a fresh profile; five times, the median. The board: a hub with 10,000 tasks; from
opening its address until the first card is painted, and from pressing the key that moves a card until it is painted in its
column, ten times, the longest. The output: a command that prints 10 MB; the longest time the page painted nothing meanwhile, and its memory
after that. The tabs: fifty with the inbox open, until all of them show what was proposed.
"""
import os
import shutil
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

from playwright.sync_api import sync_playwright

from ananta.domain.tasks import Task
from ananta.store import database, tasks
from tests.bench._measure import line
from tests.conftest import Ananta
from tests.console.conftest import OPTIONS, PASSWORD, address, enter, in_background, proposes
from tests.fake_llm import FakeLLM

TASKS, STARTS, MOVES, TABS = 10_000, 5, 10, 50
FIELD, TILE = "main textarea", ".tile"
# Notes when an element is there for the first time, seen once a frame has been painted with it.
WATCH = """([selector]) => new Promise((found) => {
  const look = () => document.querySelector(selector) ? requestAnimationFrame(() => found(performance.now())) : requestAnimationFrame(look);
  look();
})"""
MOVE = """(id) => new Promise((found) => {
  const card = () => document.querySelector(`[data-task="${id}"]`), column = () => card()?.closest("[data-column]").dataset.column;
  const from = column(), painted = new MessageChannel();
  const press = (key) => card().dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  press(" ");
  const pressed = performance.now();
  press(from === "done" ? "ArrowLeft" : "ArrowRight");
  // What is told within a frame arrives once it is painted.
  painted.port1.onmessage = () => { column() !== from ? found(performance.now() - pressed) : look(); };
  const look = () => requestAnimationFrame(() => painted.port2.postMessage(null));
  look();
})"""
# A function: the page's policy lets no text become code.
ALL_THERE = """(wanted) => [...document.querySelectorAll(".column h2 small")].reduce((sum, each) => sum + Number(each.textContent.replace(/\\D/g, "")), 0) >= wanted"""
FRAMES = """() => {
  window.longest = 0;
  let last = performance.now();
  const look = () => { const now = performance.now(); window.longest = Math.max(window.longest, now - last); last = now; requestAnimationFrame(look); };
  requestAnimationFrame(look);
}"""


def fill(folder: Path) -> None:
    database.open(folder / "data" / "ananta.db", local_path=folder / "data" / "journal.db")
    now, states = time.time(), ("backlog", "to-do", "in-progress", "done")
    for start in range(0, TASKS, 500):
        with database.writing():
            for number in range(start, start + 500):
                tasks.create(Task("", f"Task {number} of many", "what is to be done, in a sentence or two " * 3, status=states[number % 4],
                                  tags=("red",) if number % 3 else (), created_at=now - number, updated_at=now - number))
    database.close()


def first_view(browser, worker: Ananta) -> bool:
    found, sizes = [], []
    for _ in range(STARTS):
        context = browser.new_context()
        page = context.new_page()
        session, received = context.new_cdp_session(page), []
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda told, received=received: received.append(told["encodedDataLength"]))
        page.goto(address(worker), wait_until="commit")
        found.append(page.evaluate(WATCH, [FIELD]))
        page.wait_for_timeout(500)  # what is loaded a little later counts, too
        sizes.append(sum(received) / 1000)
        context.close()
    took, size = statistics.median(found), max(sizes)
    return all([line("first view, until a sentence can be typed", f"{took:.0f} ms", "< 300 ms", took < 300),
                line("  what that took from the network, headers included", f"{size:.0f} kB", "<= 120 kB", size <= 120)])


def board(browser, hub: Ananta) -> bool:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    enter(page, hub)
    firsts = []
    for _ in range(STARTS):
        page.goto("about:blank")
        page.goto(f"{hub.url}/ui/#/board", wait_until="commit")
        firsts.append(page.evaluate(WATCH, [TILE]))
    page.wait_for_function(ALL_THERE, arg=TASKS)
    moved = []
    for _ in range(MOVES):
        task_id = page.locator(f'[data-column="to-do"] {TILE}').first.get_attribute("data-task")
        moved.append(page.evaluate(MOVE, task_id))
    first, longest = statistics.median(firsts), max(moved)
    page.context.close()
    return all([line(f"board of {TASKS:,} tasks, until the first card is painted", f"{first:.0f} ms", "< 500 ms", first < 500),
                line(f"  a moved card, the longest of {MOVES}", f"{longest:.0f} ms", "< 50 ms", longest < 50)])


def flood(browser, worker: Ananta, llm: FakeLLM) -> bool:
    context = browser.new_context()
    page = context.new_page()
    enter(page, worker)
    session = context.new_cdp_session(page)
    session.send("Performance.enable")

    def memory_mb() -> float:
        session.send("HeapProfiler.collectGarbage")
        return next(each["value"] for each in session.send("Performance.getMetrics")["metrics"] if each["name"] == "JSHeapUsedSize") / 1e6

    before = memory_mb()
    proposes(llm, "for i in $(seq 1000); do head -c 10000 /dev/zero | tr '\\0' y; echo; done; echo all-of-it")
    page.locator(FIELD).fill("Flood")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Run", exact=True).wait_for()
    page.evaluate(FRAMES)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Stop").wait_for(state="detached", timeout=120_000)
    page.locator(".pill.good").get_by_text("done", exact=True).wait_for()
    longest, grown = page.evaluate("window.longest"), memory_mb() - before
    characters = page.evaluate("document.body.textContent.length")
    context.close()
    return all([line("10 MB of output: the longest time without a painted frame", f"{longest:.0f} ms", "< 200 ms", longest < 200),
                line(f"  memory beyond before, {characters:,} characters in the page", f"{grown:.1f} MB", "< 30 MB", grown < 30)])


def many_tabs(browser, worker: Ananta, llm: FakeLLM) -> bool:
    context = browser.new_context()
    first = context.new_page()
    enter(first, worker)
    tabs = [context.new_page() for _ in range(TABS)]
    for each in tabs:
        each.goto(worker.url + "/ui/#/inbox")
    for each in tabs:
        each.locator("h1").wait_for()
    proposes(llm, "touch ./for-all-tabs")
    begun = time.monotonic()
    asked = in_background(lambda: worker.post("/step/propose", json={"prompt": "for all tabs"}))
    for each in tabs:
        each.get_by_text("for-all-tabs").first.wait_for()
    took = time.monotonic() - begun
    asked.join()
    context.close()
    return line(f"{TABS} tabs: what was proposed stands in all of them after", f"{took:.1f} s", "< 5 s", took < 5)


def main() -> int:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is missing: apt-get install chromium, or say where it is with CHROMIUM.")
    with ExitStack() as stack:
        driver, llm = stack.enter_context(sync_playwright()), stack.enter_context(FakeLLM())
        browser = driver.chromium.launch(executable_path=chromium, args=OPTIONS)
        stack.callback(browser.close)
        folders = [Path(mkdtemp(prefix="ananta-bench-")) for _ in range(2)]
        for each in folders:
            stack.callback(shutil.rmtree, each, ignore_errors=True)
        fill(folders[1])
        worker = Ananta(folders[0], "--host", "127.0.0.1", token="bench-token-0123456789", LMSTUDIO_URL=llm.url)
        stack.callback(worker.stop)
        hub = Ananta(folders[1], "--role", "hub", "--host", "127.0.0.1", token="bench-token-0123456789", INITIAL_ADMIN_PASSWORD=PASSWORD,
                     LMSTUDIO_URL=llm.url)
        stack.callback(hub.stop)
        return 0 if all([first_view(browser, worker), board(browser, hub), flood(browser, worker, llm), many_tabs(browser, worker, llm)]) else 1


if __name__ == "__main__":
    sys.exit(main())
