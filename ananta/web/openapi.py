"""OpenAPI 3.1 from the route declarations and the payload types; nothing is described by hand twice."""
import dataclasses
import inspect
import re

import msgspec
from bottle import Bottle

from ananta import __version__
from ananta.web.access import ADMIN, AUTH, OPEN, READ, USER

SECURITY: dict[str, list[dict]] = {OPEN: [], READ: [{}, {"token": []}], AUTH: [{"token": []}, {"queryToken": []}],
            ADMIN: [{"token": []}, {"queryToken": []}], USER: [{"token": []}]}
WHO = {OPEN: "Anybody.", READ: "Callers with a token; without one as far as ANONYMOUS_READS allows.",
       AUTH: "Callers with a token.", ADMIN: "Administrators.", USER: "Signed-in users."}
ERROR = {"type": "object", "required": ["error", "code", "message", "cid"], "properties": {
    "error": {"type": "string"}, "code": {"type": "string"}, "message": {"type": "string"}, "cid": {"type": "string"},
    "details": {"type": "string"}, "errors": {"type": "array", "items": {"type": "object"}},
    "retry_after": {"type": "integer"}}}
EVENTS = "text/event-stream"
# Of a stream each event is described.
EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}, "event": {"type": "string"}}}
MEANING = {200: "done", 201: "created", 204: "done, nothing to say", 206: "the rest of it", 302: "look there", 400: "wrong or missing input",
           401: "credentials missing or invalid", 403: "not allowed", 404: "not found", 405: "wrong method",
           409: "conflict", 413: "body too large", 422: "the body does not fit its schema", 429: "too many requests",
           500: "unexpected failure", 502: "another service failed", 503: "not now; see Retry-After"}


def document(app: Bottle) -> dict:
    """Returns the OpenAPI document of all routes."""
    types = [route.config[name] for route in app.routes for name in ("body", "query", "gives") if name in route.config]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    found = iter(schemas)
    paths: dict[str, dict] = {}
    for route in app.routes:
        config = route.config
        declared = {name: next(found) for name in ("body", "query", "gives") if name in config}
        paths.setdefault(re.sub(r"<(\w+)[^>]*>", r"{\1}", route.rule), {})[route.method.lower()] = _operation(
            route, declared, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ananta", "version": __version__,
                 "description": "A language model proposes a command, someone decides, it runs, everything is on record."},
        "paths": paths,
        "components": {"schemas": {**components, "Error": ERROR}, "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "queryToken": {"type": "apiKey", "in": "query", "name": "token"}}}}


def _operation(route, declared: dict, components: dict) -> dict:
    config = route.config
    access = config["access"]
    text = inspect.getdoc(route.callback) or route.rule
    operation: dict = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.rule}").strip("_"),
        "summary": text.split(". ")[0].split("\n")[0].rstrip("."), "description": f"{text}\n\nWho may call: {WHO[access]}",
        "security": SECURITY[access]}
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                  for name in re.findall(r"<(\w+)", route.rule)]
    if "query" in config:
        known = components[declared["query"]["$ref"].rsplit("/", 1)[1]]["properties"]
        parameters += [{"name": each.name, "in": "query", "required": False, "schema": known[each.name]}
                       for each in dataclasses.fields(config["query"])]
    if parameters:
        operation["parameters"] = parameters
    # Bottle takes dictionaries apart, so a schema without a type stands in a tuple.
    body = declared.get("body") or config.get("takes", (None,))[0]
    if body is not None:
        needed = "body" in config and bool(components[body["$ref"].rsplit("/", 1)[1]].get("required"))
        operation["requestBody"] = {"required": needed, "content": {
            media: {"schema": body} for media in config.get("media_in", ("application/json",))}}
    media = config.get("media", "application/json")
    status = config.get("status", 200)
    good: dict = {"description": MEANING[status]}
    if status != 204:
        good["content"] = {media: {"schema": EVENT if media == EVENTS else declared.get("gives", {"type": "string"})}}
        if config.get("streams"):
            good["content"][EVENTS] = {"schema": EVENT}
    operation["responses"] = {str(status): good}
    for code in config.get("also", ()):
        operation["responses"][str(code)] = {"description": MEANING[code], "content": good["content"]}
    failing = {403, 500, 503, *config.get("fails", ())} | ({400} if body is not None or "query" in config or "<" in route.rule else set())
    failing |= {401} if access != OPEN else set()
    failing |= {413} if body is not None else set()
    failing |= {422} if config.get("schema") else set()
    for code in sorted(failing):
        operation["responses"].setdefault(str(code), {
            "description": MEANING[code],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}})
    return operation
