"""A comparison: several benchmarks of mostly the same methods, run into one directory and reported on one page.

Every part is an ordinary benchmark in an ordinary directory of results; no part of it knows a method by name.
"""
