"""Signing in, and the users of this agent."""
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle, request
from msgspec import Meta

from ananta.agent.lanes import Lane
from ananta.domain import accounts as rules
from ananta.domain.accounts import User
from ananta.errors import AccountLocked, Busy, InvalidInput, NotAuthenticated
from ananta.store import accounts
from ananta.store.audit import Audit
from ananta.store.limits import Bans, Limit
from ananta.web import server
from ananta.web.access import ADMIN, OPEN, USER, Access

WAITING_PLACES, TURN_S = 16, 5.0
Text = Annotated[str, Meta(max_length=1000)]


@dataclass
class LoginRequest:
    """mfa_token: the code of the second factor, where the user has one."""

    username: Text = ""
    password: Text = ""
    mfa_token: Text | None = None


@dataclass
class RefreshRequest:
    """rotate: the token that is presented ends at once."""

    refresh_token: Text = ""
    rotate: bool = False


@dataclass
class RefreshAnswer:
    """access_token: for an hour; refresh_token: for seven days."""

    access_token: str
    refresh_token: str
    username: str
    role: str


@dataclass
class LoginAnswer(RefreshAnswer):
    mfa_required: bool


@dataclass
class UserAnswer:
    username: str
    role: str
    mfa_enabled: bool


@dataclass
class ChangePasswordRequest:
    old_password: Text = ""
    new_password: Text = ""


@dataclass
class NewUserRequest:
    username: Text = ""
    password: Text = ""
    role: Text = rules.USER


@dataclass
class NewUserAnswer:
    status: str
    username: str
    user: UserAnswer


@dataclass
class ResetPasswordRequest:
    new_password: Text = ""


@dataclass
class RoleRequest:
    """role: user or admin."""

    role: Text = ""


@dataclass
class RoleAnswer:
    status: str
    username: str
    role: str


@dataclass
class StatusAnswer:
    status: str


class AccountRoutes:
    """/login, /me and /users, also under /api/auth. tries: failures to sign in, by address; first_admin: the name of the
    user that cannot be removed; revoked: called when tokens that were given out have lost their rights."""

    def __init__(self, access: Access, audit: Audit, tries: Limit, bans: Bans, *, min_length: int, first_admin: str,
                 revoked: Callable[[], None]):
        self.access, self.audit, self.tries, self.bans = access, audit, tries, bans
        self.min_length, self.first_admin, self.revoked = min_length, first_admin, revoked
        self.waiting, self._turn = Lane("signing in", WAITING_PLACES, retry_after_s=2), threading.Lock()

    def mount(self, app: Bottle) -> None:
        def add(path: str, method: str, callback, **config) -> None:
            for place in (path, "/api/auth" + path):
                app.route(place, method, callback=callback, readable=True, **config)

        add("/login", "POST", self.login, access=OPEN, body=LoginRequest, gives=LoginAnswer, fails=(401, 403, 429, 503))
        add("/refresh-token", "POST", self.refresh, access=OPEN, body=RefreshRequest, gives=RefreshAnswer, fails=(429,))
        add("/me", "GET", self.me, access=USER, gives=UserAnswer, fails=(404,))
        add("/change-password", "POST", self.change_password, access=USER, body=ChangePasswordRequest, gives=StatusAnswer,
            fails=(403, 404))
        admin: dict = {"access": ADMIN, "insecure_too": False}
        add("/users", "GET", self.all, gives=list[UserAnswer], **admin)
        add("/users", "POST", self.create, body=NewUserRequest, gives=NewUserAnswer, **admin)
        add("/users/<username>", "DELETE", self.delete, gives=StatusAnswer, fails=(400, 404), **admin)
        add("/users/<username>/reset-password", "POST", self.reset_password, body=ResetPasswordRequest, gives=StatusAnswer,
            fails=(404,), **admin)
        add("/users/<username>/role", "PUT", self.change_role, body=RoleRequest, gives=RoleAnswer, fails=(404,), **admin)

    def login(self, body: LoginRequest) -> LoginAnswer:
        """Signs a user in. Five failures in a row lock the account for 15 minutes, ten from one address in a minute that
        address for a moment, fifty in an hour for a day."""
        with self._admitted() as (address, now):
            try:
                _need(body, "username", "password")
                user, token = self._signed_in(body, now)
            except (InvalidInput, NotAuthenticated, AccountLocked) as failure:
                self._failed(address, now)
                self._note("login_failed", body.username, reason=failure.code)
                raise
            self.tries.clear(address)
        self._note("login_success", user.username)
        return LoginAnswer(self.access.tokens.issue(user, now), token, user.username, user.role, mfa_required=False)

    def refresh(self, body: RefreshRequest) -> RefreshAnswer:
        """Gives a new access token, and a new refresh token; the one presented stays valid unless it rotates."""
        with self._admitted() as (address, now):
            try:
                _need(body, "refresh_token")
                user, token = accounts.refresh(body.refresh_token, rotate=body.rotate, now=now)
            except InvalidInput:
                self._failed(address, now)
                raise
            self.tries.clear(address)
        return RefreshAnswer(self.access.tokens.issue(user, now), token, user.username, user.role)

    def me(self) -> UserAnswer:
        """Who is signed in."""
        return _shown(accounts.find(server.caller().name))

    def change_password(self, body: ChangePasswordRequest) -> StatusAnswer:
        """Gives the caller another password. All tokens of the user end: sign in again."""
        _need(body, "old_password", "new_password")
        username, now = accounts.find(server.caller().name).username, time.time()
        rules.check_password(body.new_password, username, self.min_length)
        attempt = accounts.begin_attempt(username, now)
        if not attempt.right(body.old_password):
            self._wrong(attempt, now)
            # Not 401: that would make the client throw the user out.
            raise InvalidInput("The old password is wrong.", code="invalid_old_password", details="old_password")
        accounts.forgive(attempt)
        accounts.change_password(attempt, body.new_password, now)
        self.revoked()
        self._note("password_changed", username)
        return StatusAnswer("password_changed")

    def all(self) -> list[UserAnswer]:
        """The users, by name."""
        return [_shown(each) for each in accounts.all_by_name()]

    def create(self, body: NewUserRequest) -> NewUserAnswer:
        """Makes a user."""
        _need(body, "username", "password")
        rules.check_username(body.username)
        rules.check_role(body.role)
        rules.check_password(body.password, body.username, self.min_length)
        user = accounts.add(body.username, body.password, body.role, time.time())
        self._note("user_created", server.caller().name, user=user.username, role=user.role)
        return NewUserAnswer("user_created", user.username, _shown(user))

    def delete(self, username: str) -> StatusAnswer:
        """Removes a user; what the user is signed in with ends at once."""
        if username == self.first_admin:
            raise InvalidInput(f"{username} is the first administrator and stays: change the password or the role instead.",
                               code="initial_admin")
        accounts.delete(username, time.time())
        self.revoked()
        self._note("user_deleted", server.caller().name, user=username)
        return StatusAnswer("user_deleted")

    def reset_password(self, username: str, body: ResetPasswordRequest) -> StatusAnswer:
        """Gives a user another password; all tokens of the user end, and a lock is lifted."""
        _need(body, "new_password")
        accounts.find(username)
        rules.check_password(body.new_password, username, self.min_length)
        accounts.reset_password(username, body.new_password, time.time())
        self.revoked()
        self._note("password_reset", server.caller().name, user=username)
        return StatusAnswer("password_reset")

    def change_role(self, username: str, body: RoleRequest) -> RoleAnswer:
        """Gives a user another role, which counts at the next request."""
        _need(body, "role")
        rules.check_role(body.role)
        accounts.set_role(username, body.role)
        self.revoked()
        self._note("user_role_updated", server.caller().name, user=username, role=body.role)
        return RoleAnswer("role_updated", username, body.role)

    # ---

    @contextmanager
    def _admitted(self) -> Iterator[tuple[str, float]]:
        """Gives the caller's address and the time. One try after the other, so that many at the same moment are not more
        than many in a row, and those that are right do not count; a try costs a twentieth of a second."""
        address = self.access.address(request.environ)
        with self.waiting.take():
            if not self._turn.acquire(timeout=TURN_S):
                raise Busy("Too many sign in at the same moment: try again in 2 s.", retry_after=2)
            try:
                now = time.time()
                self.bans.check(address, now)
                self.tries.check(address, now)
                yield address, now
            finally:
                self._turn.release()

    def _signed_in(self, body: LoginRequest, now: float) -> tuple[User, str]:
        attempt = accounts.begin_attempt(body.username, now)
        done = accounts.succeed(attempt, now) if attempt.right(body.password) else None
        if done is None:
            self._wrong(attempt, now)
            raise NotAuthenticated("The user name or the password is wrong.")
        return done

    def _failed(self, address: str, now: float) -> None:
        self.tries.failed(address, now)
        if self.bans.failed(address, now):
            self._note("ip_banned", "system")

    def _wrong(self, attempt: accounts.Attempt, now: float) -> None:
        if accounts.fail(attempt, now):
            self._note("account_lockout", attempt.username)

    def _note(self, action: str, username: str, **details: object) -> None:
        self.audit.write(action, username=username[:64], ip=self.access.address(request.environ), details=details)


def _need(body: object, *names: str) -> None:
    for name in names:
        if not getattr(body, name):
            raise InvalidInput(f"{name} is missing.", code=f"missing_{name}", details=name)


def _shown(user: User) -> UserAnswer:
    return UserAnswer(user.username, user.role, user.mfa_enabled)
