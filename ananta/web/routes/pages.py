"""Pages for people: the description of the interface, and the way to it."""
import html
from pathlib import Path

import bottle
from bottle import Bottle, HTTPResponse

from ananta.web import openapi
from ananta.web.access import OPEN
from ananta.web.responses import JSON, encode
from ananta.web.routes.console import start_page

STATIC = Path(__file__).parent.parent / "static"


class PageRoutes:
    """Every page keeps scripts and styles in files of its own, as the content security policy asks."""

    def mount(self, app: Bottle) -> None:
        self.app = app
        for path in ("/openapi.json", "/apispec_1.json"):
            app.get(path, callback=self.document, access=OPEN, gives=dict)
        app.get("/apidocs", callback=self.description, access=OPEN, media="text/html")
        app.get("/apidocs/style.css", callback=self.style, access=OPEN, media="text/css")
        app.get("/", callback=self.start, access=OPEN, status=302, media="text/html")

    def document(self) -> HTTPResponse:
        """The interface as an OpenAPI 3.1 document."""
        return HTTPResponse(encode(openapi.document(self.app)), 200, {"Content-Type": JSON})

    def description(self) -> HTTPResponse:
        """The interface as a page."""
        return HTTPResponse(_page(openapi.document(self.app)).encode(), 200, {"Content-Type": "text/html; charset=utf-8"})

    def style(self) -> HTTPResponse:
        """The style of the page."""
        return HTTPResponse((STATIC / "apidocs.css").read_bytes(), 200, {"Content-Type": "text/css; charset=utf-8"})

    def start(self) -> HTTPResponse:
        """Leads a browser to the console, and everybody else to the description of the interface."""
        # Relative, so that it also works behind a proxy that adds TLS.
        return HTTPResponse(b"", 302, {"Location": start_page(bottle.request.environ), "Vary": "Accept"})


def _page(document: dict) -> str:
    e = html.escape
    rows = []
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            fields = "".join(
                f"<tr><td><code>{e(name)}</code></td><td>{e(_kind(schema))}</td><td>{e(place)}</td></tr>"
                for name, schema, place in _fields(operation, document))
            table = f"<table><tr><th>Field</th><th>Type</th><th>In</th></tr>{fields}</table>" if fields else ""
            answers = ", ".join(f"{code} {e(each['description'])}" for code, each in operation["responses"].items())
            text = "".join(f"<p>{e(part)}</p>" for part in operation["description"].split("\n\n"))
            rows.append(f'<details><summary><b class="{e(method)}">{e(method.upper())}</b> <code>{e(path)}</code> '
                        f"<span>{e(operation['summary'])}</span></summary>{text}{table}<p>Answers: {answers}.</p></details>")
    info = document["info"]
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width,initial-scale=1"><title>{e(info["title"])} API</title>'
            f'<link rel="stylesheet" href="/apidocs/style.css"></head><body><main><h1>{e(info["title"])} '
            f'<small>{e(info["version"])}</small></h1><p>{e(info["description"])}</p><p>Send the token as '
            f"<code>Authorization: Bearer …</code>. The same as a document: "
            f'<a href="/openapi.json">/openapi.json</a>.</p>{"".join(rows)}</main></body></html>')


def _fields(operation: dict, document: dict) -> list[tuple[str, dict, str]]:
    found = [(each["name"], each["schema"], each["in"]) for each in operation.get("parameters", ())]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rsplit("/", 1)[-1]
        properties = document["components"]["schemas"].get(name, {}).get("properties", {})
        found += [(field, schema, "body") for field, schema in properties.items()]
    return found


def _kind(schema: dict) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    kind = schema.get("type") or schema.get("$ref", "").rsplit("/", 1)[-1] or "any"
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most"),
                                                        ("maxItems", "at most")) if key in schema]
    return " ".join([str(kind), *limits])
