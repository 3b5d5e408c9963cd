"""The tasks that there are: each is a file here, and a line in :data:`TASKS`."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.evaluate.task import Task
from linnet.evaluate.tasks.baselines import Baselines
from linnet.evaluate.tasks.bias import Bbq, Bias, CrowsPairs
from linnet.evaluate.tasks.coherence import Coherence
from linnet.evaluate.tasks.groundedness import Groundedness
from linnet.evaluate.tasks.language import Language
from linnet.evaluate.tasks.memorisation import Memorisation
from linnet.evaluate.tasks.questions import OpenBookQuestions, Questions
from linnet.evaluate.tasks.refusal import Refusal
from linnet.evaluate.tasks.samples import Overlaps, Samples
from linnet.evaluate.tasks.text import HeldOutText

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        HeldOutText,
        Baselines,
        Samples,
        Overlaps,
        Language,
        Coherence,
        Questions,
        OpenBookQuestions,
        Refusal,
        Memorisation,
        Groundedness,
        Bias,
        CrowsPairs,
        Bbq,
    )
}
"""All tasks by name, in the order in which they run."""

USUAL = ("text", "baselines", "samples", "overlap")
"""Those that ``linnet evaluate`` runs by itself."""


def with_needed(names: Sequence[str]) -> list[str]:
    """The tasks to run for these, those that they need among them, in order."""
    wanted = set(names)
    for name in reversed(TASKS):
        if name in wanted:
            wanted.update(TASKS[name].after)
    return [name for name in TASKS if name in wanted]
