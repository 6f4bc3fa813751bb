"""Switching one's second factor on and off."""
import time
from dataclasses import dataclass

from bottle import Bottle

from ananta.domain import second_factor as rules
from ananta.errors import NotAllowed
from ananta.store import accounts, second_factors
from ananta.store.second_factors import SecondFactors
from ananta.web import server
from ananta.web.access import USER, Tokens
from ananta.web.routes.accounts import Text, need
from ananta.web.sign_in import Door


@dataclass
class SetupAnswer:
    """secret: in base32, for typing; qr_code: the same as a picture, a complete data: address."""

    secret: str
    qr_code: str


@dataclass
class VerifyRequest:
    """token: the code that the app shows."""

    token: Text = ""


@dataclass
class VerifyAnswer:
    """backup_codes: each signs in once, in place of a code of the app; they are shown this once."""

    status: str
    access_token: str
    backup_codes: list[str]


@dataclass
class DisableAnswer:
    status: str
    access_token: str


class SecondFactorRoutes:
    """/mfa/setup, /mfa/verify and /mfa/disable, also under /api/auth."""

    def __init__(self, factors: SecondFactors, door: Door, tokens: Tokens):
        self.factors, self.door, self.tokens = factors, door, tokens

    def mount(self, app: Bottle) -> None:
        for prefix in ("", "/api/auth"):
            def add(path: str, callback, prefix=prefix, **config) -> None:
                app.post(f"{prefix}/mfa/{path}", callback=callback, access=USER, readable=True, **config)

            add("setup", self.setup, gives=SetupAnswer, fails=(400, 404))
            add("verify", self.verify, body=VerifyRequest, gives=VerifyAnswer, fails=(404, 429))
            add("disable", self.disable, gives=DisableAnswer, fails=(404,))

    def setup(self) -> SetupAnswer:
        """Gives the caller a secret for an app that makes one-time codes. The second factor is on once /mfa/verify has had
        such a code; until then this may be repeated, and the last secret counts."""
        username = accounts.find(server.caller().name).username
        secret = self.factors.begin(username)
        return SetupAnswer(secret, rules.picture(rules.address(secret, username)))

    def verify(self, body: VerifyRequest) -> VerifyAnswer:
        """Switches the caller's second factor on: signing in needs a code from now on. Sign-ins of before stay valid."""
        username = accounts.find(server.caller().name).username
        with self.door.trying() as this:
            need(body, "token")
            codes = self.factors.confirm(username, body.token, this.now)
        self.door.note("mfa_enabled", username)
        # Who has just shown a code counts as having just signed in.
        token = self.tokens.issue(accounts.find(username), this.now, signed_in_at=this.now)
        return VerifyAnswer("mfa_enabled", token, codes)

    def disable(self) -> DisableAnswer:
        """Switches the caller's second factor off, within 15 minutes after signing in; the backup codes end, too."""
        caller, now = server.caller(), time.time()
        user = accounts.find(caller.name)
        if user.mfa_enabled and now - caller.signed_in_at > rules.FRESH_S:
            # An open session that somebody has found must not be enough. Not 401: that would make the client refresh.
            raise NotAllowed(f"The second factor can be switched off only within {rules.FRESH_S // 60} minutes after a code was "
                             "shown: sign in again, and then switch it off.", code="sign_in_again")
        if second_factors.remove(user.username):
            self.door.note("mfa_disabled", user.username)
        return DisableAnswer("mfa_disabled", self.tokens.issue(accounts.find(user.username), now,
                                                               signed_in_at=caller.signed_in_at))
