"""Windows itself: the service control manager, the event log, the registry, folders with rights. By ctypes alone.

Written from the documentation (learn.microsoft.com, winsvc.h); not yet tried on Windows."""
import ctypes
import os
import sys
import time
import winreg
from collections.abc import Mapping
from ctypes import wintypes
from pathlib import Path

from ananta.errors import CannotStart
from ananta.operations.service import layout
from ananta.operations.service.windows import RUN_KEY, System

assert sys.platform == "win32"  # for the type checker

MANAGER_ALL, SERVICE_ALL = 0xF003F, 0xF01FF
MANAGER_CONNECT, SERVICE_QUERY = 0x1, 0x4
OWN_PROCESS, AUTO_START, NORMAL_ERRORS = 0x10, 2, 1
DESCRIPTION, FAILURE_ACTIONS, RESTART = 1, 2, 1
STOP = 1
STOPPED, RUNNING = 1, 4
NOT_THERE, ALREADY_THERE, ALREADY_RUNNING, NOT_RUNNING = 1060, 183, 1056, 1062
STATES = {1: "stopped", 2: "starting", 3: "stopping", 4: "running", 5: "continuing", 6: "pausing", 7: "paused"}
DACL, PROTECTED_DACL, FILE_OBJECT = 0x4, 0x80000000, 1
WAIT_S, STEP_S = 60.0, 0.2
RESTART_AFTER_MS, FORGET_AFTER_S = 2000, 86400


class SecurityAttributes(ctypes.Structure):
    _fields_ = [("nLength", wintypes.DWORD), ("lpSecurityDescriptor", wintypes.LPVOID), ("bInheritHandle", wintypes.BOOL)]


class ServiceStatus(ctypes.Structure):
    _fields_ = [(name, wintypes.DWORD) for name in (
        "dwServiceType", "dwCurrentState", "dwControlsAccepted", "dwWin32ExitCode", "dwServiceSpecificExitCode", "dwCheckPoint", "dwWaitHint")]


class Description(ctypes.Structure):
    _fields_ = [("lpDescription", wintypes.LPWSTR)]


class Action(ctypes.Structure):
    _fields_ = [("Type", ctypes.c_int), ("Delay", wintypes.DWORD)]


class FailureActions(ctypes.Structure):
    _fields_ = [("dwResetPeriod", wintypes.DWORD), ("lpRebootMsg", wintypes.LPWSTR), ("lpCommand", wintypes.LPWSTR),
                ("cActions", wintypes.DWORD), ("lpsaActions", ctypes.POINTER(Action))]


def _library() -> ctypes.WinDLL:
    library = ctypes.WinDLL("advapi32", use_last_error=True)
    handle, text, number, flag, pointer = wintypes.HANDLE, wintypes.LPCWSTR, wintypes.DWORD, wintypes.BOOL, wintypes.LPVOID
    for name, result, *arguments in (
            ("OpenSCManagerW", handle, text, text, number), ("OpenServiceW", handle, handle, text, number),
            ("CreateServiceW", handle, handle, text, text, number, number, number, number, text, text, pointer, text, text, text),
            ("ChangeServiceConfigW", flag, handle, number, number, number, text, text, pointer, text, text, text, text),
            ("ChangeServiceConfig2W", flag, handle, number, pointer), ("StartServiceW", flag, handle, number, pointer),
            ("ControlService", flag, handle, number, pointer), ("QueryServiceStatus", flag, handle, pointer), ("DeleteService", flag, handle),
            ("CloseServiceHandle", flag, handle),
            ("ConvertStringSecurityDescriptorToSecurityDescriptorW", flag, text, number, pointer, pointer),
            ("GetSecurityDescriptorDacl", flag, pointer, pointer, pointer, pointer),
            ("SetNamedSecurityInfoW", number, text, ctypes.c_int, number, pointer, pointer, pointer, pointer)):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class WindowsSystem(System):
    """Every method raises OSError with what Windows says."""

    def __init__(self) -> None:
        self._library = _library()
        self.lay_out = layout.lay_out

    def make_folder(self, path: str, sddl: str) -> None:
        """Makes a folder, or gives the one that is there these rights; sddl "": those of the folder above."""
        if not sddl:
            os.makedirs(path, exist_ok=True)
            return
        descriptor = wintypes.LPVOID()
        self._right(self._library.ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, 1, ctypes.byref(descriptor), None))
        try:
            kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            attributes = SecurityAttributes(ctypes.sizeof(SecurityAttributes), descriptor, False)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not kernel.CreateDirectoryW(wintypes.LPCWSTR(path), ctypes.byref(attributes)):
                if ctypes.get_last_error() != ALREADY_THERE:
                    raise ctypes.WinError(ctypes.get_last_error())
                self._set_rights(path, descriptor)
        finally:
            local_free = ctypes.WinDLL("kernel32").LocalFree
            local_free.argtypes = [wintypes.LPVOID]
            local_free(descriptor)

    def _set_rights(self, path: str, descriptor: wintypes.LPVOID) -> None:
        present, defaulted, dacl = wintypes.BOOL(), wintypes.BOOL(), wintypes.LPVOID()
        self._right(self._library.GetSecurityDescriptorDacl(descriptor, ctypes.byref(present), ctypes.byref(dacl), ctypes.byref(defaulted)))
        code = self._library.SetNamedSecurityInfoW(path, FILE_OBJECT, DACL | PROTECTED_DACL, None, None, dacl, None)
        if code:
            raise ctypes.WinError(code)

    def register(self, name: str, display: str, about: str, line: str, account: str, environment: Mapping[str, str]) -> None:
        """Makes the service, or gives the one that is there this program and environment; it is stopped then."""
        self.stop(name)
        with self._manager(MANAGER_ALL) as manager:
            service = self._library.OpenServiceW(manager.handle, name, SERVICE_ALL)
            if service:
                self._right(self._library.ChangeServiceConfigW(
                    service, OWN_PROCESS, AUTO_START, NORMAL_ERRORS, line, None, None, None, account, None, display))
            else:
                service = self._right(self._library.CreateServiceW(
                    manager.handle, name, display, SERVICE_ALL, OWN_PROCESS, AUTO_START, NORMAL_ERRORS, line, None, None, None, account, None))
            with _Handle(self._library, service):
                text = Description(about)
                self._right(self._library.ChangeServiceConfig2W(service, DESCRIPTION, ctypes.byref(text)))
                actions = (Action * 3)(*(Action(RESTART, RESTART_AFTER_MS) for _ in range(3)))
                failure = FailureActions(FORGET_AFTER_S, None, None, len(actions), actions)
                self._right(self._library.ChangeServiceConfig2W(service, FAILURE_ACTIONS, ctypes.byref(failure)))
        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, rf"SYSTEM\CurrentControlSet\Services\{name}") as key:
            winreg.SetValueEx(key, "Environment", 0, winreg.REG_MULTI_SZ, [f"{each}={value}" for each, value in environment.items()])

    def start(self, name: str) -> None:
        """Starts the service and waits until it runs. Raises CannotStart when it ends instead."""
        with self._manager(MANAGER_CONNECT) as manager, self._service(manager, name, SERVICE_ALL) as service:
            if not self._library.StartServiceW(service.handle, 0, None) and ctypes.get_last_error() != ALREADY_RUNNING:
                raise ctypes.WinError(ctypes.get_last_error())
            if self._wait(service.handle, RUNNING) != RUNNING:
                raise CannotStart(f"The service {name} does not run. See why: Event Viewer, Windows Logs, Application, source Ananta.")

    def remove(self, name: str) -> None:
        """Stops and removes the service; nothing where there is none."""
        if not self.stop(name):
            return
        with self._manager(MANAGER_ALL) as manager, self._service(manager, name, SERVICE_ALL) as service:
            self._right(self._library.DeleteService(service.handle))

    def state(self, name: str) -> str | None:
        """Returns how the service is, None where there is none."""
        with self._manager(MANAGER_CONNECT) as manager:
            found = self._library.OpenServiceW(manager.handle, name, SERVICE_QUERY)
            if not found:
                return None
            with _Handle(self._library, found):
                return STATES.get(self._now(found), "unknown")

    def set_event_source(self, key: str, messages: str) -> None:
        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, key) as found:
            winreg.SetValueEx(found, "EventMessageFile", 0, winreg.REG_EXPAND_SZ, messages)
            winreg.SetValueEx(found, "TypesSupported", 0, winreg.REG_DWORD, 7)

    def forget_event_source(self, key: str) -> None:
        try:
            winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, key)
        except FileNotFoundError:
            return

    def set_autostart(self, name: str, line: str) -> None:
        with winreg.CreateKey(winreg.HKEY_CURRENT_USER, RUN_KEY) as key:
            winreg.SetValueEx(key, name, 0, winreg.REG_SZ, line)

    def autostart(self, name: str) -> str | None:
        """Returns the command line that starts it at sign-in, None without one."""
        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, RUN_KEY) as key:
                return str(winreg.QueryValueEx(key, name)[0])
        except FileNotFoundError:
            return None

    def forget_autostart(self, name: str) -> None:
        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, RUN_KEY, 0, winreg.KEY_SET_VALUE) as key:
                winreg.DeleteValue(key, name)
        except FileNotFoundError:
            return

    def stop(self, name: str) -> bool:
        """Stops the service and waits for that; returns whether there is one."""
        with self._manager(MANAGER_CONNECT) as manager:
            found = self._library.OpenServiceW(manager.handle, name, SERVICE_ALL)
            if not found:
                if ctypes.get_last_error() == NOT_THERE:
                    return False
                raise ctypes.WinError(ctypes.get_last_error())
            with _Handle(self._library, found):
                status = ServiceStatus()
                if not self._library.ControlService(found, STOP, ctypes.byref(status)):
                    if ctypes.get_last_error() == NOT_RUNNING:
                        return True
                    raise ctypes.WinError(ctypes.get_last_error())
                if self._wait(found, STOPPED) != STOPPED:
                    raise CannotStart(f"The service {name} does not stop: end its process in the Task Manager, and try again.")
        return True

    def _wait(self, service: int, wanted: int) -> int:
        """Returns the state that the service has come to: the wanted one, or that in which it stays."""
        until = time.monotonic() + WAIT_S
        state = self._now(service)
        while state not in (wanted, STOPPED) and time.monotonic() < until:
            time.sleep(STEP_S)
            state = self._now(service)
        return state

    def _now(self, service: int) -> int:
        status = ServiceStatus()
        self._right(self._library.QueryServiceStatus(service, ctypes.byref(status)))
        return int(status.dwCurrentState)

    def _manager(self, access: int) -> "_Handle":
        return _Handle(self._library, self._right(self._library.OpenSCManagerW(None, None, access)))

    def _service(self, manager: "_Handle", name: str, access: int) -> "_Handle":
        return _Handle(self._library, self._right(self._library.OpenServiceW(manager.handle, name, access)))

    def _right(self, result: int) -> int:
        """Returns what a call returned. Raises OSError for zero, which says that it failed."""
        if not result:
            raise ctypes.WinError(ctypes.get_last_error())
        return result


class _Handle:
    """Closes a handle of the service control manager at the end of `with`."""

    def __init__(self, library: ctypes.WinDLL, handle: int):
        self._library, self.handle = library, handle

    def __enter__(self) -> "_Handle":
        return self

    def __exit__(self, *_: object) -> None:
        self._library.CloseServiceHandle(self.handle)


def is_administrator() -> bool:
    return bool(ctypes.WinDLL("shell32").IsUserAnAdmin())


def kept_secrets(folder: Path, names: set[str]) -> dict[str, str]:
    """Returns name and file of the secrets that are there. Raises CannotStart."""
    try:
        return {each.name: str(each) for each in sorted(folder.iterdir()) if each.name in names}
    except FileNotFoundError:
        return {}
    except PermissionError as cause:
        raise CannotStart(f"{folder} can be read by administrators only: open a terminal with \"Run as administrator\".") from cause
