"""The console's views for what is set and what is allowed."""
import json
import re

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
    row = setting(page, "openai_api_key")
    assert not row.get_by_role("button").first.is_visible()
    row.locator("input").fill("sk-of-a-test-0123456789")
    page.keyboard.press("Enter")
    row.get_by_text("Saved.").wait_for()
    assert row.locator("input").input_value() == "" and row.locator("input").get_attribute("placeholder") == "is set"
    page.reload()
    row.get_by_role("button", name="openai_api_key back to the default").click()
    row.get_by_text("Forget this secret?").wait_for()
    row.get_by_role("button", name="Cancel").last.click()
    assert hub.get("/config").json()["openai_api_key"] == "********"
    row.get_by_role("button", name="openai_api_key back to the default").click()
    page.keyboard.press("Enter")
    row.get_by_text("Forget this secret?").wait_for(state="detached")
    page.wait_for_function("() => document.getElementById('key-openai_api_key').placeholder === 'not set'")
    assert hub.get("/config").json()["openai_api_key"] is None
    row = setting(page, "llm_tool_denylist")
    row.locator("input").fill("delete_template, update_config")
    page.keyboard.press("Enter")
    row.get_by_text("Saved.").wait_for()
    assert hub.get("/config").json()["llm_tool_denylist"] == ["delete_template", "update_config"]
    hub.post("/config", json={"llm_tool_denylist": None})
    page.get_by_label("Search").fill("seconds to wait nobody knows")
    assert page.locator(".setting:visible").count() == 0


def test_a_default_comes_back_with_save(console, hub):
    hub.post("/config", json={"command_timeout": 77})
    page = console(hub)
    go(page, hub, "settings")
    row = setting(page, "command_timeout")
    default = row.get_by_role("button", name="command_timeout back to the default")
    default.click()
    assert row.locator("input").input_value() == "60" and not default.is_visible()
    assert hub.get("/config").json()["command_timeout"] == 77
    row.get_by_role("button", name="Leave command_timeout as it is").click()
    assert row.locator("input").input_value() == "77"
    default.click()
    row.get_by_role("button", name="Save").click()
    row.get_by_text("Saved.").wait_for()
    assert not default.is_visible()
    assert not next(each for each in hub.get("/config/keys").json() if each["name"] == "command_timeout")["changed"]
    assert not setting(page, "http_timeout").get_by_role("button", name="default").is_visible()


def test_what_the_server_says_is_german_where_that_is_chosen(console, hub, llm):
    page = console(hub, language="de-DE")
    go(page, hub, "settings")
    row = setting(page, "command_timeout")
    assert "Zeitgrenze für Befehle, die keine nennen · eine ganze Zahl von 1 bis 3600 s" in row.inner_text()
    assert page.locator("main [lang=en]").count() == 0
    row.locator("input").fill("0")
    page.keyboard.press("Enter")
    row.get_by_role("alert").get_by_text("command_timeout=0 geht nicht: Erlaubt ist eine ganze Zahl von 1 bis 3600 s.").wait_for()
    go(page, hub, "policy")
    page.get_by_label("Befehl", exact=True).fill("ls; rm x; rm -rf /; export PATH=/y; git push; echo ${x@P}")
    page.get_by_role("button", name="Beurteilen").click()
    for words in ("`rm x` löscht Dateien", "`ls` liest nur", "`export PATH=/y` setzt `PATH`, was Programme anders arbeiten lässt",
                  "`rm -rf /`: `rm` löscht `/`, einen Ordner des Systems oder eines Benutzers, mit allem darin", "spricht mit einem anderen Rechner"):
        page.locator("li .said").get_by_text(words).wait_for()
    assert "parameter transformation" in page.locator("li [lang=en]").inner_text()
    go(page, hub, "status")
    page.get_by_text(re.compile(r"^\d+ Schlüssel im Betrieb geändert$")).wait_for()
    assert "UTC" not in page.locator("main").inner_text()
    llm.error(400, {"error": "on purpose"})
    answers = page.evaluate("""async () => {
      const { get, post } = await import("/ui/api.js");
      const { named } = await import("/ui/text.js");
      const said = async (asked) => (await asked.catch((problem) => problem)).message;
      return [await said(get("/tasks/nowhere")), await said(post("/step/execute", { proposal_id: "P-0" })), await said(post("/teams", { name: 3 })), await said(post("/step/propose", { prompt: "x" })),
        named("priority", "High"), named("priority", "Odd"), named("deed", "login_failed")];
    }""")
    llm.well()
    assert answers[0] == "Die Aufgabe nowhere gibt es nicht (mehr)." and answers[1] == "Diesen Vorschlag gibt es nicht mehr. Fragen Sie noch einmal."
    assert answers[2].startswith("Das geht so nicht: ") and "hat die Frage abgelehnt (400): on purpose. Fragen Sie noch einmal" in answers[3]
    assert answers[4:] == ["Hoch", "Odd", "Anmeldung misslungen"]


def test_an_error_says_what_a_person_does(console, hub, llm):
    page = console(hub)
    llm.error(400, {"error": "on purpose"})
    answers = page.evaluate("""async () => {
      const { get, post } = await import("/ui/api.js");
      const said = async (asked) => (await asked.catch((problem) => problem)).message;
      return [await said(get("/tasks/nowhere")), await said(post("/step/execute", { command: "rm -rf /" })), await said(post("/step/propose", { prompt: "x" }))];
    }""")
    llm.well()
    assert answers[0] == "There is no task nowhere." and answers[1].startswith("The rules deny this command: `rm -rf /`")
    assert "(400): on purpose." in answers[2] and answers[2].endswith("see what Status says of the model, or choose another one in Settings.")


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
