import pytest

from ananta.domain.tasks import Task
from ananta.domain.templates import Template
from ananta.errors import NotFound
from ananta.store import archive, database, tasks, templates


def test_a_template_is_kept_as_it_is(both):
    template = Template("id-1", "Näme", "{{a}} \\ '%s' ?", "d", "ollama", "m", {"a": 1, "b": [None, {"c": "ü"}], "big": 2**70},
                        1.5, 1.5)
    templates.add(template)
    templates.add(Template("id-2", "plain", "p"))
    assert templates.find("id-1") == template and templates.find("id-2").defaults is None
    changed = templates.change("id-1", {"name": "new", "defaults": None}, 1.0)
    assert (changed.name, changed.defaults, changed.prompt_template) == ("new", None, template.prompt_template)
    assert changed.updated_at > 1.5 and changed.created_at == 1.5 and templates.find("id-1") == changed


def test_templates_come_by_name(both):
    for number, name in enumerate(("b", "Ä", "a", "B", "A", "a")):
        templates.add(Template(str(number), name, "p"))
    assert [(each.name, each.id) for each in templates.all_by_name()] == [
        ("A", "4"), ("a", "2"), ("a", "5"), ("B", "3"), ("b", "0"), ("Ä", "1")]


@pytest.mark.parametrize("template_id", ["none", "a\0", "\ud800", "' OR 1=1"])
def test_what_is_not_there_is_not_found(both, template_id):
    for ask in (templates.find, lambda each: templates.change(each, {}, 1.0), lambda each: templates.delete(each, 1.0)):
        with pytest.raises(NotFound) as raised:
            ask(template_id)
        assert raised.value.code == "template_not_found"


def test_with_a_template_go_all_references_to_it(both):
    for name in ("gone", "stays"):
        templates.add(Template(name, name, "p"))
    for task_id, template_id in (("a", "gone"), ("b", "stays"), ("c", "gone"), ("d", None), ("old", "gone")):
        tasks.create(Task(task_id, title="t", template_id=template_id, created_at=1.0, updated_at=1.0))
    archive.archive("old", 5.0)
    cleared = templates.delete("gone", 2.0)
    assert cleared == {"roles": [], "team_type_links": [], "team_members": [], "teams": [], "tasks": ["a", "c", "old"]}
    assert [tasks.find(each).template_id for each in "abcd"] == [None, "stays", None, None]
    for table in ("tasks", "archived_tasks"):
        assert database.rows(f"SELECT id FROM {table} WHERE document LIKE '%gone%' OR template_id = 'gone'") == []
    assert tasks.find("a").updated_at == 2.0 and tasks.find("b").updated_at == 1.0
