"""What a router looks at: of a question, and of a local answer to it, as numbers by name.

Nothing here asks a model or reads a file: it is a matter of a millisecond. What cannot be known of
an answer (a model that gives no probabilities of its tokens, an answer that rests on no documents)
is NaN. What an encoder makes of a question is added by ``learned``.

The arithmetic that an answer states is done again: an equation that does not hold is an error
whatever the subject, and so is a result that nothing leads to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from linnet.answers import languages
from linnet.data.language import identify
from linnet.respond.conversation import Conversation
from linnet.respond.pieces import Claim, Finish, Outcome, Piece, Refusal, Text, TokenScore
from linnet.routing.arithmetic import equations, numbers

LONGEST = 20_000
"""Characters of a text that are looked at."""
SIGNALS = ("logprob", "least_logprob", "entropy", "probability", "in_scope", "grounded")
"""What is known of an answer beside its text, as outcomes and attempts name it."""
_SURE = 0.8


@dataclass(frozen=True)
class Attempt:
    """A local answer, and what is known of how it came about."""

    question: str
    text: str
    logprob: float | None = None
    """Of its tokens, the mean."""
    least_logprob: float | None = None
    """Of the token that was least likely."""
    entropy: float | None = None
    """Of the likeliest tokens at each place, the mean, in nats."""
    probability: float | None = None
    """That it is right, as the gate of an index says."""
    in_scope: float | None = None
    """That the documents are about the question at all."""
    grounded: float | None = None
    """The share of its claims that what they cite supports."""
    refused: bool = False
    cut: bool = False
    """Whether it had to end before it was complete."""
    others: tuple[str, ...] = ()
    """Other answers of the same model to the same question, where there are such."""

    @classmethod
    def of(cls, conversation: Conversation, pieces: Iterable[Piece]) -> Attempt:
        """What an answer tells of itself; further choices are the others."""
        texts: dict[int, list[str]] = {0: []}
        scores: list[TokenScore] = []
        supports: list[float] = []
        outcome: Outcome | None = None
        refused = cut = False
        for piece in pieces:
            if isinstance(piece, Text):
                texts.setdefault(piece.choice, []).append(piece.text)
            if piece.choice:
                continue
            match piece:
                case Text():
                    scores += piece.scores
                case Claim() if piece.support:
                    supports.append(float(piece.support == "supported"))
                case Outcome():
                    outcome = piece
                case Refusal():
                    refused = True
                case Finish():
                    cut = piece.reason == "length"
        written = {choice: "".join(parts) for choice, parts in texts.items()}
        logprobs = [score.logprob for score in scores]
        entropies = [_entropy(score) for score in scores if score.top]
        return cls(
            question_of(conversation),
            written.pop(0),
            logprob=_mean(logprobs),
            least_logprob=min(logprobs, default=None),
            entropy=_mean(entropies),
            probability=None if outcome is None else outcome.probability,
            in_scope=None if outcome is None else outcome.in_scope,
            grounded=_mean(supports),
            refused=refused or (outcome is not None and outcome.refused),
            cut=cut,
            others=tuple(written.values()),
        )

    @property
    def signals(self) -> dict[str, float]:
        """What is known of it beside its text, as rows of outcomes have it."""
        found = {name: getattr(self, name) for name in SIGNALS}
        flags = {"refused": float(self.refused), "cut": float(self.cut)}
        return {name: value for name, value in found.items() if value is not None} | flags


def question_of(conversation: Conversation) -> str:
    """The last message of the user; empty where there is none."""
    users = (message for message in reversed(conversation.messages) if message.role == "user")
    return next((message.text for message in users), "")


def turns_of(conversation: Conversation) -> Sequence[str]:
    """All messages of the user, in order."""
    return [message.text for message in conversation.messages if message.role == "user"]


# Kinds of questions.

ANY = "any"
TASKS = ("code", "mathematics", "translation", "summary", "writing")
"""Kinds of questions that rules know; told by their words, so that some are missed."""

_FORMS: dict[str, re.Pattern[str]] = {
    "code": re.compile(
        r"```|\b(?:def|class|import|public static|SELECT\b[^;]{1,200}\bFROM|console\.log)\b|"
        r"#include|(?i:\b(?:python|java|javascript|typescript|rust|golang|sql|regex|bash|"
        r"compile[rs]?|stack ?trace|unit tests?|refactor|debug|programmier\w*)\b|\bc\+\+)"
        r"|[;{}]\s*\n"
    ),
    "translation": re.compile(
        r"(?i)\b(?:translat\w+|übersetz\w*|tradui\w+|traduc\w+|перевод\w*|перевед\w*)"
    ),
    "summary": re.compile(
        r"(?i)\b(?:summar\w+|tl;?dr|zusammenfass\w*|fasse?\b.{1,80}\bzusammen|résum\w+|"
        r"resum[eai]\w*|condense|кратко|резюм\w+)"
    ),
    "mathematics": re.compile(
        r"(?i)\d\s*[-+*/×÷^=]\s*\d|\b(?:calculate|compute|equations?|solve|integral|derivative|"
        r"berechne\w*|calcul[ea]\w*|вычисли\w*)\b"
    ),
    "writing": re.compile(
        r"(?i)^\W*(?:(?:please|can you|could you|bitte|por favor)\W+){0,3}"
        r"(?:write|draft|compose|rewrite|rephrase|schreibe?|formulier\w*|entwirf|écri\w+|rédig\w+|"
        r"escrib\w+|redact\w+|напиш\w+)\b"
    ),
}
_AMOUNTS = re.compile(r"(?i)\b(?:how (?:many|much)|wie ?viele?|combien|cuánt[oa]s?|сколько)\b")


def task_of(text: str) -> str:
    """What kind of thing is asked for; empty where no words tell."""
    sample = text[:LONGEST]
    found = next((task for task, form in _FORMS.items() if form.search(sample)), "")
    if not found and _AMOUNTS.search(sample) and len(numbers(sample)) > 1:
        return "mathematics"
    return found


def language_of(text: str) -> str:
    """The language of a question, in two letters; empty where it does not tell."""
    found = languages.language_of(text)
    if found is not None:
        return found.code
    code, probability = identify(text[:LONGEST])
    return code if probability >= _SURE else ""


# Questions as numbers.

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE = re.compile(r"(?<=[.?!])\s+")
_NAME = re.compile(r"(?<=[\w,;] )[A-Z][a-zà-ÿ]+")
_SPELT = re.compile(
    r"(?i)\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|"
    r"fifty|hundred|thousand|million|dozen|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|deux|"
    r"trois|quatre|cinq|sept|huit|neuf|dix|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez)s?\b"
)
_KINDS_OF_WORDS: dict[str, str] = {
    "comparing": "more less fewer than times twice double triple mehr weniger als doppelt plus "
    "moins que más menos doble",
    "conditions": "if unless whether suppose assuming wenn falls si sauf supuesto",
    "order": "after before then first next last finally nach vor dann zuerst après avant puis "
    "después antes luego",
    "parts": "half third thirds quarter quarters fourth fifth fraction ratio percent rest "
    "remaining remainder other others hälfte drittel viertel rest moitié tiers reste "
    "mitad tercio resto",
    "shares": "each every per apiece jede jeder jedes pro chaque cada",
    "totals": "total altogether combined sum overall insgesamt zusammen somme suma",
    "negations": "not no without only except never none don't doesn't didn't isn't nicht kein ohne "
    "nur ne pas sans sauf sin solo nunca",
    "people": "he she they his her their him them er sie ihr sein il elle leur él ella su sus",
    "time": "second seconds minute minutes hour hours day days week weeks month months year years "
    "stunde stunden tag tage woche wochen monat jahr heure heures jour jours semaine mois an "
    "hora horas día días semana mes año",
    "reasons": "why how explain compare analyze analyse discuss prove derive warum wieso erkläre "
    "vergleiche pourquoi expliquer comparer explica compara por",
}
_KINDS = {name: frozenset(listed.split()) for name, listed in _KINDS_OF_WORDS.items()}


def question_features(text: str) -> dict[str, float]:
    """Numbers that describe a question."""
    text = text[:LONGEST]
    words = [word.lower() for word in _WORD.findall(text)]
    sentences = [each for each in _SENTENCE.split(text) if each.strip()]
    values = numbers(text)
    magnitudes = [math.log1p(abs(value)) for value in values]
    count = max(1, len(words))
    found = {
        "length": math.log1p(len(text)),
        "characters": len(text) / 1000,
        "words": len(words) / 100,
        "sentences": float(len(sentences)),
        "sentence_words": len(words) / max(1, len(sentences)),
        "longest_sentence": max(map(len, sentences), default=0) / 100,
        "last_sentence": len(sentences[-1]) / 100 if sentences else 0.0,
        "word_length": sum(map(len, words)) / count,
        "different_words": len(set(words)) / count,
        "commas": float(text.count(",")),
        "lines": float(text.count("\n")),
        "question_marks": float(text.count("?")),
        "names": float(len(_NAME.findall(text))),
        "numbers": float(len(values)),
        "different_numbers": float(len(set(values))),
        "spelt_numbers": float(len(_SPELT.findall(text))),
        "largest_number": max(magnitudes, default=0.0),
        "mean_number": sum(magnitudes) / max(1, len(magnitudes)),
        "decimals": float(sum(value != int(value) for value in values)),
        "percentages": float(text.count("%")),
        "money": float(sum(text.count(sign) for sign in "$€£¥")),
        "code": float(sum(text.count(sign) for sign in "{}`;")),
        "amount": float(_AMOUNTS.search(text) is not None),
        "ascii": sum(map(str.isascii, text)) / max(1, len(text)),
    }
    for name, listed in _KINDS.items():
        found[name] = float(sum(word in listed for word in words))
    task = task_of(text)
    return found | {f"task_{name}": float(name == task) for name in TASKS}


# Answers as numbers.

_HEDGE = re.compile(
    r"(?i)\b(?:maybe|perhaps|probably|possibly|approximately|roughly|assum\w+|however|unclear|"
    r"might|could be|seems?|likely|since|unless|wait|vielleicht|vermutlich|wahrscheinlich|ungefähr|"
    r"peut-être|probablement|environ|quizás?|probablemente|aproximadamente)\b"
)
_REFUSAL = re.compile(
    r"(?i)\b(?:i (?:don't|do not) know|i(?:'m| am) (?:sorry|unable|not able)|i cannot|i can't|"
    r"as an ai|not enough information|cannot be determined|ich weiß (?:es )?nicht|tut mir leid|"
    r"je ne sais pas|désolé|no (?:lo )?sé|lo siento)\b"
)
_CONCLUSION = re.compile(
    r"(?im)^[ \t]{0,8}(?:#{2,}|\**(?:final )?answer\b|answer:|antwort:|réponse|respuesta)|"
    r"\\boxed\b|\b(?:the answer is|therefore|thus|in total)\b"
)
_ENDS = re.compile(r"(?:[.!?。؟)\]}`\"'*]|(?:^|\n)[^\n]{1,80}\d\D{0,12})\s*\Z")
_UNKNOWN = re.compile(r"\b\d*[xyz]\b\s*[-+*/=]")
_RUN = 4  # words


def attempt_features(attempt: Attempt) -> dict[str, float]:
    """Numbers that describe an answer beside its question."""
    question, text = attempt.question[:LONGEST], attempt.text[:LONGEST]
    words = [word.lower() for word in _WORD.findall(text)]
    asked = {word.lower() for word in _WORD.findall(question)}
    lines = [line for line in text.splitlines() if line.strip()]
    runs = list(zip(*(words[at:] for at in range(_RUN)), strict=False))
    count = max(1, len(words))
    return {
        "answer_logprob": _known(attempt.logprob),
        "answer_least_logprob": _known(attempt.least_logprob),
        "answer_entropy": _known(attempt.entropy),
        "answer_probability": _known(attempt.probability),
        "answer_in_scope": _known(attempt.in_scope),
        "answer_grounded": _known(attempt.grounded),
        "answer_agreement": _agreement(attempt),
        "answer_refused": float(attempt.refused),
        "answer_refuses": float(len(_REFUSAL.findall(text))),
        "answer_cut": float(attempt.cut),
        "answer_empty": float(not text.strip()),
        "answer_ends": float(_ENDS.search(text) is not None),
        "answer_concludes": float(_CONCLUSION.search(text) is not None),
        "answer_length": math.log1p(len(text)),
        "answer_ratio": math.log1p(len(text)) - math.log1p(len(question)),
        "answer_lines": float(len(lines)),
        "answer_last_words": float(len(_WORD.findall(lines[-1]))) if lines else 0.0,
        "answer_last_numbers": float(len(numbers(lines[-1]))) if lines else 0.0,
        "answer_hedges": float(len(_HEDGE.findall(text))),
        "answer_repeats": 1 - len(set(words)) / count,
        "answer_repeats_runs": 1 - len(set(runs)) / max(1, len(runs)),
        "answer_covers": len(asked & set(words)) / max(1, len(asked)),
        "answer_own_words": len(set(words) - asked) / max(1, len(set(words))),
        "answer_code": float(sum(text.count(sign) for sign in "{}`;")),
        **_calculation(question, text),
    }


def _calculation(question: str, text: str) -> dict[str, float]:
    """How sound the arithmetic of an answer is."""
    stated = equations(text)
    given, used = set(numbers(question)), numbers(text)
    results = {round(each.stated, 2) for each in stated}
    computed = results | {round(each.value, 2) for each in stated}
    last = used[-1] if used else None
    new = {v for v in used if v not in given and round(v, 2) not in computed and abs(v) > _SMALL}
    return {
        "answer_equations": float(len(stated)),
        "answer_false": float(sum(not each.holds for each in stated)),
        "answer_any_false": float(any(not each.holds for each in stated)),
        "answer_last_false": float(bool(stated) and not stated[-1].holds),
        "answer_no_equation": float(not stated),
        "answer_longest_equation": max((each.length for each in stated), default=0) / 30,
        "answer_unknowns": float(len(_UNKNOWN.findall(text))),
        "answer_numbers": math.log1p(len(used)),
        "answer_unused": float(len(given - set(used))),
        "answer_unused_share": len(given - set(used)) / max(1, len(given)),
        "answer_unexplained": float(len(new)),
        "answer_steps_of_numbers": len(stated) / (1 + len(given)),
        "answer_steps_apart": float(abs(len(stated) - len(given))),
        "answer_per_step": len(text) / max(1, len(stated)) / 100,
        "answer_no_result": float(last is None),
        "answer_whole": float(last is not None and last == int(last)),
        "answer_magnitude": 0.0 if last is None else math.log1p(abs(last)),
        "answer_grows": 0.0
        if last is None
        else math.log1p(abs(last)) - math.log1p(max(map(abs, given), default=0.0)),
        "answer_given": float(last in given),
        "answer_ends_in_last_result": float(
            bool(stated) and last is not None and abs(stated[-1].stated - last) < 1e-6
        ),
        "answer_ends_in_result": float(last is not None and round(last, 2) in computed),
        "answer_decimals": sum(v != int(v) for v in used) / max(1, len(used)),
    }


_SMALL = 10
"""Numbers up to this one are counted with, whatever the question says."""


def _agreement(attempt: Attempt) -> float:
    """How alike the other answers are: whether they end in the same number, or have its words."""
    if not attempt.others:
        return math.nan
    own, words = numbers(attempt.text), set(_WORD.findall(attempt.text.lower()))
    found = []
    for other in attempt.others:
        theirs = numbers(other)
        if own and theirs:
            found.append(float(own[-1] == theirs[-1]))
        else:
            both = set(_WORD.findall(other.lower()))
            found.append(len(words & both) / max(1, len(words | both)))
    return sum(found) / len(found)


def _entropy(score: TokenScore) -> float:
    likely = [logprob for _, logprob in score.top]
    rest = max(0.0, 1 - sum(map(math.exp, likely)))
    own = -sum(math.exp(logprob) * logprob for logprob in likely)
    return own - (rest * math.log(rest) if rest > 0 else 0.0)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def attempt_of_row(question: str, answer: str, signals: Mapping[str, float]) -> Attempt:
    """An attempt as rows of outcomes have it; signals that are not known here are left out."""
    return Attempt(
        question, answer, **{name: signals.get(name) for name in SIGNALS},  # type: ignore[arg-type]
        refused=bool(signals.get("refused")), cut=bool(signals.get("cut")),
    )  # fmt: skip
