"""Answers from documents: found, quoted, checked, or "I don't know".

In reading order: ``answer`` (what comes out), ``evidence`` (what was found and drafted on the way),
``assistant`` (from a question to an answer).
"""

from linnet.answers.answer import Answer, Citation, Claim, Step
from linnet.answers.assistant import Assistant
from linnet.answers.evidence import Draft, Evidence, Judgement, Question, Search, Turn

__all__ = [
    "Answer",
    "Assistant",
    "Citation",
    "Claim",
    "Draft",
    "Evidence",
    "Judgement",
    "Question",
    "Search",
    "Step",
    "Turn",
]
