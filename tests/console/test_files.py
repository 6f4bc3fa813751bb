"""The files of the console: small, complete, and of one origin."""
import gzip
import re

import pytest

from ananta.web.routes import console
from tests.conftest import ROOT

UI = ROOT / "ananta" / "web" / "static" / "ui"
MOST_BYTES = 120_000
# What is loaded before a sentence can be typed.
FIRST = ("index.html", "style.css", "icon.svg", "app.js", "dom.js", "api.js", "text.js", "live.js", "streams.js", "worker.js", "en.js", "de.js",
         "views/signin.js", "views/ask.js", "command.js", "output.js")


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


def test_all_files_together_are_small_as_they_travel():
    found = [each.read_bytes() for each in UI.rglob("*") if each.is_file()]
    assert sum(len(gzip.compress(each, 9)) for each in found) <= 0.6 * MOST_BYTES
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
