"""Signing in, and the users of this agent."""
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle
from msgspec import UNSET, Meta, UnsetType

from ananta.domain import accounts as rules
from ananta.domain.accounts import User
from ananta.errors import AccountLocked, InvalidInput, NotAuthenticated
from ananta.store import accounts
from ananta.store.second_factors import SecondFactors
from ananta.web import server
from ananta.web.access import ADMIN, OPEN, USER, Tokens
from ananta.web.sign_in import Door

Text = Annotated[str, Meta(max_length=1000)]


@dataclass
class LoginRequest:
    """mfa_token: the code of the second factor, where the user has one: six digits of the app, or a backup code."""

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
class LoginAnswer:
    """mfa_required: whether the user has a second factor. Where its code is missing there are no tokens: send the same again
    with mfa_token."""

    username: str
    mfa_required: bool
    access_token: str | UnsetType = UNSET
    refresh_token: str | UnsetType = UNSET
    role: str | UnsetType = UNSET


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
    """/login, /me and /users, also under /api/auth. first_admin: the name of the user that cannot be removed; revoked:
    called when tokens that were given out have lost their rights."""

    def __init__(self, door: Door, tokens: Tokens, factors: SecondFactors, *, min_length: int, first_admin: str,
                 revoked: Callable[[], None]):
        self.door, self.tokens, self.factors = door, tokens, factors
        self.min_length, self.first_admin, self.revoked = min_length, first_admin, revoked

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
        try:
            with self.door.trying() as this:
                need(body, "username", "password")
                done = self._signed_in(body, this.now)
                this.unfinished = done is None
        except (InvalidInput, NotAuthenticated, AccountLocked) as failure:
            self.door.note("login_failed", body.username, reason="mfa_token" if failure.details == "mfa_token" else failure.code)
            raise
        if done is None:
            return LoginAnswer(body.username, mfa_required=True)
        user, token = done
        self.door.note("login_success", user.username)
        return LoginAnswer(user.username, user.mfa_enabled, self.tokens.issue(user, this.now, signed_in_at=this.now), token,
                           user.role)

    def refresh(self, body: RefreshRequest) -> RefreshAnswer:
        """Gives a new access token, and a new refresh token; the one presented stays valid unless it rotates."""
        with self.door.trying() as this:
            need(body, "refresh_token")
            user, token = accounts.refresh(body.refresh_token, rotate=body.rotate, now=this.now)
        return RefreshAnswer(self.tokens.issue(user, this.now), token, user.username, user.role)

    def me(self) -> UserAnswer:
        """Who is signed in."""
        return _shown(accounts.find(server.caller().name))

    def change_password(self, body: ChangePasswordRequest) -> StatusAnswer:
        """Gives the caller another password. All tokens of the user end: sign in again."""
        need(body, "old_password", "new_password")
        username, now = accounts.find(server.caller().name).username, time.time()
        rules.check_password(body.new_password, username, self.min_length)
        attempt = accounts.begin_attempt(username, now)
        if not attempt.right(body.old_password):
            self._wrong(attempt, now)
            # Not 401: that would make the client throw the user out.
            raise InvalidInput("The old password is wrong.", code="invalid_old_password", details="old_password")
        if attempt.user is not None and not attempt.user.mfa_enabled:
            # With a second factor, the password alone must not take back the wrong codes.
            accounts.forgive(attempt)
        accounts.change_password(attempt, body.new_password, now)
        self.revoked()
        self.door.note("password_changed", username)
        return StatusAnswer("password_changed")

    def all(self) -> list[UserAnswer]:
        """The users, by name."""
        return [_shown(each) for each in accounts.all_by_name()]

    def create(self, body: NewUserRequest) -> NewUserAnswer:
        """Makes a user."""
        need(body, "username", "password")
        rules.check_username(body.username)
        rules.check_role(body.role)
        rules.check_password(body.password, body.username, self.min_length)
        user = accounts.add(body.username, body.password, body.role, time.time())
        self.door.note("user_created", server.caller().name, user=user.username, role=user.role)
        return NewUserAnswer("user_created", user.username, _shown(user))

    def delete(self, username: str) -> StatusAnswer:
        """Removes a user; what the user is signed in with ends at once."""
        if username == self.first_admin:
            raise InvalidInput(f"{username} is the first administrator and stays: change the password or the role instead.",
                               code="initial_admin")
        accounts.delete(username, time.time())
        self.revoked()
        self.door.note("user_deleted", server.caller().name, user=username)
        return StatusAnswer("user_deleted")

    def reset_password(self, username: str, body: ResetPasswordRequest) -> StatusAnswer:
        """Gives a user another password; all tokens of the user end, and a lock is lifted."""
        need(body, "new_password")
        accounts.find(username)
        rules.check_password(body.new_password, username, self.min_length)
        accounts.reset_password(username, body.new_password, time.time())
        self.revoked()
        self.door.note("password_reset", server.caller().name, user=username)
        return StatusAnswer("password_reset")

    def change_role(self, username: str, body: RoleRequest) -> RoleAnswer:
        """Gives a user another role, which counts at the next request."""
        need(body, "role")
        rules.check_role(body.role)
        accounts.set_role(username, body.role)
        self.revoked()
        self.door.note("user_role_updated", server.caller().name, user=username, role=body.role)
        return RoleAnswer("role_updated", username, body.role)

    # ---

    def _signed_in(self, body: LoginRequest, now: float) -> tuple[User, str] | None:
        """Returns who has signed in, and a refresh token; None if only the code of the second factor is missing."""
        attempt = accounts.begin_attempt(body.username, now)
        if not attempt.right(body.password) or attempt.user is None:
            self._wrong(attempt, now)
            raise NotAuthenticated("The user name or the password is wrong.")
        if not attempt.user.mfa_enabled:
            done = accounts.succeed(attempt, now)
            problem = NotAuthenticated("The user was changed meanwhile: sign in again.")
        elif not body.mfa_token:
            return None
        else:
            proof = self.factors.proof(attempt.username, body.mfa_token, now)
            done = accounts.succeed(attempt, now, proof)
            problem = NotAuthenticated("The code is wrong or has been used: take the next one.", details="mfa_token")
            if done is not None and proof is not None and proof.backup is not None:
                self.door.note("mfa_backup_code_used", attempt.username)
        if done is None:
            self._wrong(attempt, now)
            raise problem
        return done

    def _wrong(self, attempt: accounts.Attempt, now: float) -> None:
        if accounts.fail(attempt, now):
            self.door.note("account_lockout", attempt.username)


def need(body: object, *names: str) -> None:
    for name in names:
        if not getattr(body, name):
            raise InvalidInput(f"{name} is missing.", code=f"missing_{name}", details=name)


def _shown(user: User) -> UserAnswer:
    return UserAnswer(user.username, user.role, user.mfa_enabled)
