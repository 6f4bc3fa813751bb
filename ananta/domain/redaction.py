"""Text → text without secrets.

Two kinds are masked: the values this process knows to be secret, in the spellings in which they travel, and what
looks like a secret. Every pattern starts with a literal that is searched for first, so that ordinary text costs
little, and none can look at the same character more than a few times, so that hostile text costs little, too.
"""
import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "********"
SHORTEST_SECRET = 6
SEEN, SEEN_CHARS = 512, 1000  # how many short texts are remembered, and how short they are

# For lower case; what follows must not be a letter, so `max_tokens: 400` stays.
_WORDS = tuple(map(re.compile, ("token", "passw(?:or)?d", "passphrase", "secret", "api[_-]?key", "authorization")))
_SECRET_NAME = re.compile(r"(?:token|passw(?:or)?d|passphrase|secret|api[_-]?key|authorization)(?:[_-]?(?:access[_-]?)?key)?",
                          re.IGNORECASE)
# After the word: the rest of the name, the separator, and the value in quotes, in escaped quotes, or bare.
_VALUE = re.compile(
    r"""(?i:[_-]?(?:access[_-]?)?key)?(?:[\\]{0,3}["'])?[ \t]{0,8}(?::=|=>|=|(?P<colon>:))[ \t]{0,8}"""
    r"""(?:[\\]{1,3}["'](?P<escaped>[^"'\\\r\n]*)"""
    r"""|"(?P<double>(?:[^"\\\r\n]|\\.)*)|'(?P<single>[^'\r\n]*)"""
    r"""|(?P<bare>\$\{\w+\}|[^\s"'`,;&|<>(){}\[\]\\][^\s"'`,;&|<>)}\]\\]*))""")
_FLAG_VALUE = re.compile(r"""[ \t]{1,8}(?:"(?P<double>(?:[^"\\\r\n]|\\.)*)|'(?P<single>[^'\r\n]*)"""
                         r"""|(?P<bare>[^\s"'`,;&|<>(){}\[\]\\-][^\s"'`,;&|<>(){}\[\]\\]*))""")
_SCHEME = re.compile(r"(?:bearer|basic|token|digest|negotiate|apikey)[ \t]{1,8}(?P<bare>[^\s\"'`,;|<>(){}\[\]\\]+)",
                     re.IGNORECASE)
_FLAG = re.compile(r"--[a-z0-9_-]*")
# Not secrets: empty words of programs, references to a variable, what is masked already.
_HARMLESS = re.compile(r"null|none|true|false|undefined|nil|\$\{[A-Za-z_]\w*\}|\$[A-Z_][A-Z0-9_]*|%[A-Z_]+%|\*+",
                       re.IGNORECASE)
_BEARER = re.compile(r"[ \t]{1,8}([A-Za-z0-9._~+/=-]{6,})")
# Pattern, and what to put there. Each begins with a literal and looks back only behind it: that keeps the fast search
# of `re`.
_SHAPES = (
    (re.compile(r"sk-(?<![A-Za-z0-9]sk-)[A-Za-z0-9_-]{16,}"), MASK),
    (re.compile(r"gh[pousr]_[A-Za-z0-9]{20,}"), MASK),
    (re.compile(r"github_pat_[A-Za-z0-9_]{20,}"), MASK),
    (re.compile(r"glpat-[A-Za-z0-9_-]{16,}"), MASK),
    (re.compile(r"xox[abps]-[A-Za-z0-9-]{10,}"), MASK),
    (re.compile(r"AIza[A-Za-z0-9_-]{35}"), MASK),
    (re.compile(r"AKIA[0-9A-Z]{16}"), MASK),
    (re.compile(r"ASIA[0-9A-Z]{16}"), MASK),
    (re.compile(r"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"://([^\s/@:\"'`]*):[^\s/@\"'`]+@"), r"://\1:" + MASK + "@"),
)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----")


class Redactor:
    """Called with a text, returns it with every secret replaced by MASK. May be called from any thread."""

    def __init__(self, secrets: Iterable[str] = ()):
        # The spellings, and what short texts became by them; replaced together, so that none outlives its spellings.
        self._known: tuple[tuple[str, ...], dict[str, str]] = ((), {})
        self.replace(secrets)

    def replace(self, secrets: Iterable[str]) -> None:
        """Makes these the known secrets from the next call on; those under SHORTEST_SECRET characters do not count:
        masking them would tear ordinary words."""
        forms = {form for secret in secrets if secret and len(secret) >= SHORTEST_SECRET for form in _spellings(secret)}
        self._known = (tuple(sorted(forms, key=len, reverse=True)), {})

    def with_secrets(self, secrets: Iterable[str]) -> "Redactor":
        """Returns another redactor, which knows these secrets instead."""
        return Redactor(secrets)

    def known(self, text: str) -> str:
        """Returns the text with the known secrets masked, and all else as it is."""
        return _replaced(text, self._known[0])

    def __call__(self, text: str) -> str:
        forms, seen = self._known
        if len(text) > SEEN_CHARS:
            return _masked(text, forms)
        found = seen.get(text)
        if found is None:
            if len(seen) >= SEEN:
                seen.clear()
            found = seen[text] = _masked(text, forms)
        return found


def _replaced(text: str, forms: tuple[str, ...]) -> str:
    for form in forms:
        if form in text:
            text = text.replace(form, MASK)
    return text


def _masked(text: str, forms: tuple[str, ...]) -> str:
    text = _replaced(text, forms)
    if "PRIVATE KEY-----" in text:
        text = _without_keys(text)
    for pattern, replacement in _SHAPES:
        text = pattern.sub(replacement, text)
    # The positions found in the lower text must be those of the text: only this letter grows when lowered.
    low = text.replace("\u0130", "I").lower()
    spans = [span for word in _WORDS for span in _after(word, low, text)]
    if "bearer" in low:
        spans += _bearers(low, text)
    return _cut_out(text, spans) if spans else text


def is_secret_name(name: str) -> bool:
    """Says whether what is stored under this name is a secret: "agent_token" is, "max_tokens" is not."""
    return any(found.end() == len(name) for found in _SECRET_NAME.finditer(name))


def masked(value: object, mask: Callable[[str], str]) -> object:
    """Returns the JSON value with every text masked, and what stands under a secret name hidden whole."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(str(key)): MASK if isinstance(each, str) and each and is_secret_name(str(key)) else masked(each, mask)
                for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(each, mask) for each in value]
    return value


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    raw = secret.encode("utf-8", "replace")
    # Inside a longer text ("user:secret") a secret starts at one of three places of a base64 group; the letters at
    # both ends also hold bits of the neighbours, and are left out.
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw).decode()
        end = (shift + len(raw)) * 8 // 6
        core = whole[(shift * 8 + 5) // 6:end]
        if len(core) >= SHORTEST_SECRET:
            yield core
            yield core.replace("+", "-").replace("/", "_")


def _without_keys(text: str) -> str:
    kept, at = [], 0
    while start := _PEM.search(text, at):
        end = _PEM_END.search(text, start.end())
        kept += [text[at:start.start()], MASK]
        at = end.end() if end else len(text)
    return "".join(kept) + text[at:]


def _after(word: re.Pattern, low: str, text: str) -> Iterator[tuple[int, int]]:
    """The places of the values that follow this word as a name."""
    found = word.search(low)
    while found:
        span = _value(*found.span(), low, text)
        if span:
            yield span
        found = word.search(low, span[1] if span else found.end())


def _value(start: int, end: int, low: str, text: str) -> tuple[int, int] | None:
    found = _VALUE.match(text, end)
    if found is None:
        dashes = low.rfind("--", max(0, start - 40), start)
        if dashes < 0 or not _FLAG.fullmatch(low, dashes, start):
            return None
        found = _FLAG_VALUE.match(text, end)
    elif found["colon"] and found["bare"] and start and text[start - 1] in "/.\\":
        # "/etc/passwd: Permission denied" is the name of a file.
        return None
    if found is None:
        return None
    group = found.lastgroup or 0
    if low.startswith("authorization", start) and (scheme := _SCHEME.match(text, found.start(group))):
        found, group = scheme, "bare"
    span = found.span(group)
    harmless = span[0] == span[1] or _HARMLESS.fullmatch(text, *span)
    return None if harmless else span


def _bearers(low: str, text: str) -> Iterator[tuple[int, int]]:
    at = low.find("bearer")
    while at >= 0:
        found = _BEARER.match(text, at + 6)
        if found:
            yield found.span(1)
        at = low.find("bearer", found.end() if found else at + 6)


def _cut_out(text: str, spans: list[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in sorted(spans):
        if start >= at:
            kept += [text[at:start], MASK]
        # Overlapping values become one mask.
        at = max(at, end)
    return "".join(kept) + text[at:]
