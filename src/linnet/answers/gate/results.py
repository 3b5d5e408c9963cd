"""What a gate does on questions, as plain values: coverage, mistakes, how far it can be trusted.

All figures are of questions that the model did not learn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet.answers.gate.config import GateConfig
from linnet.answers.gate.fitting import Fitted, certified, is_of_promise
from linnet.answers.gate.trials import Trial
from linnet.scoring import calibration
from linnet.scoring.bounds import Certificate, certify, exact_interval

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
RESPLITS = 200
_LEVEL = 0.95


def results(fitted: Fitted, config: GateConfig) -> dict[str, Any]:
    """All there is to say of a gate."""
    apart = [trial for trial in fitted.trials if trial.part == "calibrate"]
    own = [trial for trial in apart if is_of_promise(trial, config)]
    certificate = fitted.gate.certificate
    origins = dict.fromkeys(trial.origin for trial in apart)
    return {
        "promise": {
            "wanted": config.rate, "rate": certificate.rate, "kept": certificate.kept,
            "confidence": certificate.confidence, "threshold": certificate.threshold,
            "of": config.promise, "kinds": dict(Counter(trial.kind for trial in own)),
            "answered": certificate.answered, "wrong": certificate.wrong,
            "questions": certificate.trials,
        },
        "learned_from": len(fitted.trials) - len(apart),
        "questions": {
            origin: figures([t for t in apart if t.origin == origin], certificate)
            for origin in origins
        },
        "other_promises": other_promises(own, fitted.thresholds, config),
        "resplits": resplits(own, fitted.thresholds, config),
        "features": {
            name: round(sum(weights), 3)
            for name, weights in sorted(fitted.gate.right.weights.items(), key=lambda e: -sum(e[1]))
        },
        "notes": fitted.notes,
    }  # fmt: skip


def figures(trials: Sequence[Trial], certificate: Certificate) -> dict[str, Any]:
    """What the gate does on these questions, with exact intervals of its shares."""
    scores = np.array([trial.probability for trial in trials])
    right = np.array([trial.right for trial in trials], dtype=np.float64)
    answerable = [trial for trial in trials if trial.answerable]
    answered = [trial for trial in trials if is_answered(trial, certificate)]
    wrong = [trial for trial in answered if not trial.right]
    found: dict[str, Any] = {
        "questions": len(trials),
        "kinds": dict(Counter(trial.kind for trial in trials)),
        "accuracy": _share(sum(trial.right for trial in answerable), len(answerable)),
        "coverage": _share(
            sum(is_answered(trial, certificate) for trial in answerable), len(answerable)
        ),
        "error": _share(len(wrong), len(answered)),
        "ece": float(calibration.ece(right, scores)) if len(trials) > 1 else None,
        "brier": float(calibration.brier(right, scores)) if trials else None,
        "auroc": _auroc(scores, right),
    }
    for kind in ("withheld", "near_miss", "off_topic", "unanswerable"):
        others = [trial for trial in trials if trial.kind == kind]
        if others:
            found[f"answered_{kind}"] = _share(
                sum(is_answered(trial, certificate) for trial in others), len(others)
            )
            found[f"auroc_{kind}"] = separation(answerable, others, "probability")
    off_topic = [trial for trial in trials if trial.kind == "off_topic"]
    found["auroc_in_scope"] = separation(answerable, off_topic, "in_scope")
    return found


def is_answered(trial: Trial, certificate: Certificate) -> bool:
    """Whether the gate shows its draft."""
    return certificate.threshold is not None and trial.probability >= certificate.threshold


def separation(positive: Sequence[Trial], negative: Sequence[Trial], name: str) -> float | None:
    """How often one is above another by ``probability`` or ``in_scope`` (AUROC)."""
    both = [*positive, *negative]
    scores = np.array([getattr(trial, name) for trial in both], dtype=np.float64)
    return _auroc(scores, np.array([1.0] * len(positive) + [0.0] * len(negative)))


def other_promises(
    trials: Sequence[Trial], thresholds: Sequence[float], config: GateConfig
) -> list[dict[str, Any]]:
    """What would be answered under other promises, each by itself."""
    found = []
    answerable = sum(trial.answerable for trial in trials)
    for rate in sorted({*RATES, config.rate}):
        own = certified(trials, thresholds, _with_rate(config, rate))
        shown = [t for t in trials if own.kept and is_answered(t, own) and t.answerable]
        found.append({
            "rate": rate, "kept": own.kept,
            "coverage": len(shown) / answerable if own.kept and answerable else None,
        })  # fmt: skip
    return found


def resplits(
    trials: Sequence[Trial],
    thresholds: Sequence[float],
    config: GateConfig,
    *,
    times: int = RESPLITS,
    share: float = 0.5,
) -> dict[str, Any]:
    """The threshold set again on ``share`` of the documents and tried on the others, many times.

    ``broken``: how often more than the promised share was wrong there, of the times in which the
    promise could be made (``kept``).
    """
    scores = np.array([trial.probability for trial in trials])
    right = np.array([trial.right for trial in trials], dtype=bool)
    answerable = np.array([trial.answerable for trial in trials], dtype=bool)
    names = sorted({trial.document for trial in trials})
    places = {name: number for number, name in enumerate(names)}
    documents = np.array([places[trial.document] for trial in trials], dtype=np.int64)
    generator = np.random.default_rng(config.seed)
    kept = broken = 0
    errors, coverages = [], []
    for _ in range(times if len(names) > 1 else 0):
        inside = (generator.random(len(names)) < share)[documents]
        own = certify(scores[inside], right[inside], thresholds, config.rate, config.confidence)
        answered = ~inside & (scores >= own.threshold) if own.threshold is not None else inside[:0]
        if not own.kept or not answered.any():
            continue
        kept += 1
        errors.append(float((~right[answered]).mean()))
        coverages.append(
            float((answered & answerable).sum() / max((~inside & answerable).sum(), 1))
        )
        broken += errors[-1] > config.rate
    return {
        "times": times, "kept": kept, "broken": broken,
        "mean_error": float(np.mean(errors)) if errors else None,
        "mean_coverage": float(np.mean(coverages)) if coverages else None,
    }  # fmt: skip


def _with_rate(config: GateConfig, rate: float) -> GateConfig:
    return GateConfig(**{**vars(config), "rate": rate})


def _share(part: int, whole: int) -> dict[str, Any] | None:
    """With the exact interval of Clopper and Pearson; None of nothing."""
    if not whole:
        return None
    low, high = exact_interval(part, whole, _LEVEL)
    return {"value": part / whole, "part": part, "whole": whole, "low": low, "high": high}


def _auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    if not len(scores) or len(set(positive.tolist())) < 2:
        return None
    return float(calibration.auroc(positive, scores))
