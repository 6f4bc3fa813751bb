"""The service on Windows, as far as it can be known without Windows: what would be done."""
import re
import subprocess
import sys

import pytest

from ananta import __version__
from ananta.errors import NotFound, SettingInvalid
from ananta.operations.service import plan, windows
from ananta.operations.service.choices import choose
from tests.conftest import ROOT, WAIT_S, ananta, clean_environment

PLACES = windows.Places(r"C:\Program Files", r"C:\ProgramData", r"C:\Users\Ada Lovelace\AppData\Local")
USER = windows.Places(r"C:\Program Files", r"C:\ProgramData", r"C:\Users\Ada Lovelace\AppData\Local", user=True)
PROGRAM = rf"C:\Program Files\Ananta\{__version__}\ananta.exe"


class Untouched(windows.System):
    """A plan alone touches nothing: there is nothing here to touch."""


def planned(given=None, places=PLACES, **options):
    return windows.installation(choose(given or {}), places, Untouched(), **{"before": "", "kept": {}, **options})


def test_a_plan_says_all_that_will_be_done():
    made = planned({"role": "hub", "port": "5001", "hub_url": "http://hub:5000"}, firewall=True)
    text = plan.told(made.steps)
    for part in (f'"{PROGRAM}" service run  as NT SERVICE\\ananta', r"  | DATA_DIR=C:\ProgramData\Ananta\data", "  | ROLE=hub", "  | ANONYMOUS_READS=off",
                 r"  | CREDENTIALS_DIRECTORY=C:\ProgramData\Ananta\credentials", '  | PORT="5001"', "EventMessageFile = %SystemRoot%",
                 "netsh advfirewall firewall add rule name=Ananta", "localport=5001", "profile=domain,private"):
        assert part in text, part
    assert "public" not in text.lower() and set(made.shown_once) == {"agent_token", "initial_admin_password"}
    assert not any(value in text for value in made.shown_once.values())
    assert "advfirewall firewall add" not in plan.told(planned().steps)
    # It is stopped before it is replaced, and started last.
    assert "stop" in made.steps[0].told() and "start" in made.steps[-1].told()


def test_the_data_is_for_the_service_and_administrators_only():
    folders = dict(re.findall(r"^folder   (\S+)  \((.*)\)$", plan.told(planned().steps), re.MULTILINE))
    sid = windows.service_sid("ananta")
    system, administrators = "(A;OICI;FA;;;SY)", "(A;OICI;FA;;;BA)"
    assert folders[r"C:\ProgramData\Ananta\data"] == f"D:P{system}{administrators}(A;OICI;FA;;;{sid})"
    assert folders[r"C:\ProgramData\Ananta\credentials"] == f"D:P{system}{administrators}(A;OICI;FRFX;;;{sid})"
    # Where its settings are it may look, and its commands may change nothing.
    assert folders[r"C:\ProgramData\Ananta"] == f"D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FRFX;;;{sid})"


def test_the_account_of_a_service_follows_from_its_name():
    # A service that every Windows has; its identity stands in Microsoft's documentation.
    assert windows.service_sid("TrustedInstaller") == "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
    assert windows.service_sid("ANANTA") == windows.service_sid("ananta")


def test_for_one_person_it_starts_at_sign_in_without_rights():
    made = planned(places=USER)
    text = plan.told(made.steps)
    assert rf'"C:\Users\Ada Lovelace\AppData\Local\Programs\Ananta\{__version__}\ananta.exe" service run --user' in text
    assert r"registry HKCU\Software\Microsoft\Windows\CurrentVersion\Run" in text
    for part in ("HKLM", "ProgramData", "Program Files", "netsh", "NT SERVICE"):
        assert part not in text


def test_an_update_keeps_settings_and_token():
    made = planned({"port": "6000"}, before='# mine\nPORT="5001"\nROLE="worker"\n', kept={"agent_token": "file"})
    (text,) = [step.content for step in made.steps if isinstance(step, plan.File)]
    assert text == '# mine\nPORT="6000"\nROLE="worker"\n' and made.shown_once == {}


@pytest.mark.parametrize("given", [{"port": "80"}, {"role": "boss"}])
def test_what_is_not_possible_is_refused(given):
    with pytest.raises(SettingInvalid):
        planned(given)


@pytest.mark.parametrize("places", [PLACES, USER])
def test_a_removal_keeps_the_data_unless_told(places):
    text = plan.told(windows.removal(places, Untouched(), purge=False, there=True))
    assert f"remove   {places.program}" in text and f"remove   {places.state}" not in text.splitlines()
    assert f"remove   {places.state}" in plan.told(windows.removal(places, Untouched(), purge=True, there=False)).splitlines()
    with pytest.raises(NotFound):
        windows.removal(places, Untouched(), purge=False, there=False)


def test_command_lines_are_quoted_as_windows_splits_them():
    assert windows.command_line(["a b", 'say "x"', "c\\", ""]) == r'"a b" "say \"x\"" c\ ""'


@pytest.mark.parametrize("arguments", [["install", "--user"], ["install", "--firewall"], ["uninstall", "--user"], ["status", "--user"], ["run"]])
def test_what_is_for_windows_is_refused_elsewhere(tmp_path, arguments):
    done = ananta(tmp_path, "service", *arguments)
    assert done.returncode == 2 and "Windows" in done.stderr


def test_a_stop_that_comes_in_another_thread_is_a_stop(tmp_path):
    # As the service control manager's calls do.
    script = ("import _thread, signal, sys, threading, time, requests\nfrom ananta import app, settings\n"
              "told = []\n"
              "class Manager:\n"
              "    def ready(self, url):\n"
              "        told.append('ready')\n"
              "        threading.Thread(target=lambda: (requests.get(url + '/health', timeout=30), _thread.interrupt_main(signal.SIGTERM))).start()\n"
              "    def stopping(self): told.append('stopping')\n"
              "    def close(self): told.append('close')\n"
              "code = app.serve(settings.load({'port': '0', 'disable_llm_check': 'true'}, {}), lambda text: None, Manager())\n"
              "print(code, told)\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=WAIT_S,
                          env={**clean_environment(tmp_path), "PYTHONPATH": str(ROOT)})
    assert done.stdout.strip() == "0 ['ready', 'stopping', 'close']", done.stderr
