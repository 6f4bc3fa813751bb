"""This process as a Windows service: it tells the service control manager how it is, and stops when that says so.

The manager's calls come in threads of its own, while the agent runs in the main thread as everywhere else; a stop reaches
it as the signal that it knows. Written from the documentation (winsvc.h); not yet tried on Windows."""
import _thread
import ctypes
import io
import signal
import sys
import threading
from ctypes import wintypes

from ananta.errors import CannotStart

assert sys.platform == "win32"  # for the type checker

OWN_PROCESS = 0x10
START_PENDING, STOP_PENDING, STOPPED, RUNNING = 2, 3, 1, 4
ACCEPT_STOP, ACCEPT_SHUTDOWN = 1, 4
CONTROL_STOP, CONTROL_INTERROGATE, CONTROL_SHUTDOWN = 1, 4, 5
NO_ERROR, NOT_IMPLEMENTED, SPECIFIC_ERROR = 0, 120, 1066
HINT_MS, CONNECT_S, EVENT_CHARS = 30_000, 30.0, 30_000
ERROR, WARNING, INFORMATION = 1, 2, 4

MainFunction = ctypes.WINFUNCTYPE(None, wintypes.DWORD, ctypes.POINTER(wintypes.LPWSTR))
Handler = ctypes.WINFUNCTYPE(wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, wintypes.LPVOID, wintypes.LPVOID)


class Entry(ctypes.Structure):
    _fields_ = [("lpServiceName", wintypes.LPWSTR), ("lpServiceProc", MainFunction)]


class ServiceStatus(ctypes.Structure):
    _fields_ = [(name, wintypes.DWORD) for name in (
        "dwServiceType", "dwCurrentState", "dwControlsAccepted", "dwWin32ExitCode", "dwServiceSpecificExitCode", "dwCheckPoint", "dwWaitHint")]


class WindowsService:
    """A Supervisor (supervision.py): the service control manager. connect() first, stopped() last."""

    def __init__(self, name: str):
        self._name = name
        self._library = ctypes.WinDLL("advapi32", use_last_error=True)
        self._library.RegisterServiceCtrlHandlerExW.restype = wintypes.HANDLE
        self._library.RegisterServiceCtrlHandlerExW.argtypes = [wintypes.LPCWSTR, Handler, wintypes.LPVOID]
        self._library.SetServiceStatus.restype = wintypes.BOOL
        self._library.SetServiceStatus.argtypes = [wintypes.HANDLE, wintypes.LPVOID]
        self._library.StartServiceCtrlDispatcherW.restype = wintypes.BOOL
        self._library.StartServiceCtrlDispatcherW.argtypes = [wintypes.LPVOID]
        # Windows calls them as long as the service lives, so they must not be collected.
        self._handler, self._main = Handler(self._control), MainFunction(self._begin)
        self._status: int | None = None
        self._state = START_PENDING
        self._known, self._over = threading.Event(), threading.Event()
        self._refused = False

    def connect(self) -> None:
        """Returns once the manager has begun the service. Raises CannotStart where nobody but a person has started this."""
        threading.Thread(target=self._dispatch, name="service-control", daemon=True).start()
        if not self._known.wait(CONNECT_S) or self._refused:
            raise CannotStart("Only the service control manager starts this: `ananta service install` makes the service, `ananta` alone "
                              "starts the agent in this terminal.")

    def ready(self, url: str) -> None:
        self._tell(RUNNING, ACCEPT_STOP | ACCEPT_SHUTDOWN)

    def stopping(self) -> None:
        self._tell(STOP_PENDING)

    def close(self) -> None:
        """The exit code is not known yet: stopped() follows."""

    def stopped(self, code: int) -> None:
        """Tells how it has ended; the process may end after that."""
        self._tell(STOPPED, code=code)
        self._over.set()

    def _dispatch(self) -> None:
        table = (Entry * 2)(Entry(self._name, self._main), Entry(None, MainFunction()))
        if not self._library.StartServiceCtrlDispatcherW(ctypes.byref(table)):
            self._refused = True
            self._known.set()

    def _begin(self, count: int, words: object) -> None:
        """ServiceMain: Windows takes the service for ended when it returns."""
        self._status = self._library.RegisterServiceCtrlHandlerExW(self._name, self._handler, None)
        self._tell(START_PENDING)
        self._known.set()
        self._over.wait()

    def _control(self, control: int, kind: int, data: object, context: object) -> int:
        if control in (CONTROL_STOP, CONTROL_SHUTDOWN):
            self._tell(STOP_PENDING)
            _thread.interrupt_main(signal.SIGTERM)
            return NO_ERROR
        return NO_ERROR if control == CONTROL_INTERROGATE else NOT_IMPLEMENTED

    def _tell(self, state: int, accepts: int = 0, code: int = 0) -> None:
        if self._status is None or self._state == STOPPED:
            return
        self._state = state
        waiting = state in (START_PENDING, STOP_PENDING)
        status = ServiceStatus(OWN_PROCESS, state, accepts, SPECIFIC_ERROR if code else NO_ERROR, code, 0, HINT_MS if waiting else 0)
        self._library.SetServiceStatus(self._status, ctypes.byref(status))


class EventLog(io.TextIOBase):
    """A stream whose lines become events: a service has no other place to write to."""

    def __init__(self, source: str):
        self._library = ctypes.WinDLL("advapi32", use_last_error=True)
        self._library.RegisterEventSourceW.restype = wintypes.HANDLE
        self._library.RegisterEventSourceW.argtypes = [wintypes.LPCWSTR, wintypes.LPCWSTR]
        self._library.ReportEventW.argtypes = [wintypes.HANDLE, wintypes.WORD, wintypes.WORD, wintypes.DWORD, wintypes.LPVOID, wintypes.WORD,
                                               wintypes.DWORD, wintypes.LPVOID, wintypes.LPVOID]
        self._log = self._library.RegisterEventSourceW(None, source)
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._report(line[:EVENT_CHARS].replace("\0", ""))
        return len(text)

    def _report(self, line: str) -> None:
        kind = ERROR if " ERROR " in line[:60] or line.startswith("ananta:") else WARNING if " WARNING " in line[:60] else INFORMATION
        texts = (wintypes.LPCWSTR * 1)(line)
        self._library.ReportEventW(self._log, kind, 0, 1, None, 1, 0, ctypes.byref(texts), None)


def hide_console() -> None:
    """Hides the window in which a program that was started at sign-in would show."""
    kernel, user = ctypes.WinDLL("kernel32"), ctypes.WinDLL("user32")
    kernel.GetConsoleWindow.restype = wintypes.HWND
    user.ShowWindow.argtypes = [wintypes.HWND, ctypes.c_int]
    window = kernel.GetConsoleWindow()
    if window:
        user.ShowWindow(window, 0)
