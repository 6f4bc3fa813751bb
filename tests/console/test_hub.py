"""The console of a hub: users, the board, a task."""


from tests.console.conftest import LOOKS, PASSWORD, clean, go, in_background, proposes, signed_in_as, violations

HOSTILE = "<img src=x onerror=alert(1)> \u202egnp.exe " + "w" * 300


def task(hub, title: str, **fields) -> str:
    answer = hub.post("/tasks", json={"title": title, "status": "to-do", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def board(page):
    page.goto(page.url.split("#")[0] + "#/board")
    page.locator(".board").wait_for()


def column(page, name: str):
    return page.locator(f'[data-column="{name}"]')


def test_who_gives_the_wrong_password_stays_outside(console, hub):
    page = console(hub, signed_in=False)
    page.goto(hub.url + "/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").get_by_text("wrong").wait_for()
    assert page.get_by_label("User name").input_value() == "admin" and page.locator("nav").count() == 0
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Board").wait_for()


def test_the_next_person_sees_nothing_of_the_one_before(console, hub, llm):
    page = signed_in_as(console, hub, "eve")
    proposes(llm, "echo for-eve")
    field = page.get_by_label("What should be done?")
    field.fill("asked by eve")
    page.keyboard.press("Enter")
    page.get_by_role("article").wait_for()
    field.fill("a draft of eve")
    hub.post("/users/eve/reset-password", json={"new_password": "another long enough one"})
    page.get_by_text("Your sign-in has ended").wait_for()
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator("nav").wait_for()
    assert page.get_by_role("article").count() == 0 and field.input_value() == "" and page.get_by_text("asked by eve").count() == 0


def test_a_card_is_moved_by_mouse_and_by_keyboard(console, hub):
    one, two = task(hub, "Move me by mouse"), task(hub, "Move me by keys")
    page = console(hub)
    board(page)
    card, target = column(page, "to-do").get_by_text("Move me by mouse"), column(page, "in-progress")
    card.wait_for()
    card.hover()
    page.mouse.down()
    box = target.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 100, steps=8)
    page.mouse.up()
    target.get_by_text("Move me by mouse").wait_for()
    page.get_by_role("link", name="Move me by keys").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    column(page, "done").get_by_text("Move me by keys").wait_for()
    page.wait_for_function("id => fetch('/tasks/' + id).then(answer => answer.json()).then(task => task.status === 'done')", arg=two)
    assert hub.get(f"/tasks/{one}").json()["status"] == "in-progress"


def test_a_card_is_moved_by_a_finger_that_holds_it(console, hub):
    task_id = task(hub, "Move me by finger")
    page = console(hub)
    board(page)
    card = column(page, "to-do").get_by_text("Move me by finger")
    card.wait_for()
    finger = page.context.new_cdp_session(page)
    box, target = card.bounding_box(), column(page, "done").bounding_box()

    def touch(kind: str, x: float = 0, y: float = 0) -> None:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}] if kind != "touchEnd" else []})

    touch("touchStart", box["x"] + 20, box["y"] + 8)
    page.locator("body > .tile").wait_for()  # it is lifted once it was held for a moment
    for part in (0.3, 0.7, 1.0):
        touch("touchMove", box["x"] + 20 + part * (target["x"] + 60 - box["x"] - 20), box["y"] + 8 + part * 60)
    touch("touchEnd")
    column(page, "done").get_by_text("Move me by finger").wait_for()
    page.wait_for_function("id => fetch('/tasks/' + id).then(answer => answer.json()).then(task => task.status === 'done')", arg=task_id)


def test_a_swipe_moves_the_board_and_a_held_card_does_too(console, hub):
    task(hub, "Carry me far", status="backlog")
    page = console(hub, width=390)
    board(page)
    card = column(page, "backlog").get_by_text("Carry me far")
    card.wait_for()
    box, place = card.bounding_box(), page.locator(".board")
    x, y = box["x"] + 60, box["y"] + 10
    driver = page.context.new_cdp_session(page)
    touch = lambda kind, *points: driver.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})  # noqa: E731
    touch("touchStart", (x + 150, y))
    for step in range(1, 8):
        touch("touchMove", (x + 150 - 25 * step, y))
    touch("touchEnd")
    page.wait_for_function("() => document.querySelector('.board').scrollLeft > 50")
    place.evaluate("board => board.scrollTo(0, 0)")
    box = card.bounding_box()
    touch("touchStart", (box["x"] + 60, box["y"] + 10))
    page.locator("body > .tile").wait_for()
    touch("touchMove", (380, box["y"] + 10))
    page.wait_for_function("() => { const board = document.querySelector('.board'); return board.scrollLeft + board.clientWidth >= board.scrollWidth - 2; }")
    touch("touchMove", (200, box["y"] + 10))
    touch("touchEnd")
    column(page, "done").get_by_text("Carry me far").wait_for()


def test_the_board_is_live_and_filters(console, hub):
    page = console(hub)
    board(page)
    task_id = task(hub, "Made before", tags=["red"])
    column(page, "to-do").get_by_text("Made before").wait_for()
    hub.request("PATCH", f"/tasks/{task_id}", json={"title": "Made elsewhere"})
    column(page, "to-do").get_by_text("Made elsewhere").wait_for()
    page.get_by_label("Search").fill("elsewhere")
    assert page.locator(".tile").count() == 1
    page.get_by_label("Search").fill("no such words")
    assert page.locator(".tile").count() == 0
    page.get_by_label("Search").fill("")
    hub.post(f"/tasks/{task_id}/archive")
    page.locator(".tile").get_by_text("Made elsewhere").wait_for(state="detached")
    page.get_by_label("What is to be done?").fill("Made here")
    page.get_by_role("button", name="New task").click()
    column(page, "backlog").get_by_text("Made here").wait_for()


def test_many_tasks_stay_few_elements(console, hub):
    for number in range(400):
        task(hub, f"Of many {number}", status="backlog")
    page = console(hub)
    board(page)
    column(page, "backlog").get_by_text("Of many").first.wait_for()
    page.wait_for_function("Number(document.querySelector('[data-column=backlog] small').textContent) >= 400")
    assert page.locator(".tile").count() < 120
    page.locator('[data-column="backlog"] .lane').evaluate("lane => lane.scrollTop = lane.scrollHeight")
    column(page, "backlog").get_by_text("Of many 0", exact=True).wait_for()


def test_a_task_is_proposed_for_decided_and_shows_what_ran(console, hub, llm):
    task_id = task(hub, "Say hello", description="Print a greeting.")
    page = console(hub)
    page.goto(f"{hub.url}/ui/#/task/{task_id}")
    page.get_by_text("Nothing has run for this task yet").wait_for()
    proposes(llm, "echo hello-from-a-task", "It greets.")
    page.get_by_role("button", name="Propose the next step").click()
    page.get_by_role("article").get_by_role("button", name="Run", exact=True).click()
    step = page.locator(".steps > li.good")
    step.get_by_text("hello-from-a-task").first.wait_for()
    assert "decided by admin" in step.inner_text()
    page.get_by_label("Status", exact=True).last.select_option("done")
    page.get_by_text("Saved.").wait_for()
    assert hub.get(f"/tasks/{task_id}").json()["status"] == "done"
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Title").fill("Say hello again")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Say hello again").wait_for()


def test_what_a_worker_runs_for_a_task_is_seen_while_it_runs(console, hub, worker, tmp_path):
    gate, task_id = tmp_path / "gate", task(hub, "Run it there")
    hub.post(f"/tasks/{task_id}/assign", json={"agent_url": worker.url, "token": worker.token})
    page = console(hub)
    page.goto(f"{hub.url}/ui/#/task/{task_id}")
    page.get_by_text("Nothing has run for this task yet").wait_for()
    command = f"echo early-there; while [ ! -e {gate} ]; do sleep 0.05; done; echo late-there"
    asked = in_background(lambda: hub.post(f"/tasks/{task_id}/step/execute", json={"command": command}))
    now = page.locator(".steps > li.now")
    now.get_by_text("early-there").last.wait_for()
    gate.touch()
    page.locator(".steps > li.good").get_by_text("late-there").last.wait_for()
    now.wait_for(state="detached")
    asked.join(30)


def test_a_board_outlives_a_restart_of_its_hub(console, start, llm):
    options = ("--role", "hub", "--host", "127.0.0.1")
    settings = {"token": "hub-token-of-some-length", "LMSTUDIO_URL": llm.url, "INITIAL_ADMIN_PASSWORD": PASSWORD}
    hub = start("again", *options, **settings)
    task(hub, "From before")
    page = console(hub)
    go(page, hub, "board")
    column(page, "to-do").get_by_text("From before").wait_for()
    hub.stop()
    page.get_by_text("The connection is lost").wait_for()
    again = start("again", *options, "--port", hub.url.rsplit(":", 1)[1], **settings)
    page.get_by_text("Connected again").wait_for(state="attached")
    task(again, "From after")
    column(page, "to-do").get_by_text("From after").wait_for()
    assert column(page, "to-do").get_by_text("From before").count() == 1


def test_a_user_who_is_no_administrator_sees_what_is_theirs(console, hub):
    made = hub.post("/login", json={"username": "admin", "password": PASSWORD}, auth=False).json()
    hub.post("/users", json={"username": "ada", "password": "a long enough one"}, headers={"Authorization": f"Bearer {made['access_token']}"})
    page = console(hub, signed_in=False)
    page.goto(hub.url + "/")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("a long enough one")
    page.keyboard.press("Enter")
    page.get_by_text("ada", exact=True).wait_for()
    page.get_by_role("link", name="Status").click()
    page.locator(".findings li").first.wait_for()


@LOOKS
def test_axe_finds_nothing(console, hub, llm, theme, width):
    task_id = task(hub, HOSTILE, description=HOSTILE, tags=["<b>"], status="in-progress")
    hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo one; false"})
    proposes(llm, "rm -f ./x", HOSTILE)
    hub.post(f"/tasks/{task_id}/step/propose", json={})
    page = console(hub, theme=theme, width=width, signed_in=False)
    page.goto(hub.url + "/")
    page.get_by_label("User name").wait_for()
    found = {"sign-in": violations(page)}
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator("nav").wait_for()
    board(page)
    page.locator(".tile").first.wait_for()
    found["board"] = violations(page)
    page.goto(f"{hub.url}/ui/#/task/{task_id}")
    page.locator(".steps > li.bad").wait_for()
    page.get_by_role("article").wait_for()
    found["task"] = violations(page)
    page.get_by_role("button", name="Edit").first.click()
    found["edit"] = violations(page)
    clean(page, found)
