"""One's own account in the console: the password and the second factor."""
import json

import pyotp

from tests.console.conftest import LOOKS, violations

FIRST, SECOND = "a long enough one", "another long enough one"


def signed_in(console, hub, name: str, password: str = FIRST, **look):
    """A page of this user, who is made if there is none, at the account."""
    hub.post("/users", json={"username": name, "password": FIRST})
    page = console(hub, signed_in=False, **look)
    page.goto(hub.url + "/")
    enter(page, name, password)
    page.locator("nav").wait_for()
    page.goto(hub.url + "/ui/#/account")
    page.get_by_role("heading", name="Second factor").wait_for()
    return page


def enter(page, name: str, password: str) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def change(page, old: str, new: str, again: str) -> None:
    page.get_by_label("Password until now").fill(old)
    page.get_by_label("New password", exact=True).fill(new)
    page.get_by_label("New password once more").fill(again)
    page.get_by_role("button", name="Change the password").click()


def test_the_account_is_behind_the_name(console, hub):
    page = signed_in(console, hub, "rosalind")
    page.goto(hub.url + "/ui/#/ask")
    page.locator("main textarea").wait_for()
    page.get_by_role("link", name="rosalind").click()
    page.get_by_role("heading", name="Account").wait_for()
    assert page.locator(".nav [aria-current]").count() == 0


def test_a_changed_password_ends_every_sign_in(console, hub):
    page = signed_in(console, hub, "marie")
    change(page, FIRST, SECOND, SECOND + "x")
    page.get_by_role("alert").get_by_text("not the same").wait_for()
    change(page, "wrong", SECOND, SECOND)
    page.get_by_role("alert").get_by_text("old password is wrong").wait_for()
    change(page, FIRST, "short", "short")
    page.get_by_role("alert").get_by_text("8 characters").wait_for()
    change(page, FIRST, SECOND, SECOND)
    page.get_by_role("status").get_by_text("The password is changed").wait_for()
    assert page.locator("nav").count() == 0
    enter(page, "marie", FIRST)
    page.get_by_role("alert").get_by_text("wrong").wait_for()
    enter(page, "marie", SECOND)
    page.locator("nav").wait_for()
    assert SECOND not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")


@LOOKS
def test_a_second_factor_is_switched_on_used_and_off(console, hub, theme, width):
    name = f"lise-{theme}"
    page = signed_in(console, hub, name, theme=theme, width=width)
    page.get_by_role("button", name="Switch it on").click()
    picture = page.get_by_role("img", name="QR code")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    secret = page.locator("code").inner_text()
    found = {"set-up": violations(page)}
    page.get_by_label("Code of the app").fill("000000")
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("alert").get_by_text("code is wrong").wait_for()
    page.get_by_label("Code of the app").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Confirm").click()
    codes = page.locator("pre").inner_text().split()
    assert len(set(codes)) == 10
    found["codes"] = violations(page)
    page.get_by_role("button", name="I have kept them").click()
    page.get_by_role("button", name="Switch it off").wait_for()
    assert codes[0] not in page.content() and secret not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelector('.side').classList.add('open')")
    page.get_by_role("button", name="Sign out").click()
    enter(page, name, FIRST)
    page.get_by_label("Code of the second factor").fill(codes[0])
    page.keyboard.press("Enter")
    page.locator("nav").wait_for()
    page.goto("about:blank")
    page.goto(hub.url + "/ui/#/account")
    page.get_by_role("button", name="Switch it off").click()
    page.get_by_role("button", name="Switch it on").wait_for()
    found["account"] = violations(page)
    assert not any(found.values()), json.dumps(found, indent=1)


def test_the_agent_itself_has_no_password(console, worker):
    page = console(worker)
    page.goto(worker.url + "/ui/#/account")
    page.get_by_text("no password of its own").wait_for()
    assert page.locator("main input").count() == 0
