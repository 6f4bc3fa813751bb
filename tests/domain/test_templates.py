import pytest

from ananta.domain.tasks import Task
from ananta.domain.templates import chosen, fill, placeholders, values_of, warnings


@pytest.mark.parametrize(("text", "names"), [
    ("", []), ("{{a}} {{b}} {{a}}", ["a", "b"]), ("{{ a }} {a} {{}} {{a-b}} {{ä}}", []), ("{{{a}}}", ["a"]),
    ("{{a_1}}{{B2}}", ["a_1", "B2"]), ("{{a\n}}", [])])
def test_placeholders(text, names):
    assert placeholders(text) == names


@pytest.mark.parametrize(("text", "values", "defaults", "filled"), [
    ("{{a}} and {{a}}", {"a": "x"}, None, "x and x"),
    ("{{a}} {{b}} {{c}}", {"a": "x", "b": None}, {"a": "no", "b": "default"}, "x default {{c}}"),
    ("{{a}}", {"a": ""}, {"a": "default"}, "default"),
    ("[{{a}}]", {"a": ""}, None, "[]"), ("[{{a}}]", {}, {"a": ""}, "[]"),
    ("{{a}}", {"a": "{{b}} \\1 \\g<0>"}, {"b": "no"}, "{{b}} \\1 \\g<0>"),
    ("{{a}} {{b}} {{c}} {{d}}", {}, {"a": 1, "b": True, "c": None, "d": ["ü"]}, '1 true {{c}} ["ü"]'),
    ("no { } {{", {"a": "x"}, {}, "no { } {{")])
def test_filling(text, values, defaults, filled):
    assert fill(text, values, defaults) == filled


def test_what_a_task_gives_its_template():
    values = values_of(Task("T-1", title="t", description=None), agent_name="hub", team_goal="goal")
    assert fill("{{agent_name}} {{task_title}} {{team_goal}} [{{task_description}}] {{role_name}}", values) == (
        "hub t goal [] {{role_name}}")


def test_unknown_placeholders_are_named():
    assert warnings("{{a}} {{b}}", ["a", "b"]) == [] and warnings("plain", []) == []
    assert warnings("{{x}} {{a}} {{y}}", ["a"]) == [
        {"type": "unknown_variables", "details": "Unknown variables: x, y", "allowed": ["a"]}]


@pytest.mark.parametrize(("own", "others", "template"), [
    ("t", {"of_member": "m"}, "t"), (None, {"of_member": "m", "of_role": "r"}, "m"),
    ("", {"of_member": "", "of_team_role": "tr", "of_type_link": "l"}, "tr"),
    (None, {"of_type_link": "l", "of_role": "r"}, "l"), (None, {"of_role": "r"}, "r"), (None, {}, None)])
def test_the_nearest_template_counts(own, others, template):
    assert chosen(own, **others) == template
