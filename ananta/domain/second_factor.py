"""The second factor: one-time codes of an app (RFC 6238: SHA-1, 6 digits, 30 s), and backup codes for who has lost it.

pyotp and segno are imported where they are first used: few starts need them.
"""
import hmac
import re

ISSUER = "Ananta"
STEP_S, DRIFT_STEPS = 30, 1
BACKUP_CODES = 10
# Who switches the second factor off has signed in this short a time ago: somebody who found an open session cannot.
FRESH_S = 900
_ONE_TIME, _BACKUP = re.compile(r"[0-9]{6}", re.ASCII), re.compile(r"[0-9a-f]{8}")


def tidy(code: str) -> str:
    """Returns the code as it is compared: apps show it with a space in the middle, people copy capitals."""
    return re.sub(r"[\s-]", "", code).lower()


def is_one_time(code: str) -> bool:
    return _ONE_TIME.fullmatch(code) is not None


def is_backup(code: str) -> bool:
    return _BACKUP.fullmatch(code) is not None


def step_of(secret: str, code: str, now: float) -> int | None:
    """Returns the number of the 30 seconds (since 1970) to which the code belongs: those of now, or those before or behind,
    for clocks that go wrong. None if it belongs to none of them. secret: base32."""
    import pyotp

    codes, current = pyotp.TOTP(secret), int(now // STEP_S)
    if not is_one_time(code):
        return None
    return next((step for step in range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1)
                 if step >= 0 and hmac.compare_digest(codes.generate_otp(step), code)), None)


def address(secret: str, username: str) -> str:
    """Returns the otpauth:// address with which an app takes the secret in."""
    import pyotp

    return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=ISSUER)


def picture(text: str) -> str:
    """Returns the text as a QR code: a PNG in a complete data: address."""
    import segno

    return segno.make_qr(text, error="m").png_data_uri(scale=5)
