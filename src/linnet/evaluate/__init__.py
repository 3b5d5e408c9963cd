"""How good a model is: tasks it is put to, figures with intervals, and the report about it all.

In reading order: ``held_out`` (the text), ``task`` (what a task is, and how one is run), ``tasks``
(those there are), ``declaration`` (those that a file declares), ``metrics`` (what becomes of
scores), ``figures`` (with an interval), ``suite`` (several tasks and what is kept of them),
``evaluation`` (the stage).
"""

from linnet.evaluate.config import EvaluateConfig, TasksConfig
from linnet.evaluate.evaluation import Evaluation, evaluate, read_evaluation, run_tasks
from linnet.evaluate.suite import evaluate_tasks, read_items, read_results

__all__ = [
    "EvaluateConfig",
    "Evaluation",
    "TasksConfig",
    "evaluate",
    "evaluate_tasks",
    "read_evaluation",
    "read_items",
    "read_results",
    "run_tasks",
]
