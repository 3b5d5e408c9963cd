"""The gate: whether a draft is good enough to be shown, with a promise of how many are wrong.

In reading order: ``reference`` (what is usual in an index), ``features`` (what is looked at),
``model`` (a probability of them), ``trials`` (questions asked, and what came of them), ``fitting``
(a gate of these), ``gate`` (which judges), ``results`` and ``report``, ``directory`` (where all of
it lies).
"""

from linnet.answers.gate.config import GateConfig
from linnet.answers.gate.directory import changed_since, fit_gate, read_gate_results, read_trials
from linnet.answers.gate.gate import Gate, open_gate

__all__ = [
    "Gate",
    "GateConfig",
    "changed_since",
    "fit_gate",
    "open_gate",
    "read_gate_results",
    "read_trials",
]
