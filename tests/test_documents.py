"""What is generated is what stands in the repository, and what documents name is there."""
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT, WAIT_S


def test_the_database_document_is_what_the_tables_are():
    done = subprocess.run([sys.executable, str(ROOT / "build/database_docs.py"), "--check"], timeout=WAIT_S, check=False)
    assert done.returncode == 0, "call: python build/database_docs.py"
    text = (ROOT / "build/docs/DATABASE.md").read_text()
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", (ROOT / "ananta/store/migrations.py").read_text()))
    assert set(re.findall(r"^## (\w+)$", text, re.MULTILINE)) >= made - {"schema_version"}


@pytest.mark.parametrize("name", ["installation.md", "installation.de.md", "upgrade.md", "upgrade.de.md", "troubleshooting.md"])
def test_documents_name_only_settings_and_files_that_there_are(name):
    from ananta import settings

    text = (ROOT / "build/docs" / name).read_text(encoding="utf-8")
    known = {settings.environment_name(field) for field in settings.listed()} | {"OLLAMA_HOST", "NO_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NAME", "TMPDIR"}
    known |= {f"{each}_FILE" for each in settings.secret_names()}
    assert set(re.findall(r"`([A-Z][A-Z_]{3,})(?:=[^`]*)?`", text)) <= known
    assert all((ROOT / each).exists() for each in re.findall(r"`(build/[\w./-]+)`", text))
    assert all((ROOT / "build/docs" / each).exists() for each in re.findall(r"\]\(([\w.-]+\.md)\)", text))


def test_the_script_for_windows_hosts_parses_and_never_opens_to_the_public():
    import tree_sitter
    import tree_sitter_powershell

    text = (ROOT / "build/setup_host_services.ps1").read_text(encoding="ascii")  # PowerShell 5 reads anything else wrongly
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language())).parse(text.encode())
    found, broken = [tree.root_node], []
    while found:
        node = found.pop()
        broken += [(node.start_point, node.text)] if node.is_error or node.is_missing else []
        found += node.children
    assert broken == []
    assert text.count("New-NetFirewallRule") == 1 and re.findall(r"\bProfile = (.*?);", text) == ["@('Domain', 'Private')"]
    rule = re.search(r"\$rule = @\{(.*?)\}\n", text, re.DOTALL)[1]
    assert all(f"{limit} = $" in rule for limit in ("LocalAddress", "RemoteAddress", "InterfaceAlias", "LocalPort"))
    assert re.search(r"listenaddress=\$\(\$Network\.Address\)", text) and "listenaddress=0.0.0.0" not in text
    # Whatever changes something asks ShouldProcess first, so that -WhatIf changes nothing.
    for change in ("Remove-NetFirewallRule", "New-NetFirewallRule", "Set-NetConnectionProfile", "Start-Service", "'delete', 'v4tov4'", "'add', 'v4tov4'"):
        for place in re.finditer(re.escape(change), text):
            assert "ShouldProcess" in "".join(text[:place.start()].splitlines(True)[-9:]), change
