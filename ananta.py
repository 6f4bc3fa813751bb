"""Launcher: python ananta.py is python -m ananta."""
from ananta.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
