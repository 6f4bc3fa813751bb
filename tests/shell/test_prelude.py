"""What shells print for `export -p`, also shells that are not installed here."""
import pytest

from ananta.shell.orders import State
from ananta.shell.prelude import told


@pytest.mark.parametrize("listing, variables", [
    ('declare -x A="1"\n', {"A": "1"}),
    ('declare -x A="two\nlines \\"q\\" \\$x \\`y\\` \\\\"\n', {"A": 'two\nlines "q" $x `y` \\'}),
    ("declare -x A=$'a\\nb\\'c\\\\ \\303\\274 \\x41 \\u20ac\\E'\n", {"A": "a\nb'c\\ ü A €\x1b"}),
    ("declare -rix N=\"3\"\ndeclare -x B\n", {"N": "3"}),
    ('declare -ax L=([0]="a b" [1]=")")\ndeclare -x A="1"\n', {"A": "1"}),
    ('export A="1"\nexport B\n', {"A": "1"}),
    ("export A='it'\"'\"'s\nfine'\nexport B=''\n", {"A": "it's\nfine", "B": ""}),
    ("export A=plain/:.,\ntypeset -x B=with\\ space\ntypeset -i -x N=4\n", {"A": "plain/:.,", "B": "with space", "N": "4"}),
    ("export A=a$'\\n'b$c\n", {"A": "a\nb$c"}),
    ('declare -x SHLVL="9"\ndeclare -x SHELLOPTS="x"\ndeclare -x ANANTA_RUN="r"\ndeclare -x __ananta_code="0"\n', {}),
    ("", {}),
])
def test_a_listing_is_understood(listing, variables):
    assert told(f"{listing}\0/a\nb\n".encode(), {}) == State("/a\nb", variables)


@pytest.mark.parametrize("data", [
    b"", b'declare -x A="1"\n', b'declare -x A="1"\n\0/usr', b'declare -x A="1\0/usr\n', b"what is this\n\0/usr\n"])
def test_half_a_state_is_no_state(data):
    assert told(data, {}) is None


def test_what_the_shell_cannot_show_stays_as_it_was():
    before = {"SHLVL": "1", "odd.name": "x", "BASH_FUNC_f%%": "() { :; }", "ANANTA_RUN": "r", "GONE": "1"}
    assert told(b'declare -x SHLVL="2"\n\0/\n', before) == State(
        "/", {"SHLVL": "1", "odd.name": "x", "BASH_FUNC_f%%": "() { :; }"})
