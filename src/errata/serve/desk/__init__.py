"""Where corrections are made: a worker process with an Editor, the desk in front of it, and what follows the sheet.

It stands beside the engine, which answers; it knows nothing of HTTP.
"""
