"""The console's views of a hub for agents and templates."""
import json

from tests.conftest import eventually
from tests.console.conftest import HOSTILE, LOOKS, clean, go, signed_in_as, violations
from tests.console.test_hub import task


def test_agents_show_what_they_ran_and_how_another_one_joins(console, hub, joined):
    task_id = task(hub, "Run it at alpha")
    hub.post(f"/tasks/{task_id}/assign", json={"agent_url": joined.url})
    assert hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo ran-at-alpha"}).status_code == 200
    page = console(hub)
    go(page, hub, "agents")
    card = page.locator(".agent").filter(has_text="alpha")
    card.get_by_text("online", exact=True).wait_for()
    card.get_by_text("echo ran-at-alpha").wait_for()
    eventually(lambda: hub.get("/agents").json()["alpha"]["model"])
    page.reload()
    card.get_by_text("fake-instruct").wait_for()
    card.get_by_text("/ 8").wait_for()
    command = page.locator("pre.command")
    assert command.inner_text() == f"sudo ./ananta service install --agent-name alpha --hub-url {hub.url} --agent-url http://10.0.0.5:5000"
    assert page.get_by_role("button", name="Copy").is_disabled()
    page.get_by_label("How").select_option("terminal")
    page.get_by_label("Name", exact=True).fill("it's; rm -rf /")
    page.get_by_label("Address at which").fill("http://build-2:5001")
    assert command.inner_text() == f"./ananta token new\n./ananta --agent-name 'its; rm -rf /' --hub-url {hub.url} --agent-url http://build-2:5001 --port 5001"
    page.get_by_label("Search").fill("no such agent")
    assert page.locator(".agent").count() == 0
    page.get_by_label("Search").fill("ALPHA")
    page.get_by_role("link", name="echo ran-at-alpha").click()
    page.get_by_role("heading", name="Run it at alpha").wait_for()


def test_an_agent_is_removed_after_a_question(console, hub, start):
    gone = start("gone", "--host", "127.0.0.1", "--agent-name", "gone-by-noon", token="another-worker-token")
    assert hub.post("/register", json={"name": "gone-by-noon", "url": gone.url, "token": gone.token}).status_code == 200
    page = console(hub)
    go(page, hub, "agents")
    card = page.locator(".agent").filter(has_text="gone-by-noon")
    card.get_by_role("button", name="Remove gone-by-noon").click()
    card.get_by_role("button", name="Cancel").click()
    card.get_by_role("button", name="Remove gone-by-noon").click()
    page.get_by_label("Search").fill("gone")
    card.get_by_role("button", name="Yes, remove").click()
    card.wait_for(state="detached")
    assert "gone-by-noon" not in hub.get("/agents").json()


def test_a_template_is_written_drafted_changed_and_removed(console, hub, llm):
    page = console(hub)
    go(page, hub, "templates")
    page.get_by_role("button", name="New template").click()
    page.get_by_label("Name", exact=True).fill("Careful")
    llm.answer("Look first. {{task_title}}")
    page.get_by_label("What should the template be for?").fill("careful work")
    page.get_by_role("button", name="Draft by the model").click()
    page.wait_for_function("() => document.querySelector('textarea.code').value.startsWith('Look first.')")
    assert "careful work" in json.dumps(llm.posts[-1].body)
    page.get_by_label("Values of further placeholders").fill("{no json")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").get_by_text("not a JSON object").wait_for()
    page.get_by_label("Values of further placeholders").fill('{"language": "English"}')
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The template is saved.").wait_for()
    stored = next(each for each in hub.get("/templates").json() if each["name"] == "Careful")
    assert stored["prompt_template"] == "Look first. {{task_title}}" and stored["defaults"] == {"language": "English"}
    page.locator(".template").filter(has_text="Careful").click()
    page.get_by_label("Text of the prompt").fill("{{nobody_knows_this}}")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("nobody_knows_this").first.wait_for()
    page.locator("[data-told]").get_by_text("nobody_knows_this").wait_for()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Yes, remove").click()
    page.locator(".template").filter(has_text="Careful").wait_for(state="detached")
    assert "Careful" not in {each["name"] for each in hub.get("/templates").json()}


def test_a_thousand_templates_are_few_elements(console, hub):
    for number in range(150):
        hub.post("/templates", json={"name": f"Of many {number}", "prompt_template": "x"})
    page = console(hub)
    go(page, hub, "templates")
    page.locator(".template").first.wait_for()
    assert page.locator(".template").count() == 60
    page.get_by_label("Search").fill("Of many 149")
    page.locator(".template").get_by_text("Of many 149").wait_for()
    assert page.locator(".template").count() == 1


def test_who_is_no_administrator_reads_only(console, hub):
    hub.post("/templates", json={"name": "AAA to be read", "prompt_template": "read me"})
    page = signed_in_as(console, hub, "reader")
    go(page, hub, "templates")
    page.locator(".template").filter(has_text="AAA to be read").click()
    assert page.get_by_label("Text of the prompt").is_disabled() and page.get_by_role("button", name="Save").count() == 0
    go(page, hub, "agents")
    page.locator("main h1").wait_for()
    assert page.get_by_text("Let a worker join").count() == 0


@LOOKS
def test_axe_finds_nothing(console, hub, joined, theme, width):
    assert joined.url
    hub.post("/templates", json={"name": "0 " + HOSTILE, "prompt_template": HOSTILE, "description": HOSTILE})
    page = console(hub, theme=theme, width=width)
    found = {}
    go(page, hub, "agents")
    page.locator(".agent").first.wait_for()
    found["agents"] = violations(page)
    go(page, hub, "templates")
    page.locator(".template").first.click()
    page.get_by_label("Text of the prompt").wait_for()
    found["templates"] = violations(page)
    clean(page, found)
