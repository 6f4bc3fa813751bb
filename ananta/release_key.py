"""The public keys (Ed25519, base64) of whoever releases this program: `ananta update` takes files that one of them has signed.

Packaging adds those of `python3 build/dev.py package --release-key FILE.pub`, which `build/sign.py keygen` makes; one that stands here
is in every program from this source. The private half never lies in this tree. Without a key nothing is taken. More than one
is for the time of a change: releases are signed with the new one when every program out there knows it.
"""
KEYS: tuple[str, ...] = ()
