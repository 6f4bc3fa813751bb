"""The files of the console: small, complete, and of one origin."""
import ast
import gzip
import re

import pytest

from ananta.domain.configuration import KEYS
from ananta.domain.standard_teams import SCRUM_TASKS
from ananta.web.routes import console
from tests.conftest import ROOT

UI = ROOT / "ananta" / "web" / "static" / "ui"
MOST_BYTES = 120_000
MOST_SAID_BYTES = 12_000  # packed: what the server says in German, which only a German reader loads
# What is loaded before a sentence can be typed.
FIRST = ("index.html", "style.css", "icon.svg", "app.js", "dom.js", "api.js", "text.js", "live.js", "streams.js", "worker.js", "en.js", "de.js",
         "views/signin.js", "views/ask.js", "command.js", "said.js", "output.js")
# Errors of a start, and of the command line: no page can meet them.
OF_STARTS = {"cannot_start", "setting_invalid", "directory_busy", "file_damaged"}


def catalogue(name: str) -> dict[str, str]:
    text = (UI / f"{name}.js").read_text(encoding="utf-8")
    return dict(re.findall(r'"((?:[^"\\]|\\.)+)": "((?:[^"\\]|\\.)*)"', text))


def test_both_catalogues_are_complete_and_fill_in_the_same():
    en, de = catalogue("en"), catalogue("de")
    assert en.keys() == de.keys() and len(en) > 100
    for key, text in en.items():
        assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", de[key])), key
        assert text.strip() and de[key].strip(), key


def test_every_key_that_is_used_is_there():
    en = catalogue("en")
    for file in UI.rglob("*.js"):
        for key in re.findall(r"""\bt\(["']([a-z][\w.-]*[a-z0-9])["']""", file.read_text(encoding="utf-8")):
            assert key in en, (file.name, key)


def named_by(*methods: str, keyword: str = "") -> set[str]:
    """The words that the server's calls of these methods have in their first two places, or those of a keyword or class field."""
    found = set()
    for file in (ROOT / "ananta").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            given: list[ast.expr] = []
            if isinstance(node, ast.Call):
                given = [each.value for each in node.keywords if each.arg == keyword]
                if isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                    given += node.args[:2]
            elif isinstance(node, ast.ClassDef):
                given = [each.value for each in node.body if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == keyword]
            found |= {each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return {each for each in found if re.fullmatch(r"[A-Za-z]+(_[A-Za-z]+)*", each)}


def test_what_the_server_names_has_a_german_text():
    known = {**catalogue("de"), **catalogue("said-de")}
    wanted = {f"key.{name}" for name in KEYS}
    codes = named_by(keyword="code") - OF_STARTS
    assert len(codes) > 60
    wanted |= {f"error.{code}" for code in codes}
    # Only what is written to the audit trail; `_note` notes turns of a model, too, in a log of its own.
    deeds = {each for each in named_by("write", "note", "_note") if "_" in each and not each.startswith("llm_")}
    assert {"login_failed", "config_updated", "team_type_role_linked"} <= deeds
    wanted |= {f"deed.{deed}" for deed in deeds}
    offered = re.search(r"PRIORITIES = (\[.+?\])", (UI / "views" / "task.js").read_text(encoding="utf-8"))
    assert offered
    wanted |= {f"priority.{each}" for each in [*ast.literal_eval(offered[1]), *(each.priority for each in SCRUM_TASKS)]}
    assert wanted <= known.keys(), sorted(wanted - known.keys())
    # What is English here has its English where the server says it, in nothing else.
    assert not catalogue("said-de").keys() & catalogue("de").keys()


def test_a_german_text_of_the_server_has_its_parts():
    for words, text in catalogue("said-de").items():
        if not words.startswith("error."):
            assert set(re.findall(r"\{(=?\w)\}", text)) <= set(re.findall(r"\{(=?\w)\}", words)), words


def test_all_files_together_are_small_as_they_travel():
    packed = {each.relative_to(UI).as_posix(): len(gzip.compress(each.read_bytes(), 9)) for each in UI.rglob("*") if each.is_file()}
    assert packed.pop("said-de.js") <= MOST_SAID_BYTES
    assert sum(packed.values()) <= 0.6 * MOST_BYTES
    first = [UI / name for name in FIRST]
    assert sum(each.stat().st_size for each in first) <= MOST_BYTES


def test_a_file_travels_packed_to_who_takes_it(server):
    plain = server.get("/ui/app.js", headers={"Accept-Encoding": "identity"})
    packed = server.get("/ui/app.js", headers={"Accept-Encoding": "br;q=1, gzip;q=0.5"}, stream=True)
    assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip"
    raw = packed.raw.read()
    assert gzip.decompress(raw) == plain.content == (UI / "app.js").read_bytes() and int(packed.headers["Content-Length"]) == len(raw)
    assert plain.headers["ETag"] != packed.headers["ETag"] and plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    for answer, accepted in ((plain, "identity"), (packed, "gzip")):
        same = server.get("/ui/app.js", headers={"Accept-Encoding": accepted, "If-None-Match": answer.headers["ETag"]})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    head = server.request("HEAD", "/ui/app.js", headers={"Accept-Encoding": "gzip"})
    assert head.headers["Content-Length"] == packed.headers["Content-Length"] and head.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(("accepted", "packed"), [
    ("gzip", True), ("GZIP, deflate", True), ("*", True), ("x-gzip", True), ("", False), ("gzip;q=0", False), ("*;q=0", False),
    ("br, *", True), ("gzip;q=0, *", False), ("deflate;q=x, br", False)])
def test_whotakes_gzip(accepted, packed):
    assert console.takes_gzip(accepted) is packed


def test_nothing_of_them_makes_markup_of_text_or_asks_others():
    for file in UI.rglob("*.js"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), file
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
    assert not re.search(r"<style|style=|onclick", (UI / "index.html").read_text(encoding="utf-8"))
