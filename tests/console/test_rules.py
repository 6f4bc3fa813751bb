"""The console's views for what is set and what is allowed."""
import json

from ananta.domain.configuration import KEYS
from tests.console.conftest import LOOKS, clean, go, violations

RULES = {"rules": [{"prefix": ["terraform", "plan"], "decision": "allow", "reason": "plans only", "match": ["terraform plan"]}]}


def setting(page, name: str):
    return page.locator(".setting").filter(has=page.get_by_text(name, exact=True))


def test_every_key_is_there_with_its_meaning_and_is_changed(console, hub):
    page = console(hub)
    go(page, hub, "settings")
    page.locator(".setting").first.wait_for()
    assert page.locator(".setting").count() == len(KEYS)
    row = setting(page, "command_timeout")
    assert "a whole number 1 to 3600 s" in row.inner_text() and "·" in row.inner_text()
    row.locator("input").fill("0")
    row.get_by_role("button", name="Save").click()
    row.get_by_role("alert").wait_for()
    assert row.locator("input").input_value() == "0"
    row.locator("input").fill("77")
    page.keyboard.press("Enter")
    row.get_by_text("Saved.").wait_for()
    assert hub.get("/config").json()["command_timeout"] == 77
    row.get_by_role("button", name="command_timeout back to the default").click()
    page.wait_for_function("() => document.getElementById('key-command_timeout').value === '60'")
    row = setting(page, "openai_api_key")
    row.locator("input").fill("sk-of-a-test-0123456789")
    page.keyboard.press("Enter")
    row.get_by_text("Saved.").wait_for()
    assert row.locator("input").input_value() == "" and row.locator("input").get_attribute("placeholder") == "is set"
    row = setting(page, "llm_tool_denylist")
    row.locator("input").fill("delete_template, update_config")
    page.keyboard.press("Enter")
    row.get_by_text("Saved.").wait_for()
    assert hub.get("/config").json()["llm_tool_denylist"] == ["delete_template", "update_config"]
    hub.post("/config", json={"openai_api_key": None, "llm_tool_denylist": None})
    page.get_by_label("Search").fill("seconds to wait nobody knows")
    assert page.locator(".setting:visible").count() == 0


def test_rules_are_tried_over_what_is_on_record_before_they_are_saved(console, start):
    worker = start("rules", "--host", "127.0.0.1", token="a-token-of-some-length", DEFAULT_PROVIDER="mock")
    for command in ("terraform plan", "echo x", "terraform plan"):
        worker.execute(command)
    page = console(worker)
    go(page, worker, "policy")
    page.get_by_label("Command", exact=True).fill("ls -la && rm -f ./x")
    page.get_by_role("button", name="Judge it").click()
    page.locator(".part.ask").get_by_text("rm -f ./x").wait_for()
    text = page.get_by_label("policy.json")
    page.wait_for_function("() => document.querySelectorAll('textarea.code')[1].value.includes('rules')")
    text.fill("{no json")
    page.get_by_role("button", name="Try over what is on record").click()
    page.get_by_role("alert").get_by_text("not JSON").wait_for()
    text.fill(json.dumps({"rules": [{"prefix": ["ls"], "decision": "perhaps"}]}))
    page.get_by_role("button", name="Try over what is on record").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("button", name="Save").is_disabled()
    text.fill(json.dumps(RULES))
    page.get_by_role("button", name="Try over what is on record").click()
    page.locator(".change").get_by_text("terraform plan").first.wait_for()
    page.get_by_text("3 commands on record").wait_for()
    assert worker.get("/policy").json() == {"rules": []}
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved; 1 rules count").wait_for()
    assert worker.get("/policy").json() == RULES
    assert worker.post("/policy/check", json={"command": "terraform plan"}).json()["decision"] == "allow"


def test_a_draft_of_rules_is_not_lost(console, hub):
    page = console(hub)
    go(page, hub, "policy")
    page.wait_for_function("() => document.querySelectorAll('textarea.code')[1].value.includes('rules')")
    page.get_by_label("policy.json").fill('{"rules": [ ]}')
    page.reload()
    page.get_by_text("This is your draft").wait_for()
    assert page.get_by_label("policy.json").input_value() == '{"rules": [ ]}'
    page.get_by_role("button", name="Discard").click()
    assert page.get_by_label("policy.json").input_value() == '{\n  "rules": []\n}'


@LOOKS
def test_axe_finds_nothing(console, hub, theme, width):
    hub.execute("echo for the record")
    page = console(hub, theme=theme, width=width)
    found = {}
    go(page, hub, "settings")
    page.locator(".setting").first.wait_for()
    found["settings"] = violations(page)
    go(page, hub, "policy")
    page.get_by_label("Command", exact=True).fill("ls && rm -f x && rm -rf /")
    page.get_by_role("button", name="Judge it").click()
    page.locator(".part.deny").wait_for()
    page.wait_for_function("() => document.querySelectorAll('textarea.code')[1].value.includes('rules')")
    page.get_by_label("policy.json").fill(json.dumps({"rules": [{"prefix": ["echo"], "decision": "ask", "reason": "why not"}]}))
    page.get_by_role("button", name="Try over what is on record").click()
    page.locator(".change").first.wait_for()
    found["policy"] = violations(page)
    clean(page, found)
