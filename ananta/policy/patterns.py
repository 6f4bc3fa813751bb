"""Regular expressions written by users: compiled only when their time cannot explode."""
import re
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        from re import _constants as codes  # type: ignore[attr-defined]
        from re import _parser as parser  # type: ignore[attr-defined]
    except ImportError:  # Python 3.10
        import sre_constants as codes  # type: ignore[no-redef]
        import sre_parse as parser  # type: ignore[no-redef]

MAX_CHARS = 1000
REPEATS = tuple(getattr(codes, name) for name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") if hasattr(codes, name))
MANY = 20


def compile_safely(expression: str) -> re.Pattern[str] | None:
    """Returns the compiled expression, any case, or None if it is invalid or could take exponential time."""
    if len(expression) > MAX_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = parser.parse(expression, re.IGNORECASE)
            if _explodes(tree, repeated=False):
                return None
            # A leading ".*" changes no hit, but makes every search quadratic.
            return re.compile(re.sub(r"^(?:\.\*\??)+(?![+?*{])(?=.)", "", expression), re.IGNORECASE)
    except (re.error, RecursionError, OverflowError, ValueError, MemoryError):
        return None


def _explodes(tree: object, *, repeated: bool) -> bool:
    """Whether a repetition stands inside another one, or a choice whose branches begin alike does."""
    for code, argument in tree:  # type: ignore[attr-defined]
        if code in REPEATS:
            _, most, body = argument
            many = most is codes.MAXREPEAT or most > MANY
            if (many and repeated) or _explodes(body, repeated=repeated or many):
                return True
        elif code is codes.BRANCH:
            if (repeated and not _distinct(argument[1])) or any(_explodes(b, repeated=repeated) for b in argument[1]):
                return True
        elif code is codes.SUBPATTERN:
            if _explodes(argument[-1], repeated=repeated):
                return True
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            if _explodes(argument[1], repeated=repeated):
                return True
        elif code is codes.GROUPREF_EXISTS:
            if any(branch is not None and _explodes(branch, repeated=repeated) for branch in argument[1:]):
                return True
        elif code.name == "ATOMIC_GROUP" and _explodes(argument, repeated=repeated):
            return True
    return False


def _distinct(branches: list) -> bool:
    firsts = [branch[0] for branch in branches if len(branch)]
    if len(firsts) < len(branches) or not all(first[0] is codes.LITERAL for first in firsts):
        return False
    return len({chr(first[1]).lower() for first in firsts}) == len(firsts)
