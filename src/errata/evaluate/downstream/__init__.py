"""Tasks that no edit is about, scored by EleutherAI's lm-evaluation-harness on the edited model as an object.

Needs the extra `errata[harness]`; only `grades` and `choices` do without it.
"""
