"""The console's views for administrators of a hub: users and audit."""
import json

from tests.console.conftest import HOSTILE, LOOKS, clean, go, signed_in_as, violations


def person(page, name: str):
    return page.locator(".entries > li").filter(has=page.get_by_text(name, exact=True))


def signs_in(hub, name: str, password: str) -> bool:
    return hub.post("/login", json={"username": name, "password": password}, auth=False).status_code == 200


def test_a_user_is_added_changed_and_removed(console, hub):
    page = console(hub)
    go(page, hub, "users")
    person(page, "admin").get_by_text("(you)").wait_for()
    page.get_by_label("User name").fill("grace")
    page.get_by_label("First password").fill("short")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("User name").input_value() == "grace"
    page.get_by_label("First password").fill("a long enough password")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("grace can sign in now.").wait_for()
    assert signs_in(hub, "grace", "a long enough password") and page.get_by_role("alert").count() == 0
    page.get_by_label("Role of grace").select_option("admin")
    page.get_by_text("grace has another role").wait_for()
    assert {each["username"]: each["role"] for each in hub.get("/users").json()}["grace"] == "admin"
    person(page, "grace").get_by_role("button", name="New password").click()
    page.locator(".details input").fill("another long password")
    page.keyboard.press("Enter")
    page.get_by_text("grace has a new password").wait_for()
    assert signs_in(hub, "grace", "another long password") and not signs_in(hub, "grace", "a long enough password")
    person(page, "grace").get_by_role("button", name="Remove grace").click()
    page.get_by_role("button", name="Yes, remove").click()
    page.get_by_text("grace is removed.").wait_for()
    assert "grace" not in {each["username"] for each in hub.get("/users").json()}


def test_the_last_administrator_stays_and_it_is_said_why(console, hub):
    page = console(hub)
    go(page, hub, "users")
    page.get_by_label("Role of admin").select_option("user")
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Role of admin").input_value() == "admin"


def test_who_is_no_administrator_sees_neither(console, hub):
    page = signed_in_as(console, hub, "linus")
    assert page.locator('.nav [data-view="users"], .nav [data-view="audit"]').count() == 0
    go(page, hub, "users")
    assert page.locator(".person").count() == 0


def test_the_audit_is_filtered_verified_and_exported(console, hub):
    for number in range(3):
        hub.post("/templates", json={"name": f"audited {number}", "prompt_template": HOSTILE})
    page = console(hub)
    go(page, hub, "audit")
    page.locator(".deed").first.wait_for()
    page.get_by_label("What").fill("TEMPLATE_created")
    page.wait_for_function("() => [...document.querySelectorAll('.deed code')].every(each => each.textContent === 'template_created')")
    page.get_by_label("Text").fill("audited 1")
    page.get_by_text("1 entries", exact=True).wait_for()
    page.locator(".deed").click()
    page.locator(".details").get_by_text("audited 1").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [each["action"] for each in lines] == ["template_created"] and lines[0]["details"]["name"] == "audited 1"
    page.get_by_role("button", name="Verify the chain").click()
    page.locator(".pill.good").get_by_text("unaltered").wait_for()


@LOOKS
def test_axe_finds_nothing(console, hub, theme, width):
    hub.post("/templates", json={"name": HOSTILE, "prompt_template": "x"})
    page = console(hub, theme=theme, width=width)
    found = {}
    go(page, hub, "users")
    page.locator(".person").first.wait_for()
    page.get_by_role("button", name="Remove admin").click()
    found["users"] = violations(page)
    go(page, hub, "audit")
    page.locator(".deed").first.click()
    page.locator(".details").first.wait_for()
    page.get_by_role("button", name="Verify the chain").click()
    page.locator(".pill.good").wait_for()
    found["audit"] = violations(page)
    clean(page, found)
