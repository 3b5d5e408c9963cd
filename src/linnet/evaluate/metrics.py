"""What becomes of the scores of many items.

A metric is a function of columns of numbers, one number for each item, and a line in
:data:`METRICS`. Items lie along the last axis, so that one call gives the figure of many
resamples at once (``figures``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.scoring import calibration

Numbers: TypeAlias = npt.NDArray[np.float64]
Better: TypeAlias = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class Metric:
    """What becomes of the scores of items."""

    name: str
    about: str
    columns: tuple[str, ...]
    """The scores that an item must have."""
    figure: Callable[..., Numbers]
    """From these columns, items along the last axis, which goes."""
    better: Better = "higher"
    share: bool = False
    """Whether it is a share of something, which people read as a percentage."""
    trials: Callable[..., int] | None = None
    """From the columns: of how many independent items it is a share, where not of all."""
    compares: bool = False
    """Whether it is the ``difference`` of shares of two groups, told apart by the first column."""
    undefined: str = ""
    """Why there may be no figure; ``figure`` gives NaN then."""


def bits_per_byte(nats: Numbers, size: Numbers) -> Numbers:
    """The cost of texts in bits, by their bytes of UTF-8: it compares models across tokenizers."""
    return ratio(nats, size) / math.log(2)


def nats_per_token(nats: Numbers, tokens: Numbers) -> Numbers:
    """The mean surprise of a token."""
    return ratio(nats, tokens)


def perplexity(nats: Numbers, tokens: Numbers) -> Numbers:
    """Per token, so it compares models of one tokenizer only."""
    found: Numbers = np.exp(np.minimum(nats_per_token(nats, tokens), 700.0))  # more has no double
    return found


def mean(values: Numbers) -> Numbers:
    """Of all items alike."""
    found: Numbers = values.mean(-1)
    return found


def ratio(above: Numbers, below: Numbers) -> Numbers:
    """Of the sums of two columns; NaN where there is nothing to divide by."""
    whole = below.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Numbers = np.where(whole > 0, above.sum(-1) / whole, np.nan)
    return found


def difference(first: Numbers, values: Numbers) -> Numbers:
    """The mean of the items that ``first`` marks, less that of the others."""
    found: Numbers = ratio(first * values, first) - ratio((1 - first) * values, 1 - first)
    return found


def _pairs(positive: Numbers, score: Numbers) -> int:
    """How many pairs of a positive and a negative item there are of which none shares an item.

    An AUROC is the chance that such a pair is in order. Where all items are, so many independent
    pairs are; the chance of that bounds the AUROC exactly, if widely.
    """
    found = int(positive.sum())
    return min(found, len(positive) - found)


ONE_CLASS = "all items are of one class"
NO_NGRAM = "the texts are too short to have an n-gram of this length"

NO_CANARY = "no canary is among the items"
NO_SUCH_TEXT = {
    "training": "there is no training text to measure it on",
    "held_out": "there is no held-out text to measure it on",
}
NO_ORIGINALS = "the original documents are not where they were, or have changed"
ONE_SIDE = "there is either no training text or no held-out text to compare"

MEMORISED = (
    ("extracted_greedily", "share of passages that it writes word for word when greedy", True),
    ("extractable_1", "share written in one sample at least half of the time", True),
    ("extractable_100", "share written in one of 100 samples at least half of the time", True),
    ("extractable_10000", "share written in one of 10,000 at least half of the time", True),
    ("near_verbatim", "share of passages given back but for details (BLEU above 0.75)", True),
    ("edit_similarity", "edit similarity of its continuation and the true one", True),
    ("common_characters", "longest passage in common with the true continuation", False),
    ("private_written", "share of masked places where it writes something private", True),
    ("original_written", "share of masked places where it writes what stood there", True),
    (
        "original_extractable",
        "share of masked places where one of 10,000 samples would be what stood there",
        True,
    ),
)
"""What is measured of training text, beside the same of held-out text: name, meaning, share."""

COMPARED = ("extractable_10000", "near_verbatim", "edit_similarity", "private_written")
"""Of these the difference of both is a figure of its own."""
NO_CLAIM = "no answer makes a claim"
NO_GOLD = "no question says where its answer stands"


def _share(
    name: str,
    about: str,
    better: Better = "higher",
    *,
    undefined: str = "",
) -> Metric:
    """The mean of the score of that name, which is a share."""
    return Metric(name, about, (name,), mean, better, share=True, undefined=undefined)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "bits_per_byte", "bits for each byte of text", ("nats", "bytes"), bits_per_byte, "lower"
        ),
        Metric(
            "nats_per_token", "nats for each token", ("nats", "tokens"), nats_per_token, "lower"
        ),
        Metric("perplexity", "perplexity per token", ("nats", "tokens"), perplexity, "lower"),
        Metric(
            "longest_overlap",
            "characters of the longest passage that is in the training text",
            ("overlap",),
            mean,
            "neither",
            undefined="there was no training text to search",
        ),
        Metric(
            "longest_real_overlap",
            "the same of the real continuations",
            ("real_overlap",),
            mean,
            "neither",
            undefined="there was no training text to search",
        ),
        Metric("accuracy", "answered correctly", ("right",), mean, share=True),
        Metric(
            "accuracy_by_length",
            "chosen correctly by likelihood per character",
            ("right_by_length",),
            mean,
            share=True,
        ),
        _share("chance", "what guessing would get", "neither"),
        _share("exact_match", "answered word for word"),
        _share("f1", "words shared with the expected answer (F1)"),
        _share("contains", "answers that contain the expected one"),
        _share("in_format", "answers in the requested format"),
        _share("ends_itself", "texts that end by themselves"),
        Metric(
            "gold_nats_per_token",
            "nats per token of the expected answer",
            ("gold_nats", "gold_tokens"),
            ratio,
            "lower",
        ),
        *(
            _share(
                f"{side}seq_rep_{length}",
                f"{length}-grams that {whose} text repeats (seq-rep-{length})",
                "lower" if not side else "neither",
                undefined=NO_NGRAM,
            )
            for side, whose in (("", "a"), ("real_", "a real"))
            for length in (1, 2, 3, 4)
        ),
        *(
            Metric(
                f"distinct_{length}",
                f"different {length}-grams among all (distinct-{length})",
                (f"distinct_{length}", f"ngrams_{length}"),
                ratio,
                share=True,
                undefined=NO_NGRAM,
            )
            for length in (1, 2, 3)
        ),
        _share(
            "self_overlap_4",
            "4-grams that another of the texts has, too",
            "lower",
            undefined=NO_NGRAM,
        ),
        Metric(
            "auroc",
            "how often an answerable question looks more answerable than another (AUROC)",
            ("answerable", "answerability"),
            calibration.auroc,
            trials=_pairs,
            undefined=ONE_CLASS,
        ),
        Metric(
            "auroc_of_confidence",
            "how often a right answer has more confidence than a wrong one (AUROC)",
            ("right", "confidence"),
            calibration.auroc,
            trials=_pairs,
            undefined=ONE_CLASS,
        ),
        Metric(
            "fpr_at_95_tpr",
            "unanswerable questions let through with 95% of the answerable ones",
            ("answerable", "answerability"),
            calibration.fpr_at_tpr,
            "lower",
            share=True,
            trials=lambda answerable, _: int((answerable == 0).sum()),
            undefined=ONE_CLASS,
        ),
        Metric(
            "aurc",
            "mean share of wrong answers over all coverages (AURC)",
            ("right", "confidence"),
            calibration.aurc,
            "lower",
        ),
        Metric(
            "ece",
            "mean distance of confidence and accuracy (ECE, bins of equal mass)",
            ("right", "confidence"),
            calibration.ece,
            "lower",
        ),
        Metric(
            "brier",
            "mean squared distance of confidence and outcome (Brier score)",
            ("right", "confidence"),
            calibration.brier,
            "lower",
        ),
        _share("refused_answerable", "answerable questions refused", "lower"),
        _share("refused_unanswerable", "unanswerable questions refused"),
        *(
            Metric(
                name,
                about,
                (name, "claims"),
                ratio,
                "higher" if name == "claims_supported" else "lower",
                share=True,
                undefined=NO_CLAIM,
                trials=lambda part, claims: len(claims),  # those of one answer are not independent
            )
            for name, about in (
                ("claims_supported", "share of claims that the passage supports"),
                ("claims_contradicted", "share of claims that it contradicts"),
                ("claims_undecided", "share of claims of which it cannot be told"),
                ("numbers_made_up", "share of claims with a number or date it lacks"),
                ("names_made_up", "share of claims with a name it lacks"),
            )
        ),
        Metric(
            "answers_supported",
            "share of answers of which every claim is supported",
            ("answer_supported",),
            mean,
            share=True,
            undefined=NO_CLAIM,
        ),
        Metric(
            "support",
            "mean score of the least supported claim of an answer",
            ("support",),
            mean,
            undefined=NO_CLAIM,
        ),
        _share("refused", "share of questions that it refuses", "neither"),
        Metric(
            "auroc_of_support",
            "how often a faithful answer has a higher score than one that is not (AUROC)",
            ("faithful", "support"),
            calibration.auroc,
            trials=_pairs,
            undefined="no answer was judged by people, or all alike",
        ),
        *(
            _share(name, about, undefined=NO_GOLD)
            for name, about in (
                ("recall_at_1", "the passage that answers is found first"),
                ("recall_at_5", "it is among the first five"),
                ("recall_at_10", "it is among the first ten"),
                ("citation_precision", "citations that stand where the answer does"),
                ("citation_recall", "places of answers that are cited"),
            )
        ),
        Metric("mrr", "mean of 1 / its rank", ("mrr",), mean, undefined=NO_GOLD),
        Metric("ndcg_at_10", "nDCG of the first ten", ("ndcg_at_10",), mean, undefined=NO_GOLD),
        _share("answered", "questions answered (coverage)", "neither"),
        Metric(
            "wrong_of_answered",
            "of the answers, wrong (risk)",
            ("wrong", "answered"),
            ratio,
            "lower",
            share=True,
            undefined="no question is answered",
            trials=lambda _, answered: int(answered.sum()),
        ),
        Metric(
            "drafts_right",
            "answerable questions whose draft is right, shown or not",
            ("draft_right",),
            mean,
            share=True,
        ),
        Metric(
            "auroc_in_scope",
            "how often a question that the documents answer looks more in "
            "scope than one off the subject (AUROC)",
            ("about", "in_scope"),
            calibration.auroc,
            undefined=ONE_CLASS,
        ),
        Metric("seconds", "seconds for an answer", ("seconds",), mean, "lower"),
        Metric(
            "seconds_p50",
            "seconds for an answer, median",
            ("seconds",),
            lambda seconds: np.quantile(seconds, 0.5, -1),
            "lower",
        ),
        Metric(
            "seconds_p95",
            "seconds for an answer, 95 of 100",
            ("seconds",),
            lambda seconds: np.quantile(seconds, 0.95, -1),
            "lower",
        ),
        _share(
            "stereotype_preferred",
            "pairs whose stereotype is likelier (half: no preference)",
            "neither",
        ),
        Metric(
            "bias_ambiguous",
            "bias where the text does not say who (-1 to 1; 0 means none)",
            ("open_right", "open_biased", "open_committed"),
            lambda right, biased, committed: (1 - mean(right)) * (2 * ratio(biased, committed) - 1),
            "neither",
            undefined="no answer names a person where the text does not say who",
        ),
        Metric(
            "bias_disambiguated",
            "bias where the text says who (-1 to 1; 0 means none)",
            ("said_biased", "said_committed"),
            lambda biased, committed: 2 * ratio(biased, committed) - 1,
            "neither",
            undefined="no answer names a person where the text says who",
        ),
        Metric(
            "canary_exposure",
            "bits of exposure of a planted canary",
            ("exposure",),
            mean,
            "lower",
            undefined=NO_CANARY,
        ),
        Metric(
            "canary_exposure_max",
            "bits of exposure of the most exposed canary",
            ("exposure",),
            lambda bits: bits.max(-1),
            "lower",
            undefined=NO_CANARY,
        ),
        Metric(
            "control_exposure",
            "the same of sequences that were never planted; 1.44 is expected",
            ("control_exposure",),
            mean,
            "neither",
        ),
        *(
            Metric(
                f"{side}_{name}",
                f"{about} ({whose})",
                (f"{side}_{name}",),
                mean,
                "lower" if side == "training" else "neither",
                share=share,
                undefined=NO_ORIGINALS if name.startswith("original") else NO_SUCH_TEXT[side],
            )
            for name, about, share in MEMORISED
            for side, whose in (("training", "training text"), ("held_out", "held-out text"))
        ),
        *(
            Metric(
                f"{name}_difference",
                f"{about}: training less held-out text",
                ("trained", name),
                difference,
                "lower",
                compares=True,
                undefined=ONE_SIDE,
            )
            for name, about, _ in MEMORISED
            if name in COMPARED
        ),
        Metric(
            "membership_auroc",
            "how often a training passage is likelier than a held-out one (AUROC)",
            ("trained", "suffix_log_likelihood"),
            calibration.auroc,
            "neither",
            trials=_pairs,
            undefined=ONE_SIDE,
        ),
    )
}
"""All metrics by name."""
