"""Whether a passage supports what a text claims.

In reading order: ``sentences`` (a text's claims), ``tokens`` (words and values), ``passage`` (what
is looked up), ``rules`` (what can be decided exactly), ``similarity`` (the rest, by words),
``checker`` (the rest, by an encoder), ``ladders`` (claims of known truth), ``training``.
"""

from typing import TYPE_CHECKING

from linnet.grounding.checker import Checker
from linnet.grounding.passage import Passage, prepared
from linnet.grounding.rules import Missing, Place, Verdict, check
from linnet.grounding.sentences import Claim, claims
from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.grounding.ladders import Document
    from linnet.grounding.training import CheckerConfig, train_checker

__all__ = [
    "Checker",
    "CheckerConfig",
    "Claim",
    "Document",
    "Missing",
    "Passage",
    "Place",
    "Verdict",
    "check",
    "claims",
    "prepared",
    "train_checker",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CheckerConfig": ("linnet.grounding.training", "CheckerConfig"),
        "Document": ("linnet.grounding.ladders", "Document"),
        "train_checker": ("linnet.grounding.training", "train_checker"),
    },
)
