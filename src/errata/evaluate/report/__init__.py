"""The report on a directory of results: gathered as plain data, put into words, tables and plots, written as files.

`page` is the data, `gather` reads it, `files` writes it. No model is loaded, and nothing is measured again.
"""
