"""JSON values as they come in."""
DEEPEST = 50  # levels; nobody means more, and what looks through a value calls itself for each


def deeper(value: object, levels: int = DEEPEST) -> bool:
    """Whether lists and objects are nested in the value for more than so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(deeper(each, levels - 1) for each in inner)
