"""The console of a worker, in a browser: from the first address to what has run."""
import json

from tests.console.conftest import LOOKS, address, clean, in_background, proposes, violations, watched

FIELD = "What should be done?"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def ask(page, sentence: str) -> None:
    page.get_by_label(FIELD).fill(sentence)
    page.keyboard.press("Enter")


def go(page, name: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=name).click()


def run(page) -> None:
    page.get_by_role("button", name="Run", exact=True).last.click()


def test_from_the_first_address_to_the_first_command(console, worker, llm):
    page = console(worker, signed_in=False)
    page.goto(worker.url + "/")
    page.get_by_text("Open the address").wait_for()
    assert page.locator("nav").count() == 0 and page.url.endswith("/ui/")
    code = address(worker)
    page.goto("about:blank")
    page.goto(code)
    page.locator("nav").wait_for()
    assert "code" not in page.url
    proposes(llm, "echo hello-from-the-console", "It says hello.")
    ask(page, "Say hello")
    card = page.get_by_role("article")
    card.get_by_text("It says hello.").wait_for()
    assert card.locator("pre.command").inner_text().startswith("echo hello-from-the-console")
    card.get_by_text("fake-instruct").wait_for()
    run(page)
    card.locator(".output").get_by_text("hello-from-the-console").wait_for()
    card.get_by_text("done", exact=True).wait_for()
    record = worker.get("/logs?limit=1").json()[-1]
    assert record["command"] == "echo hello-from-the-console" and record["decided_by"] == "console"
    page.goto("about:blank")
    page.goto(code)
    page.locator("nav").wait_for()  # the code is used, the session is there


def test_a_used_address_signs_nobody_in(console, worker):
    code = address(worker)
    first = console(worker, signed_in=False)
    first.goto(code)
    first.locator("nav").wait_for()
    other = console(worker, signed_in=False)
    other.goto(code)
    other.get_by_role("alert").get_by_text("ananta ui").wait_for()
    assert other.locator("nav").count() == 0


def test_signing_out_leaves_nothing_but_the_sign_in(console, worker):
    page = console(worker)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("Open the address").wait_for()
    page.reload()
    page.get_by_text("Open the address").wait_for()
    assert page.locator("nav").count() == 0


def test_the_agent_token_signs_in_too(console, worker):
    page = console(worker, signed_in=False)
    page.goto(worker.url + "/ui/")
    page.get_by_text("Sign in with the agent token").click()
    page.get_by_label("Agent token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    page.get_by_label("Agent token").fill(worker.token)
    page.get_by_role("button", name="Sign in").click()
    page.locator("nav").wait_for()


def test_parts_are_marked_by_their_verdict(console, worker, llm):
    page = console(worker)
    proposes(llm, "ls -la && rm -f ./old.log")
    ask(page, "Look and clean up")
    page.locator(".part.allow").get_by_text("ls -la").wait_for()
    page.locator(".part.ask").get_by_text("rm -f ./old.log").wait_for()
    page.get_by_text("deletes files").wait_for()


def test_what_runs_another_command_is_as_strict_as_that(console, worker, llm):
    page = console(worker)
    proposes(llm, "ls . | xargs rm -rf; sudo rm -rf /; ls .; ls .")
    ask(page, "Hide it")
    page.locator(".part.ask").get_by_text("xargs rm -rf").wait_for()
    page.locator(".part.deny").get_by_text("sudo rm -rf /").wait_for()
    assert page.locator(".part.allow").count() == 3


def test_a_long_command_is_seen_whole_before_a_key_runs_it(console, worker, llm):
    page = console(worker)
    proposes(llm, "\n".join(f"echo line {number}" for number in range(120)) + "\necho the-end")
    ask(page, "Many lines")
    page.get_by_role("button", name="Run", exact=True).wait_for()
    box = page.locator("pre.command")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    card = page.get_by_role("article")
    card.focus()
    page.evaluate("scrollTo(0, 0)")
    page.keyboard.press("r")
    assert page.get_by_role("button", name="Run", exact=True).is_visible() and page.locator(".output").count() == 0
    page.keyboard.press("r")
    page.locator(".pill.good").get_by_text("done", exact=True).wait_for()
    # What is read to those who see nothing takes no room.
    assert page.evaluate("document.documentElement.scrollHeight <= document.querySelector('.frame').offsetHeight + 1")


def test_nothing_hides_the_end_of_a_command(console, worker, llm):
    page = console(worker)
    proposes(llm, "echo " + "a\u200b" * 4000 + "\u200b" * 500 + " hi\U000e0072 \u3164 /home/precious")
    ask(page, "Hide the end")
    box = page.locator("pre.command")
    box.get_by_text("/home/precious").wait_for()
    assert box.locator(".hidden-char").count() == 3000 and "\u200b" not in box.inner_text() and "\ufffd" in box.inner_text()


def test_output_streams_in_and_stop_ends_all_of_it(console, worker, llm):
    page = console(worker)
    proposes(llm, "echo first-line; sleep 300 & sleep 300; echo never")
    ask(page, "Wait for long")
    run(page)
    page.locator(".output").get_by_text("first-line").wait_for()
    assert page.get_by_role("button", name="Stop").is_visible()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stop").wait_for(state="detached")
    assert "never" not in page.locator(".output").inner_text()
    page.locator(".pill.bad").get_by_text("stopped", exact=True).wait_for()
    assert worker.get("/logs?limit=1").json()[-1]["state"] == "interrupted"


def test_a_reload_while_it_runs_loses_nothing(console, worker, llm, tmp_path):
    page = console(worker)
    gate = tmp_path / "gate"
    proposes(llm, f"echo begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo over-now")
    ask(page, "Wait for the gate")
    run(page)
    page.locator(".output").get_by_text("begun").wait_for()
    page.get_by_label(FIELD).fill("half a sent")
    page.reload()
    page.get_by_role("button", name="Stop").wait_for()
    assert page.get_by_label(FIELD).input_value() == "half a sent"
    gate.touch()
    page.locator(".output").get_by_text("over-now").wait_for()


def test_the_outcome_is_told_to_the_model_with_the_next_sentence(console, worker, llm):
    page = console(worker)
    proposes(llm, "echo marker-4711")
    ask(page, "First")
    run(page)
    page.locator(".pill.good").get_by_text("done", exact=True).wait_for()
    ask(page, "And now the second")
    page.get_by_role("article").nth(1).wait_for()
    assert "marker-4711" in json.dumps(llm.posts[-1].body)


def test_no_because_asks_again_with_the_reason(console, worker, llm):
    page = console(worker)
    proposes(llm, "rm -rf ./everything")
    ask(page, "Clean up")
    page.get_by_role("button", name="No, because").click()
    proposes(llm, "ls ./everything")
    page.get_by_label("Why not?").fill("only look, delete nothing")
    page.get_by_role("button", name="Refuse").click()
    page.locator("pre.command").get_by_text("ls ./everything").wait_for()
    assert "only look, delete nothing" in json.dumps(llm.posts[-1].body)
    assert all(each["command"] != "rm -rf ./everything" for each in worker.get("/logs").json())


def test_an_edited_command_runs_and_the_old_one_does_not(console, worker, llm):
    page = console(worker)
    proposes(llm, "echo as-proposed")
    ask(page, "Say it")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("The command as it should be").fill("echo as-edited")
    page.get_by_role("button", name="Use this").click()
    page.locator("pre.command").get_by_text("echo as-edited").wait_for()
    run(page)
    page.locator(".output").get_by_text("as-edited").wait_for()
    page.locator(".pill.good").get_by_text("done", exact=True).wait_for()
    assert worker.get("/logs?limit=1").json()[-1]["command"] == "echo as-edited"


def test_a_denied_command_cannot_be_run(console, worker, llm):
    page = console(worker)
    proposes(llm, "rm -rf /")
    ask(page, "Remove everything")
    page.locator(".part.deny").wait_for()
    assert page.get_by_role("button", name="Run", exact=True).count() == 0


def test_the_inbox_is_live_and_decided_with_the_keyboard(console, worker, llm):
    for each in worker.get("/proposals?limit=1000").json():
        worker.post("/step/reject", json={"proposal_id": each["id"]})
    page = console(worker)
    go(page, "Inbox")
    page.get_by_text("Nothing waits").wait_for()
    for name in ("one", "two", "three"):
        proposes(llm, f"touch ./{name}.txt")
        worker.post("/step/propose", json={"prompt": f"make {name}", "task_id": "T-inbox"})
    cards = page.get_by_role("article")
    cards.nth(2).wait_for()
    assert [text.split("\n")[0] for text in page.locator("pre.command").all_inner_texts()] == [
        "touch ./one.txt (your decision)", "touch ./two.txt (your decision)", "touch ./three.txt (your decision)"] or (
        "touch ./one.txt" in page.locator("pre.command").first.inner_text())
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("n")
    page.keyboard.type("not this one")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Refused: not this one").wait_for()
    page.keyboard.press("Escape")
    cards.first.focus()
    page.keyboard.press("r")
    cards.first.get_by_text("done", exact=True).wait_for()
    states = {each["command"]: each["decided_by"] for each in worker.get("/logs?task_id=T-inbox").json()}
    assert states == {"touch ./one.txt": "console"}
    page.locator(".nav .badge").get_by_text("1").wait_for()
    waiting = worker.get("/proposals").json()
    worker.post("/step/reject", json={"proposal_id": waiting[-1]["id"]})
    cards.nth(2).wait_for(state="detached")


def test_hostile_text_stays_text(console, worker, llm):
    page = console(worker)
    worker.get("/health")
    proposes(llm, "printf '\\033[31mred\\033[0m \\033]0;owned\\007 \\342\\200\\256txt.exe <b>bold</b>\\n'; echo \"" + HOSTILE.replace('"', '\\"') + "\"",
             HOSTILE + " \u202egnp.exe")
    ask(page, HOSTILE)
    page.get_by_role("article").get_by_text("onerror").first.wait_for()
    assert page.locator(".hidden-char").get_by_text("U+202E").first.is_visible()
    run(page)
    page.get_by_text("exit code").or_(page.get_by_text("done", exact=True)).first.wait_for()
    page.locator(".output").get_by_text("<b>bold</b>").wait_for()
    shown = page.locator(".output").inner_text()
    assert "red" in shown and "\u001b" not in shown and "[31m" not in shown and "U+202E" in shown and "\u202e" not in shown
    assert page.locator("main img, main script, main b").count() == 0
    go(page, "Log")
    page.locator(".entry").first.click()
    page.locator(".details .output").wait_for()
    assert "owned" not in page.title() and page.locator("main img, main script").count() == 0


def test_what_is_not_ended_hides_nothing(console, worker, llm):
    page = console(worker)
    proposes(llm, "printf 'ok\\033]0;title\\n'; echo after-it; head -c 400000 /dev/zero; echo THE-END")
    ask(page, "Hide the output")
    run(page)
    page.locator(".output").get_by_text("after-it").wait_for()
    page.get_by_role("button", name="To the end").click()
    page.locator(".output").get_by_text("THE-END").wait_for()


def test_live_output_is_whole_beyond_sixteen_bits_and_written_over(console, worker, llm, tmp_path):
    page = console(worker)
    gate = tmp_path / "gate"
    proposes(llm, f"for i in 1 2 3; do printf '😀😀😀😀 part%s\\n' $i; sleep 0.2; done; for i in 10 20; do printf '%s%%\\r' $i; sleep 0.2; done; "
                  f"while [ ! -e {gate} ]; do sleep 0.05; done")
    ask(page, "Smile")
    run(page)
    screen = page.locator(".output")
    screen.get_by_text("20%").wait_for()
    assert screen.inner_text().split() == ["😀😀😀😀", "part1", "😀😀😀😀", "part2", "😀😀😀😀", "part3", "20%"]
    gate.touch()
    page.locator(".pill.good").wait_for()


def test_what_somebody_else_decides_is_no_question_any_more(console, worker, llm):
    page = console(worker)
    for number, act in enumerate(("execute", "reject")):
        proposes(llm, f"echo elsewhere-{number}")
        ask(page, f"Something {number}")
        card = page.get_by_role("article").nth(number)
        card.get_by_role("button", name="Run", exact=True).wait_for()
        (waiting,) = [each for each in worker.get("/proposals?limit=100").json() if each["command"] == f"echo elsewhere-{number}"]
        assert worker.post(f"/step/{act}", json={"proposal_id": waiting["id"]}).status_code == 200
        card.get_by_role("button", name="Run", exact=True).wait_for(state="hidden")
    page.locator(".output").get_by_text("elsewhere-0").wait_for()


def test_a_megabyte_in_a_line_is_shown_and_the_page_goes_on(console, worker, llm):
    page = console(worker)
    proposes(llm, "head -c 1000000 /dev/zero | tr '\\0' z")
    ask(page, "Print much")
    run(page)
    page.get_by_role("button", name="Show more").wait_for()
    assert len(page.locator(".output").inner_text()) < 100_000
    page.get_by_role("button", name="Show more").click()
    page.get_by_role("button", name="To the end").click()
    left = page.get_by_role("button", name="Show more").inner_text()
    page.get_by_role("button", name="Show more").click()
    assert page.get_by_role("button", name="Show more").inner_text() != left and page.get_by_text("[…]").is_visible()
    go(page, "Log")
    page.locator(".entry").first.wait_for()


def test_ten_megabytes_while_it_runs_stay_bounded(console, worker, llm):
    page = console(worker)
    proposes(llm, "for i in $(seq 40); do head -c 250000 /dev/zero | tr '\\0' y; echo; sleep 0.02; done; echo all-of-it")
    ask(page, "Flood")
    run(page)
    page.locator(".output").get_by_text("all-of-it").or_(page.get_by_role("button", name="To the end")).first.wait_for()
    assert page.evaluate("document.body.textContent.length") < 400_000


def test_a_restart_of_the_agent_is_told_and_survived(console, start, llm):
    agent = start("again", "--host", "127.0.0.1", token="a-token-of-some-length", LMSTUDIO_URL=llm.url)
    page = console(agent)
    page.get_by_label(FIELD).fill("typed before")
    port = agent.url.rsplit(":", 1)[1]
    agent.stop()
    page.get_by_text("The connection is lost").wait_for()
    again = start("again", "--host", "127.0.0.1", "--port", port, token="a-token-of-some-length", LMSTUDIO_URL=llm.url)
    # Already hidden again when this machine is slow.
    page.get_by_text("Connected again").wait_for(state="attached")
    assert page.get_by_label(FIELD).input_value() == "typed before"
    proposes(llm, "echo still-here")
    page.keyboard.press("Enter") if page.get_by_label(FIELD).evaluate("field => field === document.activeElement") else ask(page, "typed before")
    page.get_by_role("article").wait_for()
    assert again.get("/health").status_code == 200


def test_an_ended_sign_in_leads_back_and_keeps_what_was_typed(console, start, llm):
    agent = start("rotated", "--host", "127.0.0.1", token="a-token-of-some-length", LMSTUDIO_URL=llm.url)
    page = console(agent)
    page.get_by_label(FIELD).fill("typed before")
    agent.token = agent.post("/rotate-token").json()["new_token"]
    page.get_by_text("Your sign-in has ended").wait_for()
    page.goto("about:blank")
    page.goto(address(agent))
    page.locator("nav").wait_for()
    assert page.get_by_label(FIELD).input_value() == "typed before"


def test_many_tabs_share_their_streams(console, worker):
    page = console(worker)
    problems: list = []
    tabs = [watched(page.context.new_page(), worker, problems) for _ in range(50)]
    for tab in tabs:
        tab.goto(worker.url + "/ui/#/inbox", wait_until="commit")
    for tab in tabs:
        tab.locator("h1").wait_for()
    proposal = in_background(lambda: worker.post("/step/propose", json={"prompt": "for all tabs"}))
    for tab in tabs:
        tab.locator("article").first.wait_for()
    proposal.join(30)
    assert not problems


def test_the_language_and_the_colours_can_be_chosen(console, worker):
    page = console(worker, language="de-DE", theme="dark")
    page.get_by_role("link", name="Fragen").wait_for()
    assert page.locator("html").get_attribute("lang") == "de"
    page.get_by_label("Farben").select_option("light")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.get_by_label("Farben").select_option("dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    page.get_by_label("Sprache").select_option("en")
    page.get_by_role("link", name="Inbox").wait_for()


def test_the_first_view_asks_only_this_origin_for_little(console, worker):
    page = console(worker)
    sizes = []
    page.on("response", lambda answer: sizes.append(len(answer.body())) if "/ui/" in answer.url and answer.status == 200 else None)
    page.goto(worker.url + "/ui/#/ask")
    page.reload()
    page.get_by_label(FIELD).wait_for()
    assert sum(sizes) < 120_000


@LOOKS
def test_axe_finds_nothing(console, worker, llm, theme, width):
    page = console(worker, theme=theme, width=width, signed_in=False)
    page.goto(worker.url + "/ui/")
    page.get_by_text("Open the address").wait_for()
    found = {"sign-in": violations(page)}
    page.goto("about:blank")
    page.goto(address(worker))
    page.locator("nav").wait_for()
    found["empty"] = violations(page)
    proposes(llm, "ls -la && rm -f ./old.log && rm -rf /")
    ask(page, "Look")
    page.locator(".part.deny").wait_for()
    proposes(llm, "seq 1 200 && false || ls /nowhere && rm -f ./x")
    ask(page, "Count")
    page.locator(".part.ask").last.wait_for()
    found["proposal"] = violations(page)
    run(page)
    page.locator(".output").wait_for()
    page.get_by_role("button", name="Stop").wait_for(state="detached")
    found["ran"] = violations(page)
    worker.post("/step/propose", json={"prompt": "wait", "task_id": "T-axe"})
    go(page, "Inbox")
    page.locator("article").first.wait_for()
    page.get_by_role("button", name="No, because").first.click()
    found["inbox"] = violations(page)
    go(page, "Log")
    page.locator(".entry").first.click()
    found["log"] = violations(page)
    go(page, "Status")
    page.locator(".findings li").first.wait_for()
    found["status"] = violations(page)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    found["keys"] = violations(page)
    clean(page, found)
