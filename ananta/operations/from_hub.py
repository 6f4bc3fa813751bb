"""A release from a hub: chosen, fetched, and then handed to `ananta update` as any file with its signature.

The hub is not believed: what a release is stands in its signature, which a key that is built in must have made. What a hub can
do is to keep a newer version back. The token goes to the address that was named, and nowhere else: redirects are not followed.
"""
import hashlib
import http.client
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ananta import __version__
from ananta.domain import releases as rules
from ananta.domain.configuration import is_address
from ananta.domain.releases import Release
from ananta.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    StoreFailed,
    Unavailable,
    Upstream,
)
from ananta.hub import wire
from ananta.operations import update as updating
from ananta.operations.client import agent_token
from ananta.operations.program import installed
from ananta.operations.update import Updated
from ananta.release_key import KEYS
from ananta.settings import Settings
from ananta.store import files

ASK_S, DOWNLOAD_S, STALL_S, LIST_BYTES = 20.0, 4 * 3600.0, 30.0, 1 << 20
# How often in a row a download may break off without a byte more; how long a hub may have no place for it.
TRIES, PAUSE_S, BUSY_S, LONGEST_PAUSE_S = 3, 0.5, 900.0, 30.0
MOST_BYTES = 2 << 30
RESERVE_BYTES = 64 << 20
WHICH = "name a hub (--from-hub URL), of a version that keeps releases"


@dataclass(frozen=True)
class Listed:
    """What a hub says of a release: to be found by, not to be believed."""

    name: str
    version: str
    platform: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Offer:
    """The release to take. hub: its address; release: what its maker has signed."""

    hub: str
    name: str
    release: Release
    signature: bytes


def find(settings: Settings, url: str | None, *, force: bool) -> Offer | None:
    """Returns the newest release for this machine that the hub has, None where none is newer than this version. url: the hub, default
    HUB_URL; force: also one that is not newer. Raises AnantaError."""
    updating.require_key("takes none")
    hub = Hub(_address(settings, url), agent_token(settings))
    here = rules.platform(sys.platform, platform.machine())
    # Before anything is fetched only what the hub says can be gone by.
    found = [each for each in hub.listed() if each.platform == here and rules.VERSION.fullmatch(each.version)
             and (force or rules.number(each.version) > rules.number(__version__))]
    return hub.offer(max(found, key=lambda each: rules.number(each.version))) if found else None


def update(settings: Settings, offer: Offer, *, force: bool, make_backup: bool, wait_s: float, environment: Mapping[str, str],
           say: Callable[[str], None]) -> Updated:
    """Fetches the release, and does with it what `ananta update FILE` does. Raises AnantaError: then the version before is in its place."""
    program = installed()
    hub = Hub(offer.hub, agent_token(settings))
    with _folder(program.folder, program.file.stem) as folder:
        file = folder / offer.name
        say(f"fetching {offer.name} ({offer.release.size / (1 << 20):.1f} MiB) from {offer.hub}")
        hub.fetch(offer, file)
        _write(file.with_name(file.name + ".sig"), offer.signature)
        return updating.update(settings, file, force=force, make_backup=make_backup, wait_s=wait_s, environment=environment, say=say)


class Hub:
    """A hub that is asked for releases, with this agent's token."""

    def __init__(self, url: str, token: str | None):
        self.url, self.token = url, token

    def listed(self) -> list[Listed]:
        """Returns what it lists. Raises Unavailable, NotAuthenticated, Upstream, NotFound."""
        try:
            return msgspec.json.decode(self._asked("/releases", LIST_BYTES), type=list[Listed])
        except (msgspec.MsgspecError, UnicodeDecodeError) as cause:
            raise Upstream(f"{self.url}/releases answers something else than a list of releases: {WHICH}.") from cause

    def offer(self, listed: Listed) -> Offer:
        """Returns the release with its signature, which is verified. Raises NotAllowed, InvalidInput, Conflict."""
        _check_name(listed.name, self.url)
        text = self._asked(f"/releases/{listed.name}/signature", rules.SIGNATURE_BYTES + 1)
        try:
            release = rules.read(text, KEYS)
        except (NotAllowed, InvalidInput) as cause:
            raise type(cause)(f"The hub {self.url} has a wrong signature for {listed.name}, or one by a key that this version does not know, and "
                              f"so it is not taken: on the hub `ananta release remove {listed.name}`, then `ananta release add` with file and "
                              "signature of whoever releases this program. Nothing was changed.") from cause
        if (release.version, release.platform, release.size, release.sha256) != (listed.version, listed.platform, listed.size, listed.sha256):
            raise Conflict(f"The hub {self.url} lists {listed.name} as version {listed.version[:40]} for {listed.platform[:40]}, and its signature says "
                           f"version {release.version} for {release.platform}, or another file: on the hub `ananta release remove {listed.name}`, and "
                           "add it anew. Nothing was changed.")
        if release.size > MOST_BYTES:
            raise InvalidInput(f"{listed.name} has {release.size >> 20} MiB, and more than {MOST_BYTES >> 20} MiB are not taken from a hub: use "
                               "`ananta update FILE`.")
        return Offer(self.url, listed.name, release, text)

    def fetch(self, offer: Offer, file: Path) -> None:
        """Writes the file, which is what was signed when this returns; goes on where a connection breaks. Raises Unavailable,
        Conflict, StoreFailed."""
        size = offer.release.size
        # It is copied once more before it is used.
        if shutil.disk_usage(file.parent).free < 2 * size + RESERVE_BYTES:
            raise StoreFailed(f"{offer.name} has {size >> 20} MiB and takes twice as much while it is put in place, and less than "
                              f"{RESERVE_BYTES >> 20} MiB would stay free on the disk of {file.parent}: make room. Nothing was changed.")
        try:
            with file.open("xb") as into:
                _Download(self, offer, into).run()
                into.flush()
                os.fsync(into.fileno())
            _check(file, offer)
        except OSError as cause:
            raise StoreFailed(f"{file} cannot be written: {files.reason(cause)} Nothing was changed.") from cause

    def headers(self, *more: str) -> list[str]:
        return wire.headers(None, self.token, "Connection: close", *more)

    def refuse(self, status: int, content: bytes) -> None:
        """Raises what an answer means that is not what was asked for."""
        said = (wire.json_object(content) or {}).get("message")
        # What a stranger says must not command the terminal.
        why = ": " + "".join(each if each.isprintable() else " " for each in said[:300]).rstrip(".") if isinstance(said, str) else ""
        if 300 <= status < 400:
            raise Upstream(f"The hub {self.url} leads elsewhere (status {status}), where its token must not go: name the address it leads to.")
        if status == 401:
            raise NotAuthenticated(f"The hub {self.url} does not know this agent's token{why}. Start the agent, so that it registers, or set AGENT_TOKEN "
                                   "to one that the hub takes." if self.token else f"The hub {self.url} asks for a token, and this agent has none: `ananta "
                                   "token new` makes one, with which it registers at its next start; or set AGENT_TOKEN.")
        if status == 404:
            raise NotFound(f"There are no releases at {self.url}{why}: {WHICH}.")
        if status == 503:
            raise Unavailable(f"The hub {self.url} cannot do that now{why}. Try again in a minute.")
        raise Upstream(f"The hub {self.url} answered {status}{why}. Its log says why.")

    def _asked(self, path: str, most_bytes: int) -> bytes:
        try:
            status, content = wire.once("GET", self.url + path, None, self.token, timeout_s=ASK_S, most_bytes=most_bytes)
        except wire.TooLarge as cause:
            raise Upstream(f"{self.url}{path} does not answer as a hub does: {cause}.") from cause
        except wire.NoAnswer as cause:
            raise self.unreachable(str(cause)) from cause
        if status != 200:
            self.refuse(status, content)
        return content

    def unreachable(self, why: str) -> Unavailable:
        return Unavailable(f"The hub {self.url} cannot be reached: {why}. Start it, correct HUB_URL, or name another one: --from-hub URL.")


class _Download:
    """One file, in as many answers as it takes. What comes is not more than was signed."""

    def __init__(self, hub: Hub, offer: Offer, into):
        self.hub, self.offer, self.into, self.at = hub, offer, into, 0
        self.url, self.until = f"{hub.url}/releases/{offer.name}", time.monotonic() + DOWNLOAD_S

    def run(self) -> None:
        failed, busy_until = 0, time.monotonic() + BUSY_S
        while self.at < self.offer.release.size:
            before, pause_s = self.at, PAUSE_S
            try:
                pause_s = self._once() or PAUSE_S
                failed = 0
                if pause_s > PAUSE_S and time.monotonic() > busy_until:
                    raise Unavailable(f"The hub {self.hub.url} has had no place for a download for {BUSY_S:g} s: try again later. Nothing was changed.")
            except _NotWritten as cause:
                raise cause.cause from cause
            except wire.FAILURES as cause:
                failed = failed + 1 if self.at == before else 0
                if failed >= TRIES or time.monotonic() > self.until:
                    raise Unavailable(f"The download from {self.hub.url} broke off after {self.at / (1 << 20):.1f} MiB: {wire.reason(cause)}. Try again. "
                                      "Nothing was changed.") from cause
            if self.at < self.offer.release.size:
                time.sleep(pause_s)

    def _once(self) -> float:
        """Takes what one answer has. Returns how long to wait before another one."""
        range_of = [f"Range: bytes={self.at}-", f'If-Range: "{self.offer.release.sha256}"'] if self.at else []
        answered: list[http.client.HTTPResponse] = []

        def begun(answer: http.client.HTTPResponse) -> Callable[[bytes], object] | None:
            answered.append(answer)
            if answer.status == 200:
                self._from(0)
                return self._take
            if answer.status == 206 and re.match(rf"bytes {self.at}-", answer.headers.get("Content-Range", "")):
                return self._take
            return None

        with closing(wire.Connection(self.url, min(self.until, time.monotonic() + ASK_S))) as connection:
            status, content = connection.receive(self.url, self.hub.headers(*range_of), begun, self.until, stall_s=STALL_S)
        wait = answered[0].headers.get("Retry-After", "") if answered else ""
        if status == 503 and wait.isascii() and wait.isdigit():
            return max(1.0, min(float(wait), LONGEST_PAUSE_S))
        if status not in (200, 206) or content:
            self.hub.refuse(status, content)
        if self.at < self.offer.release.size:
            raise Conflict(f"The hub {self.hub.url} says that {self.offer.name} ends after {self.at} bytes, and {self.offer.release.size} were signed: on the "
                           "hub remove it, and add it anew. Nothing was changed.")
        return 0.0

    def _from(self, begin: int) -> None:
        try:
            self.into.seek(begin)
            self.into.truncate()
        except OSError as cause:
            raise _NotWritten(cause) from cause
        self.at = begin

    def _take(self, piece: bytes) -> None:
        if self.at + len(piece) > self.offer.release.size:
            raise Conflict(f"The hub {self.hub.url} sends more for {self.offer.name} than the {self.offer.release.size} bytes that were signed: on the hub "
                           "remove it, and add it anew. Nothing was changed.")
        try:
            self.into.write(piece)
        except OSError as cause:
            raise _NotWritten(cause) from cause
        self.at += len(piece)


class _NotWritten(Exception):
    """The disk has refused, and not the network."""

    def __init__(self, cause: OSError):
        super().__init__(str(cause))
        self.cause = cause


def _address(settings: Settings, url: str | None) -> str:
    if url is None and "hub_url" not in settings.given:
        raise InvalidInput("No hub is known here: set HUB_URL, or name it: --from-hub URL.")
    found = (url or settings.hub_url).rstrip("/")
    if not is_address(found) or not re.fullmatch(r"https?://[\x21-\x7e]+", found) or "?" in found or "#" in found or "@" in urlsplit(found).netloc:
        raise InvalidInput(f"--from-hub {found[:100]!r} is not the address of a hub: write it like http://hub:5000.")
    return found


def _check_name(name: str, url: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name, re.ASCII):
        raise Upstream(f"The hub {url} lists a release under a name that is none: {name[:100]!r}.")


def _check(file: Path, offer: Offer) -> None:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != offer.release.sha256:
        raise Conflict(f"What the hub {offer.hub} sent as {offer.name} is not the file that was signed (its SHA-256 is another one): try again; if that "
                       f"stays, on the hub `ananta release remove {offer.name}`, and add it anew. Nothing was changed.")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as cause:
        raise StoreFailed(f"{path} cannot be written: {files.reason(cause)} Nothing was changed.") from cause


@contextmanager
def _folder(beside: Path, stem: str) -> Iterator[Path]:
    """Makes a folder for what is fetched, on the disk of the program and for its owner only, and removes it at the end. What killed processes
    have left is removed before."""
    import psutil

    prefix = f".{stem}.from-hub."
    try:
        for name in os.listdir(beside):
            found = re.fullmatch(re.escape(prefix) + r"([0-9]{1,10})\..*", name)
            if found and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
                shutil.rmtree(beside / name, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}.", dir=beside))
    except OSError as cause:
        raise StoreFailed(f"Nothing can be written into {beside}: {files.reason(cause)} Only who may change the program there can update it.") from cause
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
