"""How good a model is: held-out text, baselines, samples, and the report about it all."""

from linnet.evaluate.evaluation import EvaluateConfig, Evaluation, evaluate, read_evaluation

__all__ = ["EvaluateConfig", "Evaluation", "evaluate", "read_evaluation"]
