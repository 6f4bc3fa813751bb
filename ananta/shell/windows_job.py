"""A Windows job object: whatever a process in it starts is in it too, and ends with it."""
import ctypes
import subprocess
import sys
from ctypes import wintypes

assert sys.platform == "win32"  # for the type checker: processes.py has this part elsewhere

CREATE_SUSPENDED = 0x4
EXTENDED_LIMITS, BASIC_ACCOUNTING = 9, 1
KILL_ON_JOB_CLOSE = 0x2000
ENDED = 0xFFFFFFFF  # exit code of what is ended by us


class BasicLimits(ctypes.Structure):
    _fields_ = [("PerProcessUserTimeLimit", ctypes.c_int64), ("PerJobUserTimeLimit", ctypes.c_int64),
                ("LimitFlags", wintypes.DWORD), ("MinimumWorkingSetSize", ctypes.c_size_t),
                ("MaximumWorkingSetSize", ctypes.c_size_t), ("ActiveProcessLimit", wintypes.DWORD),
                ("Affinity", ctypes.c_size_t), ("PriorityClass", wintypes.DWORD), ("SchedulingClass", wintypes.DWORD)]


class ExtendedLimits(ctypes.Structure):
    _fields_ = [("BasicLimitInformation", BasicLimits), ("IoInfo", ctypes.c_uint64 * 6),
                ("ProcessMemoryLimit", ctypes.c_size_t), ("JobMemoryLimit", ctypes.c_size_t),
                ("PeakProcessMemoryUsed", ctypes.c_size_t), ("PeakJobMemoryUsed", ctypes.c_size_t)]


class Accounting(ctypes.Structure):
    _fields_ = [("Times", ctypes.c_int64 * 4), ("TotalPageFaultCount", wintypes.DWORD),
                ("TotalProcesses", wintypes.DWORD), ("ActiveProcesses", wintypes.DWORD),
                ("TotalTerminatedProcesses", wintypes.DWORD)]


class Job:
    """Holds one process and all its descendants; closing it ends them. Raises OSError when it cannot be made."""

    def __init__(self) -> None:
        self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        for name, result, *arguments in (
                ("CreateJobObjectW", wintypes.HANDLE, wintypes.LPVOID, wintypes.LPCWSTR),
                ("SetInformationJobObject", wintypes.BOOL, wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD),
                ("QueryInformationJobObject", wintypes.BOOL, wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID,
                 wintypes.DWORD, wintypes.LPVOID),
                ("AssignProcessToJobObject", wintypes.BOOL, wintypes.HANDLE, wintypes.HANDLE),
                ("TerminateJobObject", wintypes.BOOL, wintypes.HANDLE, wintypes.UINT),
                ("CloseHandle", wintypes.BOOL, wintypes.HANDLE)):
            function = getattr(self._kernel, name)
            function.restype, function.argtypes = result, arguments
        self._handle = self._kernel.CreateJobObjectW(None, None)
        limits = ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE
        if not self._handle or not self._kernel.SetInformationJobObject(
                self._handle, EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)):
            raise ctypes.WinError(ctypes.get_last_error())

    def take(self, process: subprocess.Popen) -> None:
        """Takes in a process created suspended, and lets it go on: so no child of it can be missed."""
        handle = wintypes.HANDLE(int(process._handle))  # type: ignore[attr-defined]
        if not self._kernel.AssignProcessToJobObject(self._handle, handle):
            raise ctypes.WinError(ctypes.get_last_error())
        resume = ctypes.WinDLL("ntdll").NtResumeProcess
        resume.argtypes = [wintypes.HANDLE]
        if resume(handle) < 0:
            raise OSError("NtResumeProcess failed")

    def alive(self) -> int:
        """Returns how many processes of the job live."""
        numbers = Accounting()
        self._kernel.QueryInformationJobObject(
            self._handle, BASIC_ACCOUNTING, ctypes.byref(numbers), ctypes.sizeof(numbers), None)
        return int(numbers.ActiveProcesses)

    def end(self) -> None:
        """Ends them all."""
        if self._handle:
            self._kernel.TerminateJobObject(self._handle, ENDED)

    def close(self) -> None:
        """Ends them all and gives the job back; may be called again."""
        handle, self._handle = self._handle, None
        if handle:
            self._kernel.CloseHandle(handle)


def end_tree(pid: int) -> None:
    """Ends a process and its descendants without a job, as far as they can be found."""
    subprocess.run(["taskkill", "/PID", str(pid), "/T", "/F"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
