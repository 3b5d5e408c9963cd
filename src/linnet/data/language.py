"""Which language a text is written in, told from a sample of it.

The identifier is py3langid's: naive Bayes over byte n-grams (Lui and Baldwin,
"langid.py", ACL 2012) with a model that comes with the package. Only languages
with an ISO 639-1 code are told apart; its rarer classes cost short texts more
than they give.
"""

from __future__ import annotations

import functools
from typing import Any

UNDETERMINED = "und"
_NO_LANGUAGE = "zxx"  # the identifier's class for numbers and symbols
_LEAST_LETTERS = 12
_GLANCE, _SAMPLE = 240, 1800  # characters, from three places
_SURE = 0.95


def identify(text: str) -> tuple[str, float]:
    """The ISO 639-1 code and its probability, 0 to 1; ``("und", 0.0)`` for too few letters.

    A short sample settles most texts; a longer one is taken where it does not.
    """
    code, probability = _classify(_sample(text, _GLANCE))
    if probability < _SURE and len(text) > _GLANCE:
        code, probability = _classify(_sample(text, _SAMPLE))
    return code, probability


def _classify(sample: str) -> tuple[str, float]:
    if sum(map(str.isalpha, sample)) < _LEAST_LETTERS:
        return UNDETERMINED, 0.0
    code, probability = _identifier().classify(sample)
    return (UNDETERMINED, 0.0) if code == _NO_LANGUAGE else (code, float(probability))


def _sample(text: str, length: int) -> str:
    """About ``length`` characters from the beginning, the middle and the end."""
    if len(text) <= length:
        return text
    third = length // 3
    middle = (len(text) - third) // 2
    return "\n".join((text[:third], text[middle : middle + third], text[-third:]))


@functools.cache
def _identifier() -> Any:
    import numpy as np
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(
        [code for code in identifier.labels if len(code) == 2 or code == _NO_LANGUAGE]
    )
    # Row by row in memory, as they are looked up, and not as float16: three times as fast.
    identifier.nb_ptc = np.ascontiguousarray(identifier.nb_ptc, dtype=np.float32)
    return identifier
