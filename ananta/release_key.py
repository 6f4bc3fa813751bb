"""The public keys (Ed25519, base64) of whoever releases this program: `ananta update` takes files that one of them has signed.

`build/sign.py keygen` adds one. The private half never lies in this tree. Without a key here nothing is taken. More than one
is for the time of a change: releases are signed with the new one when every program out there knows it.
"""
KEYS: tuple[str, ...] = ()
