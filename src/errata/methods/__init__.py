"""Editing methods, one file each. Names are found from the file names, so listing them imports nothing."""
