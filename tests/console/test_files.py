"""The files of the console: small, complete, and of one origin."""
import re

from tests.conftest import ROOT

UI = ROOT / "ananta" / "web" / "static" / "ui"
MOST_BYTES = 120_000


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


def test_all_files_together_are_small():
    assert sum(each.stat().st_size for each in UI.rglob("*") if each.is_file()) <= MOST_BYTES


def test_nothing_of_them_makes_markup_of_text_or_asks_others():
    for file in UI.rglob("*.js"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), file
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
    assert not re.search(r"<style|style=|onclick", (UI / "index.html").read_text(encoding="utf-8"))
