"""The console's view of teams."""


from tests.console.conftest import HOSTILE, LOOKS, clean, go, signed_in_as, violations


def team(page, name: str):
    return page.locator("article.team").filter(has=page.get_by_role("heading", name=name, exact=True))


def stored(hub, name: str) -> dict:
    return next((each for each in hub.get("/teams").json() if each["name"] == name), None)


def test_a_team_is_made_changed_activated_and_removed(console, hub, joined):
    page = console(hub)
    go(page, hub, "teams")
    page.get_by_role("button", name="New team").click()
    page.get_by_label("Name", exact=True).fill("Platform")
    page.get_by_label("Kind of team", exact=True).first.select_option(label="Scrum")
    page.get_by_label("Goal").fill("Keep it running")
    page.get_by_role("button", name="Add a member").click()
    page.locator(".member").get_by_label("Role").select_option(label="Developer")
    page.get_by_role("button", name="Save").click()
    team(page, "Platform").get_by_text("Developer").wait_for()
    made = stored(hub, "Platform")
    assert made["description"] == "Keep it running" and [each["agent_url"] for each in made["members"]] == [joined.url]
    team(page, "Platform").get_by_role("button", name="Make it the active team").click()
    team(page, "Platform").get_by_text("active", exact=True).wait_for()
    team(page, "Platform").get_by_role("button", name="Edit").click()
    page.locator(".member").get_by_role("button", name="Remove").click()
    page.get_by_label("Name", exact=True).fill("Platform two")
    page.get_by_role("button", name="Save").click()
    team(page, "Platform two").get_by_text("Nobody is in it yet.").wait_for()
    team(page, "Platform two").get_by_role("button", name="Remove Platform two").click()
    page.get_by_role("button", name="Yes, remove").click()
    team(page, "Platform two").wait_for(state="detached")
    assert stored(hub, "Platform two") is None


def test_a_scrum_team_comes_with_its_tasks(console, hub):
    page = console(hub)
    go(page, hub, "teams")
    before = len(hub.get("/teams").json())
    page.get_by_role("button", name="Scrum team").click()
    page.get_by_text("A Scrum team with its first tasks is there.").wait_for()
    assert len(hub.get("/teams").json()) == before + 1


def test_kinds_of_team_and_their_roles(console, hub):
    page = console(hub)
    go(page, hub, "teams")
    page.get_by_label("New kind of team").fill("Duty")
    page.keyboard.press("Enter")
    page.get_by_text("Duty is saved.").wait_for()
    page.get_by_label("New role").fill("Watcher")
    page.keyboard.press("Enter")
    page.get_by_text("Watcher is saved.").wait_for()
    kind = page.locator(".kind").filter(has_text="Duty")
    kind.locator("summary").click()
    kind.get_by_label("Another role for Duty").select_option(label="Watcher")
    kind.get_by_role("button", name="Add").click()
    page.locator(".kind").filter(has_text="one role").wait_for()
    kinds = {each["name"]: each for each in hub.get("/teams/types").json()}
    roles = {each["id"]: each["name"] for each in hub.get("/teams/roles").json()}
    assert [roles[each] for each in kinds["Duty"]["role_ids"]] == ["Watcher"]
    page.get_by_role("button", name="Remove Duty").click()
    page.get_by_role("button", name="Yes, remove").click()
    page.locator(".kind").filter(has_text="Duty").wait_for(state="detached")


def test_who_is_no_administrator_only_reads(console, hub):
    page = signed_in_as(console, hub, "visitor")
    go(page, hub, "teams")
    page.locator(".kind").first.wait_for()
    assert page.locator("main").get_by_role("button").count() == 0


@LOOKS
def test_axe_finds_nothing(console, hub, joined, theme, width):
    kind = next(each for each in hub.get("/teams/types").json() if each["role_ids"])
    hub.post("/teams", json={"name": HOSTILE, "description": HOSTILE, "team_type_id": kind["id"],
                             "members": [{"agent_url": joined.url, "role_id": kind["role_ids"][0]}]})
    page = console(hub, theme=theme, width=width)
    go(page, hub, "teams")
    page.locator(".team").first.wait_for()
    page.locator(".kind summary").first.click()
    page.locator(".team").first.get_by_role("button", name="Edit").click()
    clean(page, {"teams": violations(page)})
