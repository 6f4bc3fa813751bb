"""The state of an agent in the console: figures over time, and what goes on beside the requests."""
import json

from tests.conftest import eventually
from tests.console.conftest import LOOKS, violations


@LOOKS
def test_figures_have_curves_that_say_what_they_show(console, hub, theme, width):
    eventually(lambda: hub.get("/stats/history").json())
    page = console(hub, theme=theme, width=width)
    page.goto(hub.url + "/ui/#/status")
    curve = page.get_by_role("img", name="Tasks, the last")
    curve.wait_for()
    tasks = hub.get("/stats").json()["tasks"]["total"]
    assert f"now {tasks:,}" in curve.get_attribute("aria-label")
    assert page.locator("svg.chart").count() == 6
    page.locator(".findings li").first.wait_for()
    page.locator(".pill", has_text="order").or_(page.locator(".pill", has_text="to do")).first.wait_for()
    assert not (found := violations(page)), json.dumps(found, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_job_in_the_background_is_shown(console, hub):
    page = console(hub)
    page.goto(hub.url + "/ui/#/status")
    jobs = page.locator("section", has=page.get_by_role("heading", name="In the background"))
    jobs.locator("li").first.wait_for()
    names = [each["name"] for each in hub.get("/stats?jobs=1").json()["jobs"]]
    assert jobs.locator("strong").all_inner_texts() == [each.capitalize() for each in names] and "statistics" in names
    assert "every 60 s" in jobs.locator("li", has_text="Statistics").inner_text()
