"""What an edit did: questions asked before and after, metrics over the answers, protocols, and their report.

Written against `Editor` and `Method` as such; no metric or protocol knows which method made a patch.
"""
