"""The durable record of what was applied to one model and undone: import from its modules.

`events` (one row) comes first; `card` (sheet.json), `history` (what events mean), `base` (what a journal promises),
`store` (a SQLite file) and `postgres` (a database, over `database`) use it; `opening` tells which of the two a sheet
has. Nothing here knows models, tensors or what patch files hold.
"""
