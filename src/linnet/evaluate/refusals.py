"""How a model says that it does not know, in several languages, and how it is told to.

A text counts as a refusal if it is, or begins with, one of the phrases below. They are few and
plain on purpose: a model that goes on to answer after "I am not sure, but" has answered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from linnet.scoring.matching import words_of


@dataclass(frozen=True)
class Language:
    """What is said to the model, and what it says, in one language."""

    closed: str
    """Asks for a short answer, from memory."""
    open: str
    """Asks for an answer from the passage, or for the refusal."""
    passage: str
    question: str
    answer: str
    refusal: str
    """The refusal that it is told to give, whose likelihood is measured."""
    refusals: tuple[str, ...]
    """Beginnings of refusals, normalised."""


LANGUAGES: dict[str, Language] = {
    "en": Language(
        closed="Answer the question in as few words as you can.",
        open="Answer the question from the passage, in as few words as you can. "
        "If the passage does not say, answer: I don't know.",
        passage="Passage",
        question="Question",
        answer="Answer",
        refusal="I don't know.",
        refusals=(
            "i don't know", "i do not know", "i'm not sure", "i am not sure", "i cannot answer",
            "i can't answer", "i am unable to", "i'm unable to", "i'm sorry but", "i am sorry but",
            "i couldn't find", "i could not find", "not enough information", "no answer", "unknown",
            "the passage does not", "the passage doesn't", "the text does not",
            "the text doesn't", "the documents do not", "the documents don't",
            "the context does not", "the context doesn't", "it is not stated", "it does not say",
            "not stated", "not mentioned", "not specified", "there is no information",
            "this is not answered", "unanswerable",
        ),
    ),
    "de": Language(
        closed="Beantworte die Frage mit so wenigen Wörtern wie möglich.",
        open="Beantworte die Frage aus dem Text, mit so wenigen Wörtern wie möglich. "
        "Wenn der Text es nicht sagt, antworte: Das weiß ich nicht.",
        passage="Text",
        question="Frage",
        answer="Antwort",
        refusal="Das weiß ich nicht.",
        refusals=(
            "das weiß ich nicht", "ich weiß es nicht", "ich weiß nicht", "weiß ich nicht",
            "das kann ich nicht beantworten", "ich kann die frage nicht beantworten",
            "ich kann das nicht beantworten", "ich bin nicht sicher", "es tut mir leid",
            "keine angabe", "nicht angegeben", "nicht genannt", "unbekannt", "der text sagt",
            "der text nennt", "das steht nicht", "dazu steht nichts", "die dokumente sagen",
            "darüber steht nichts", "die unterlagen sagen",
        ),
    ),
    "fr": Language(
        closed="Répondez à la question en aussi peu de mots que possible.",
        open="Répondez à la question d'après le texte, en aussi peu de mots que possible. "
        "Si le texte ne le dit pas, répondez : Je ne sais pas.",
        passage="Texte",
        question="Question",
        answer="Réponse",
        refusal="Je ne sais pas.",
        refusals=(
            "je ne sais pas", "je l'ignore", "je ne peux pas répondre", "je ne suis pas sûr",
            "désolé", "je suis désolé", "non précisé", "non mentionné", "inconnu",
            "le texte ne", "le passage ne", "les documents ne", "ce n'est pas indiqué",
            "aucune information",
        ),
    ),
    "es": Language(
        closed="Responde a la pregunta con las menos palabras posibles.",
        open="Responde a la pregunta según el texto, con las menos palabras posibles. "
        "Si el texto no lo dice, responde: No lo sé.",
        passage="Texto",
        question="Pregunta",
        answer="Respuesta",
        refusal="No lo sé.",
        refusals=(
            "no lo sé", "no sé", "no puedo responder", "no estoy seguro", "lo siento",
            "no se indica", "no se menciona", "no consta", "desconocido", "el texto no",
            "el pasaje no", "los documentos no", "no hay información",
        ),
    ),
}  # fmt: skip
"""By ISO 639-1; where there is none, English."""

_NEGATION = re.compile(r"\b(nicht|kein|keine|keinen|nichts)\b")
_AFFIRMATIVE = ("der text sagt", "der text nennt", "die dokumente sagen", "die unterlagen sagen")
"""German negates later in the sentence: these are refusals only with a negation."""


def language_of(code: str) -> Language:
    """The language, or English."""
    return LANGUAGES.get(code, LANGUAGES["en"])


def is_refusal(text: str, language: str = "en", others: Sequence[str] = ()) -> bool:
    """Whether the text says, in its first sentence, that there is no answer.

    In the language named, or in English, in which many models refuse whatever they are asked in.
    ``others``: whole texts that are refusals as well, such as the one a model was trained on.
    """
    plain = _plain(text)
    if not plain:
        return False
    if any(plain.startswith(_plain(each)) for each in others if _plain(each)):
        return True
    for code in dict.fromkeys((language, "en")):
        for phrase in language_of(code).refusals:
            if f"{plain} ".startswith(f"{_plain(phrase)} "):
                return phrase not in _AFFIRMATIVE or bool(_NEGATION.search(plain))
    return False


def _plain(text: str) -> str:
    """The first sentence as it is compared: lower case, no punctuation; apostrophes are dropped."""
    first = re.split(r"(?<=[.!?])\s|\n", text.strip(), maxsplit=1)[0]
    return " ".join(words_of(first.replace("’", "'"), ""))
