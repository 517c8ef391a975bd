"""The durable record of what was applied to one model and undone: import from its modules.

`durable` (whole files) and `events` (one row) come first; `card` (sheet.json), `history` (what events mean)
and `store` (the SQLite file) use them. Nothing here knows models, tensors or what patch files hold.
"""
