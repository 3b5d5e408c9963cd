"""Answers from documents: found, quoted, checked, or "I don't know".

In reading order: ``answer`` (what comes out), ``evidence`` (what was found and drafted on the way),
``languages`` and ``understanding`` with ``follow_ups`` (what is asked), ``units`` (what can be
cited), ``gathering`` with ``listing`` and ``summaries`` (what is found), ``ranking`` and
``extraction`` (the sentences that answer), ``gate`` (whether they are good enough), ``assistant``
(from a question to an answer).
"""

from linnet.answers.answer import Answer, Citation, Claim, Step
from linnet.answers.assistant import Assistant
from linnet.answers.evidence import Chosen, Draft, Evidence, Judgement, Question, Search, Turn
from linnet.answers.gathering import GatherConfig

__all__ = [
    "Answer",
    "Assistant",
    "Chosen",
    "Citation",
    "Claim",
    "Draft",
    "Evidence",
    "GatherConfig",
    "Judgement",
    "Question",
    "Search",
    "Step",
    "Turn",
]
