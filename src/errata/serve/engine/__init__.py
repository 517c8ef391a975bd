"""The engine: many answers at once from one model whose corrections can change between two tokens.

It stands below the HTTP server and beside the desk that makes corrections; it knows neither.
"""
