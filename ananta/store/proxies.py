"""Where the open databases are found: set by database.open, and the only globals.

One process has one database and, with Postgres, a local one beside it. They stand apart from the tables because making
two dozen classes takes 7 ms, and a start asks in SQL.
"""
from peewee import DatabaseProxy

database = DatabaseProxy()
local = DatabaseProxy()
