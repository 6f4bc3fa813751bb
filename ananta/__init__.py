"""Ananta gives a language model a terminal, and a team control over it."""

__version__ = "0.1.0"
