"""What an extension may use, and the loading of AGENT_EXTENSIONS.

    from ananta.extensions import Blueprint, check_auth

    bp = Blueprint("greeting")

    @bp.route("/greeting/<name>")
    @check_auth
    def greet(name):
        return {"hello": name}

The same names can be imported from `agent.auth` and `agent`, so that extensions written for those work unchanged.
"""
import importlib
import importlib.util
import logging
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bottle import Bottle, HTTPResponse, request

from ananta.errors import AnantaError
from ananta.web.access import ADMIN, AUTH, CLASSES, OPEN, USER
from ananta.web.responses import JSON, encode

log = logging.getLogger(__name__)
__all__ = ["Blueprint", "admin_required", "check_auth", "check_user_auth", "jsonify", "request", "rotate_token"]
STRICTER = {OPEN: 0, AUTH: 1, USER: 2, ADMIN: 3}
_rotate: list[Callable[[], str]] = []


def check_auth(handler: Callable) -> Callable:
    """Only callers with a token. Goes above or below `route`."""
    return _demand(handler, AUTH)


def check_user_auth(handler: Callable) -> Callable:
    """Only signed-in users; agent tokens are refused."""
    return _demand(handler, USER)


def admin_required(handler: Callable) -> Callable:
    """Only administrators."""
    return _demand(handler, ADMIN)


def _demand(handler: Callable, access: str) -> Callable:
    # A mark instead of a wrapper: routes are made after the module is loaded, so the order of decorators is free.
    known = getattr(handler, "ananta_access", OPEN)
    handler.ananta_access = max(known, access, key=STRICTER.__getitem__)  # type: ignore[attr-defined]
    return handler


def rotate_token() -> str:
    """Replaces the agent token and returns the new one. Raises AnantaError where no agent runs in this process."""
    if not _rotate:
        raise AnantaError("There is no running agent in this process whose token could be rotated.")
    return _rotate[-1]()


def jsonify(*values, **fields):
    """Returns the fields as an object, one value as itself, several as a list; handlers may return all of these."""
    return fields or (values[0] if len(values) == 1 else list(values))


class Blueprint:
    """Routes of an extension. Without a decorator a route asks for a token; access="open" lets everybody in."""

    def __init__(self, name: str, import_name: str | None = None, url_prefix: str = ""):
        self.name, self.url_prefix = name, url_prefix.rstrip("/")
        self.routes: list[tuple[str, tuple[str, ...], Callable, str | None]] = []

    def route(self, path: str, methods: Iterable[str] = ("GET",), access: str | None = None) -> Callable:
        """Registers the function below it. Raises ValueError for an access class that does not exist."""
        if access is not None and access not in CLASSES:
            raise ValueError(f"access={access!r} is not possible: use one of {', '.join(CLASSES)}")

        def register(handler: Callable) -> Callable:
            self.routes.append((self.url_prefix + path, tuple(each.upper() for each in methods), handler, access))
            return handler

        return register


class ExtensionApp(Blueprint):
    """What `init_app(app)` gets: `route`, `register_blueprint`, and `config` (a mapping with AGENT_NAME, AGENT_TOKEN,
    AGENT_CONFIG, DATA_DIR, PROVIDER_URLS)."""

    def __init__(self, config: Mapping):
        super().__init__("extensions")
        self.config = config

    def register_blueprint(self, blueprint: Blueprint | Bottle, url_prefix: str = "") -> None:
        if isinstance(blueprint, Bottle):
            self.routes += [(url_prefix + route.rule, (route.method,), route.callback, route.config.get("access"))
                            for route in blueprint.routes]
        else:
            self.routes += [(url_prefix + path, *rest) for path, *rest in blueprint.routes]  # type: ignore[misc]

    def mount(self, app: Bottle) -> None:
        """Adds the routes; one that is there already is left out, so that no extension can replace ours."""
        taken = {(route.method, route.rule) for route in app.routes}
        for path, methods, handler, access in self.routes:
            # Flask writes the type in front: <int:number>.
            rule = re.sub(r"<(int|float|path|string):(\w+)>",
                          lambda found: f"<{found[2]}>" if found[1] == "string" else f"<{found[2]}:{found[1]}>", path)
            for method in methods:
                if (method, rule) in taken:
                    log.error("an extension's route %s %s is left out: it exists already", method, rule)
                    continue
                taken.add((method, rule))
                level = access or max(getattr(handler, "ananta_access", AUTH), AUTH, key=STRICTER.__getitem__)
                try:
                    app.route(rule, method, callback=_answering(handler), access=level)
                except Exception as failure:
                    log.error("an extension's route %s %s of %s is left out: %s", method, rule,
                              getattr(handler, "__module__", "?"), failure)


def load(names: Iterable[str], folder: Path | None, app: ExtensionApp, rotate: Callable[[], str]) -> list[str]:
    """Loads the extensions into `app`. Returns the names of those that work; a failing one is logged."""
    _rotate[:] = [rotate]
    _offer_old_names()
    loaded = []
    for name in names:
        before = list(app.routes)
        try:
            _init(_module(name, folder), app)
            loaded.append(name)
        except Exception as failure:
            app.routes = before
            log.error("the extension %s does not work and is left out: %s: %s", name, type(failure).__name__, failure,
                      exc_info=log.isEnabledFor(logging.DEBUG))
        except (SystemExit, KeyboardInterrupt) as failure:
            app.routes = before
            log.error("the extension %s ended itself and is left out: %s", name, failure)
    return loaded


def _init(module: types.ModuleType, app: ExtensionApp) -> None:
    if hasattr(module, "init_app"):
        module.init_app(app)
    elif hasattr(module, "bp") or hasattr(module, "blueprint"):
        app.register_blueprint(getattr(module, "bp", None) or module.blueprint)
    else:
        log.warning("the extension %s has neither init_app nor bp nor blueprint: nothing to add", module.__name__)


def _module(name: str, folder: Path | None) -> types.ModuleType:
    path = folder / (name.replace(".", "/") + ".py") if folder else None
    if path is None or not path.is_file():
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _offer_old_names() -> None:
    here = sys.modules[__name__]
    for name in ("agent", "agent.auth"):
        if name not in sys.modules:
            module = types.ModuleType(name, "The names an extension may use.")
            module.__dict__.update({each: getattr(here, each) for each in __all__}, __path__=[])
            sys.modules[name] = module
            if name == "agent.auth":
                sys.modules["agent"].auth = module  # type: ignore[attr-defined]


def _answering(handler: Callable) -> Callable:
    def answer(**values):
        result = handler(**values)
        status = 200
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], int):
            result, status = result
        if isinstance(result, HTTPResponse):
            return result
        if isinstance(result, str):
            return HTTPResponse(result.encode(), status, {"Content-Type": "text/plain; charset=utf-8"})
        return HTTPResponse(encode(result), status, {"Content-Type": JSON})

    answer.__doc__ = handler.__doc__
    return answer
