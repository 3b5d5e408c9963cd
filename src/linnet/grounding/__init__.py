"""Whether a passage supports what a text claims.

In reading order: ``sentences`` (a text's claims), ``tokens`` (words and values), ``passage`` (what
is looked up), ``rules`` (what can be decided exactly), ``similarity`` (the rest, by words).
"""

from linnet.grounding.passage import Passage, prepared
from linnet.grounding.rules import Missing, Place, Verdict, check
from linnet.grounding.sentences import Claim, claims

__all__ = ["Claim", "Missing", "Passage", "Place", "Verdict", "check", "claims", "prepared"]
