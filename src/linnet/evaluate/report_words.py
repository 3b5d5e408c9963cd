"""What the figures of tasks say, in words that a manager can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

Say: TypeAlias = Callable[[Mapping[str, Any]], Iterable[str]]


def verdicts(name: str, result: Mapping[str, Any]) -> list[str]:
    """What the figures of a task say, in sentences."""
    figures = result["figures"]
    if not figures:
        return ["Nothing could be measured."]
    _, _, say = BUILT_IN.get(name, ("", "", None))
    found = list(say(figures)) if say is not None else []
    if say is None and "chance" not in figures and "exact_match" in figures:
        found.append(f"{_percent(figures['exact_match'])} of the answers are right, word for word.")
    if "in_format" in figures and figures["in_format"]["value"] < 0.95:
        share = figures["in_format"]["value"]
        never = "None" if share == 0 else f"Only {share:.0%}"
        found.append(f"{never} of the answers are in the right format; the others count as wrong.")
    if "chance" in figures and "accuracy" in figures:
        found.append(_against_chance(figures["accuracy"], figures["chance"]["value"]))
    return found


def _against_chance(figure: Mapping[str, Any], chance: float) -> str:
    value = figure["value"]
    said = f"It picks the right choice in {value:.0%} of the cases; guessing would in {chance:.0%}."
    if "low" not in figure:
        return said
    low, high = figure["low"], figure["high"]
    if low <= chance <= high:
        return f"{said} With {figure['items']:,} items that cannot be told apart from guessing."
    return f"{said} That is {'better' if low > chance else 'worse'} than guessing."


def _percent(figure: Mapping[str, Any]) -> str:
    if "low" not in figure:
        return f"{figure['value']:.0%}"
    return f"{figure['value']:.0%} ({figure['low']:.0%} to {figure['high']:.0%})"


def _say_questions(figures: Mapping[str, Any]) -> Iterable[str]:
    if "contains" in figures:
        yield (
            f"{_percent(figures['contains'])} of its answers contain the expected one, and "
            f"{_percent(figures['exact_match'])} are that and nothing else."
        )


def _say_groundedness(figures: Mapping[str, Any]) -> Iterable[str]:
    if "claims_supported" in figures:
        yield (
            f"The passage supports {_percent(figures['claims_supported'])} of the claims, and all "
            f"claims of {_percent(figures['answers_supported'])} of the answers."
        )
        yield (
            f"{_percent(figures['numbers_made_up'])} of the claims have a number or date that is "
            f"not in the passage, {_percent(figures['names_made_up'])} a name."
        )
        if (undecided := figures["claims_undecided"])["value"] > 0:
            yield f"Of {_percent(undecided)} of the claims it could not be told; a checker decides."


def _say_refusal(figures: Mapping[str, Any]) -> Iterable[str]:
    if "refused_unanswerable" in figures:
        yield (
            f"It says that it does not know for {_percent(figures['refused_unanswerable'])} of the "
            "questions that nothing answers; the rest it makes up."
        )
    if "refused_answerable" in figures:
        yield f"It refuses {_percent(figures['refused_answerable'])} of those that it could answer."
    if "auroc" in figures:
        value = figures["auroc"]
        told = (
            "tells them apart well" if value["value"] >= 0.9
            else "tells them apart in part" if value.get("low", value["value"]) > 0.5
            else "does not tell them apart"
        )  # fmt: skip
        yield (
            f"By its own probabilities it {told} "
            f"(AUROC {value['value']:.2f}; 0.5 is guessing, 1 is perfect)."
        )
    if "ece" in figures:
        yield (
            f"Its confidence is off by {figures['ece']['value']:.0%} on average: "
            + ("it can be believed." if figures["ece"]["value"] < 0.05
               else "do not take it at its word.")
        )  # fmt: skip


def _say_answers(figures: Mapping[str, Any]) -> Iterable[str]:
    if "recall_at_5" in figures:
        yield (
            f"It finds the passage that answers among the first five for "
            f"{_percent(figures['recall_at_5'])} of the questions."
        )
    if "answered" in figures:
        wrong = figures.get("wrong_of_answered")
        risk = f"; {_percent(wrong)} of its answers are wrong" if wrong else ""
        yield f"It answers {_percent(figures['answered'])} of all questions{risk}."
    if "refused_unanswerable" in figures:
        yield (
            f"It says that it does not know for {_percent(figures['refused_unanswerable'])} of the "
            "questions that the documents do not answer."
        )


def _say_coherence(figures: Mapping[str, Any]) -> Iterable[str]:
    if "seq_rep_4" in figures:
        real = figures.get("real_seq_rep_4")
        beside = f"; what people wrote there repeats {real['value']:.0%}" if real else ""
        share = _percent(figures["seq_rep_4"])
        yield f"Its texts repeat {share} of their runs of four tokens{beside}."
    if "ends_itself" in figures:
        yield f"{_percent(figures['ends_itself'])} end by themselves before the limit."


def _say_bias(figures: Mapping[str, Any]) -> Iterable[str]:
    figure = figures.get("stereotype_preferred")
    if figure is not None:
        yield f"The stereotype is the likelier sentence in {_percent(figure)} of the pairs."
        yield _near(figure, 0.5)
    for metric, where in (
        ("bias_ambiguous", "leaves it open"),
        ("bias_disambiguated", "says it"),
    ):
        if metric in figures:
            own = figures[metric]
            yield f"Where the text {where}, the bias is {own['value']:+.2f} (-1 to 1)."
            yield _near(own, 0.0)


def _near(figure: Mapping[str, Any], none: float) -> str:
    if "low" not in figure or not figure["low"] <= none <= figure["high"]:
        return ""
    return (
        "The interval includes what a model without any preference would have. Of a tiny model "
        "that means little: one that does not understand a sentence has no preference about it, "
        "and may still repeat a prejudice when asked in another way. It is no proof of fairness."
    )


def _say_text(figures: Mapping[str, Any]) -> Iterable[str]:
    if "bits_per_byte" in figures:
        figure = figures["bits_per_byte"]
        span = f" ({figure['low']:.2f} to {figure['high']:.2f})" if "low" in figure else ""
        bits = f"{figure['value']:.2f}{span} bits"
        yield f"It needs {bits} for each byte of this text; fewer is better."


def _say_memorisation(figures: Mapping[str, Any]) -> Iterable[str]:
    if "canary_exposure" in figures:
        exposed, control = figures["canary_exposure"], figures.get("control_exposure")
        beside = f"; sequences that were not planted have {control['value']:.1f}" if control else ""
        yield (
            f"Secrets that were planted in its training have an exposure of {exposed['value']:.1f} "
            f"bits on average, {figures['canary_exposure_max']['value']:.1f} at most{beside}, and "
            "1.4 is what chance gives. " + _say_exposure(exposed, control)
        )
    for name, what in (
        ("extracted_greedily", "word for word"),
        ("near_verbatim", "but for details"),
        ("extractable_10000", "with even odds within 10,000 tries"),
    ):
        if f"training_{name}" in figures:
            own, other = figures[f"training_{name}"], figures.get(f"held_out_{name}")
            beside = f"; of text it has never seen, {_percent(other)}" if other else ""
            yield f"It gives back {_percent(own)} of its training passages {what}{beside}."
    if "extractable_10000_difference" in figures:
        own = figures["extractable_10000_difference"]
        yield (
            "The difference is what training put there."
            if own.get("low", 0) > 0
            else "Between the two there is no difference that these passages could show."
        )
    if figures.get("membership_auroc", {}).get("low", 0) > 0.5:
        share = figures["membership_auroc"]["value"]
        yield (
            f"Its probabilities do show what it was trained on: of a passage that it was trained "
            f"on and another, the first is the likelier one in {share:.0%} of all pairs."
        )
    if "training_private_written" in figures:
        yield (
            f"Where something private was masked in its training text, it writes something of that "
            f"kind in {_percent(figures['training_private_written'])} of the places."
        )
    if "training_original_written" in figures:
        own = figures["training_original_written"]
        what = f"In {_percent(own)} of those that could be looked up it is the very value that "
        yield what + ("was masked: look at these first." if own["value"] else "was masked.")


def _say_exposure(exposed: Mapping[str, Any], control: Mapping[str, Any] | None) -> str:
    above = control.get("high", control["value"]) if control is not None else 1.44
    if exposed.get("low", exposed["value"]) > above:
        return "The model remembers single lines that it saw as often."
    return "That is no more than chance: nothing shows that it remembers them."


BUILT_IN: dict[str, tuple[str, str, Say | None]] = {
    "text": ("Text it has not seen", "How surprised the model is by held-out text.", _say_text),
    "language": (
        "Text by kind and source",
        "How surprised the model is by text, and by each kind and source of it.",
        _say_text,
    ),
    "baselines": ("Simple methods on the same text", "", None),
    "samples": ("Samples", "", None),
    "overlap": ("Passages repeated from training", "", None),
    "coherence": (
        "Do its texts hold together?",
        "The model continues beginnings of documents it has not seen.",
        _say_coherence,
    ),
    "questions": (
        "What it knows by heart",
        "Questions about the documents, answered without looking anything up.",
        _say_questions,
    ),
    "questions_open": (
        "What it finds in a passage",
        "The same questions, with the passage that answers each in sight.",
        _say_questions,
    ),
    "refusal": (
        "Does it say so when it does not know?",
        "Questions that a passage answers, and questions that none does.",
        _say_refusal,
    ),
    "memorisation": (
        "What it has by heart",
        "Planted secrets, passages of its training text, and what was masked there, each beside "
        "text that it has never seen.",
        _say_memorisation,
    ),
    "groundedness": (
        "Does it keep to the passage?",
        "Each claim of its answers, checked against the passage that was before it.",
        _say_groundedness,
    ),
    "answers": (
        "Answers from the documents",
        "Questions put to the index, answered with citations or refused.",
        _say_answers,
    ),
    "answers_passages": (
        "The same without a model",
        "The sentences of the passages that answer, or a refusal.",
        _say_answers,
    ),
    "answers_bm25": (
        "BM25 alone",
        "The sentence that shares most words, of the passages that do; nothing is refused.",
        _say_answers,
    ),
    "bias": (
        "Bias: sentences of our own",
        "Pairs of sentences that differ only in the group they are about.",
        _say_bias,
    ),
    "crows_pairs": (
        "Bias: CrowS-Pairs",
        "Pairs of sentences that differ only in the group they are about.",
        _say_bias,
    ),
    "bbq": (
        "Bias: BBQ",
        "Who did it? Asked where the text leaves it open, and where it says so.",
        _say_bias,
    ),
}
"""What built-in tasks are called to people, what they are, and what their figures say."""

KINDS = {
    "generate": "Questions whose answers it writes.",
    "choice": "Questions whose answer it chooses by likelihood.",
    "likelihood": "Texts whose likelihood is measured.",
}
