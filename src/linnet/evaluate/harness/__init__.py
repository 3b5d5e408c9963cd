"""Tasks of lm-evaluation-harness, run in this process through Linnet's engine."""

from linnet.evaluate.harness.model import language_model
from linnet.evaluate.harness.running import (
    HarnessConfig,
    evaluate_harness,
    open_harness,
    run_harness,
)

__all__ = ["HarnessConfig", "evaluate_harness", "language_model", "open_harness", "run_harness"]
