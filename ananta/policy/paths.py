"""Paths of a command line, compared without a file system: normalised, on Windows in lower case."""
import fnmatch
import ntpath
import posixpath
import re

from ananta.policy.words import UNKNOWN

SYSTEM_DIRS = frozenset("""/ /bin /boot /dev /etc /home /lib /lib32 /lib64 /libx32 /opt /proc /root /run /sbin /srv /sys /usr /var /usr/bin
/usr/lib /usr/local /usr/sbin /usr/share /usr/include /var/lib /var/log /var/www /mnt /media /users /system /library /applications /usr/local/bin
/usr/lib64 /usr/local/lib /boot/efi /etc/ssh /nix /snap /cygdrive/c /mnt/c /c""".split())  # noqa: SIM905
WINDOWS_DIRS = re.compile(r"[a-z]:(?:\\(?:windows(?:\\(?:system32|syswow64|winsxs))?|program files(?: \(x86\))?|programdata|users(?:\\[^\\]+)?|boot|recovery)?)?\\?")
PROC_ROOT = re.compile(r"/proc/(?:self|thread-self|\d+)/root(?=/|$)")


def normal(path: str, cwd: str, *, windows: bool) -> str:
    """Returns the absolute path without `.` and `..`."""
    if windows:
        path = re.sub(r"^(?:microsoft\.powershell\.core\\)?filesystem::", "", path.lower().replace("/", "\\"))
        path = re.sub(r"^\\\\[?.]\\", "", path)
        if re.fullmatch(r"[a-z]:", path):
            return path + "\\"
        return ntpath.normpath(ntpath.join(cwd.lower(), path))
    joined = posixpath.join(cwd or "/", path)
    clean = posixpath.normpath(joined)
    clean = "/" + clean.lstrip("/") if clean.startswith("//") else clean
    return PROC_ROOT.sub("", clean) or "/"


def inside(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies below it."""
    if not directory:
        return False
    path, directory = path.replace("\\", "/").rstrip("/"), directory.replace("\\", "/").rstrip("/")
    return path == directory or path.startswith(directory + "/")


def may_reach(path: str, directory: str, *, glob: bool) -> bool:
    """Whether a path lies in a directory, or is a pattern that may."""
    if not directory:
        return False
    if inside(path, directory):
        return True
    if not glob and UNKNOWN not in path:
        return False
    parts, wanted = _parts(path.replace(UNKNOWN, "*")), _parts(directory)
    if "**" in parts:
        cut = parts.index("**")
        return all(fnmatch.fnmatchcase(w, p) for p, w in zip(parts[:cut], wanted, strict=False))
    if len(parts) < len(wanted):
        return False
    return all(fnmatch.fnmatchcase(w, p) for p, w in zip(parts, wanted, strict=False))


def is_system(path: str, home: str, *, windows: bool, glob: bool) -> bool:
    """Whether a path is the root, a system directory or a home, or everything in one."""
    home = home.lower().rstrip("\\") if windows else home.rstrip("/")
    sign = "\\" if windows else "/"
    head, _, tail = path.rpartition(sign)
    if glob and tail and re.fullmatch(r"\.?[*?]+|\.?\[.*\]\*?|\*\.\*|\.\?\*", tail):
        path = head or sign
    bare = path.rstrip(sign) or sign
    if windows:
        return bool(WINDOWS_DIRS.fullmatch(path)) or bare == home or bool(re.fullmatch(r"\\|\\(?:windows|users|program files.*)", bare))
    lower = bare.lower()
    if bare == home or (bare in SYSTEM_DIRS) or lower in ("/users", "/system", "/library", "/applications") or re.fullmatch(r"/(?:home|Users)/[^/]+", bare):
        return True
    return glob and any(may_match(bare, known) for known in SYSTEM_DIRS if known != "/")


def may_match(pattern: str, path: str, *, hidden: bool = True) -> bool:
    """Whether a pattern of file names matches exactly this path. hidden: wildcards also stand for a leading dot."""
    parts, wanted = _parts(pattern), _parts(path)
    if not hidden and any(w[:1] == "." and p[:1] not in (".", "[", "@", "+", "!") for p, w in zip(parts, wanted, strict=False)):
        return False
    return len(parts) == len(wanted) and any(re.search(r"[*?\[]", p) for p in parts) and all(
        fnmatch.fnmatchcase(w, p) for p, w in zip(parts, wanted, strict=True))


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part]
