"""The tasks that there are: each is a file here, and a line in :data:`TASKS`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from linnet.errors import ConfigError
from linnet.evaluate.task import Task
from linnet.evaluate.tasks.baselines import Baselines
from linnet.evaluate.tasks.samples import Overlaps, Samples
from linnet.evaluate.tasks.text import HeldOutText

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (HeldOutText, Baselines, Samples, Overlaps)
}
"""All tasks by name, in the order in which they run."""

USUAL = ("text", "baselines", "samples", "overlap")
"""Those that ``linnet evaluate`` runs by itself."""


def with_needed(names: Sequence[str]) -> list[str]:
    """The tasks to run for these, in order. Raises ConfigError for one that there is not."""
    for name in names:
        if name not in TASKS:
            near = difflib.get_close_matches(name[:100], TASKS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"--task must be one of {', '.join(TASKS)}. Got '{name}'{hint}")
    wanted = set(names)
    for name in reversed(TASKS):
        if name in wanted:
            wanted.update(TASKS[name].after)
    return [name for name in TASKS if name in wanted]
