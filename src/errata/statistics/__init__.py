"""What methods need to know of a model before they edit it: second moments of keys, projections, and their cache.

Knows models without their patches, and text. It knows no method and no edit.
"""

from errata.durable import cache_dir
from errata.statistics.corpus import Corpus, corpus_for, packaged_prose
from errata.statistics.identity import original_fingerprint
from errata.statistics.moments import Need, SecondMoment, is_cached, second_moments
from errata.statistics.projection import Projection, null_space

__all__ = [
    "Corpus",
    "Need",
    "Projection",
    "SecondMoment",
    "cache_dir",
    "corpus_for",
    "is_cached",
    "null_space",
    "original_fingerprint",
    "packaged_prose",
    "second_moments",
]
