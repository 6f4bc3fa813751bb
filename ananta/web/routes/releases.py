"""The releases that a hub keeps: list them, take one."""
import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from bottle import Bottle, HTTPResponse, request

from ananta.agent.lanes import Lane
from ananta.store.audit import Audit
from ananta.store.limits import Limit
from ananta.store.releases import Kept, Releases
from ananta.web import server
from ananta.web.access import AUTH, Access, Caller
from ananta.web.streams import LAST

AGENT = "agent"
PLACES, RETRY_S = 32, 5
WRONG_TRIES, WINDOW_S = 30, 60
FILE, TEXT = "application/octet-stream", "text/plain; charset=utf-8"
# Of ranges only the one that goes on with a file; others are answered with all of it, as without one.
REST = re.compile(r"bytes=([0-9]{1,12})-", re.ASCII)


@dataclass
class ReleaseAnswer:
    """platform: system and architecture, "linux-x86_64"; size: bytes; sha256: 64 hex digits."""

    name: str
    version: str
    platform: str
    architecture: str
    size: int
    sha256: str


class ReleaseRoutes:
    """GET /releases, /releases/{name}, /releases/{name}/signature. who_has: the name of the agent that goes by a token.

    A file is sent from the disk by the loop of the server: a download takes a place, and none of the threads."""

    def __init__(self, releases: Releases, access: Access, audit: Audit, *, who_has: Callable[[str], str | None]):
        self.releases, self.access, self.audit, self.who_has = releases, access, audit, who_has
        self.lane = Lane("downloads", PLACES, retry_after_s=RETRY_S)
        self.tries = Limit("tokens for releases", WRONG_TRIES, WINDOW_S)

    def mount(self, app: Bottle) -> None:
        app.get("/releases", callback=self.listed, access=AUTH, otherwise=self.by_agent, gives=list[ReleaseAnswer])
        app.get("/releases/<name>", callback=self.file, access=AUTH, otherwise=self.by_agent, media=FILE, also=(206,), fails=(404,))
        app.get("/releases/<name>/signature", callback=self.signature, access=AUTH, otherwise=self.by_agent, media="text/plain", fails=(404,))

    def listed(self) -> list[ReleaseAnswer]:
        """The releases of this hub, newest version first. Agents may show the token that this hub knows them by."""
        return [_answer(each) for each in self.releases.listed()]

    def signature(self, name: str) -> HTTPResponse:
        """The signature of a release: a line of JSON that names version, platform, size and SHA-256, and its Ed25519 signature."""
        return HTTPResponse(self.releases.signature(name), 200, {"Content-Type": TEXT})

    def file(self, name: str) -> HTTPResponse:
        """The file of a release. With `Range: bytes=N-` what is left of it from there on."""
        kept = self.releases.find(name)
        tag, size = f'"{kept.release.sha256}"', kept.release.size
        begin = _begin(tag, size)
        headers = {"Content-Type": FILE, "Content-Length": str(size - begin), "ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "no-cache",
                   **({"Content-Range": f"bytes {begin}-{size - 1}/{size}"} if begin else {})}
        status = 206 if begin else 200
        if request.environ["REQUEST_METHOD"] == "HEAD":
            return HTTPResponse(b"", status, headers)
        content = _Download(self.lane, lambda: self.releases.opened(name)[1])
        try:
            content.seek(begin)
            self.audit.write("release_downloaded", username=server.caller().name, ip=self.access.address(request.environ),
                             details={"name": name, **({"from_byte": begin} if begin else {})})
        except BaseException:
            content.close()
            raise
        # Another request behind it would wait for this one, with a thread.
        request.environ[LAST] = True
        return HTTPResponse(content, status, headers)

    def by_agent(self, environ: dict, **_: str) -> Caller | None:
        """Returns the agent of this hub whose token the header has, as a caller. Raises TooManyRequests for an address from which too
        many wrong ones came."""
        presented = self.access.credential(environ) if "HTTP_AUTHORIZATION" in environ else None
        if not presented or not presented[0]:
            return None
        address = self.access.address(environ)
        self.tries.check(address)
        name = self.who_has(presented[0])
        if name is None:
            self.tries.failed(address)
        return None if name is None else Caller(AGENT, name, False, "header")


class _Download(io.FileIO):
    """An open file that holds a place until it is closed, as Waitress does when the last byte is sent, or the client gone."""

    _leave: Callable[[], object] | None = None

    def __init__(self, lane: Lane, open_file: Callable[[], int]):
        place = lane.take()
        place.__enter__()
        self._leave = lambda: place.__exit__(None, None, None)
        try:
            super().__init__(open_file(), "rb")
        except BaseException:
            self._give_back()
            raise

    def close(self) -> None:
        super().close()
        self._give_back()

    def _give_back(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


def _begin(tag: str, size: int) -> int:
    """Returns the byte from which on the file is asked for."""
    found = REST.fullmatch(request.get_header("Range", ""))
    if found is None or request.get_header("If-Range", tag) != tag:
        return 0
    begin = int(found[1])
    return begin if begin < size else 0


def _answer(kept: Kept) -> ReleaseAnswer:
    release = kept.release
    return ReleaseAnswer(kept.name, release.version, release.platform, release.platform.partition("-")[2], release.size, release.sha256)
