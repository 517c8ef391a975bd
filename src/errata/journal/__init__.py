"""The durable record of what was applied to one model and undone: import from its modules.

`events` (one row) comes first; `card` (sheet.json), `history` (what events mean)
and `store` (the SQLite file) use it. Nothing here knows models, tensors or what patch files hold.
"""
