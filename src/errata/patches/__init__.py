"""What an edit leaves behind: patches that attach to a model, come off again, and are kept as files.

The floor above models and below methods: nothing here knows how a patch was found.
"""
