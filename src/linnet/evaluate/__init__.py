"""How good a model is: tasks it is put to, figures with intervals, and the report about it all.

In reading order: ``held_out`` (the text), ``task`` (what a task is, and how one is run), ``tasks``
(those there are), ``metrics`` (from scores to figures), ``evaluation`` (the stage).
"""

from linnet.evaluate.config import EvaluateConfig
from linnet.evaluate.evaluation import Evaluation, evaluate, read_evaluation, run_tasks

__all__ = ["EvaluateConfig", "Evaluation", "evaluate", "read_evaluation", "run_tasks"]
