"""A project so small that a build takes a second or two."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from linnet.pipeline import Build, build
from linnet.planner import MachineFacts
from linnet.progress import Progress

WORDS = "the a fox hen river stone tree house old young ran walked saw found under over".split()  # noqa: SIM905
SETTINGS = (
    "data.workers=1", "train.width=32", "train.depth=1", "train.context=32", "train.threads=1",
    "train.batch_tokens=64", "train.steps=4", "train.compile=no", "train.validation_tokens=500",
    "evaluate.samples=1", "evaluate.sample_tokens=8", "evaluate.resamples=10",
)  # fmt: skip
# Measuring the real one would take seconds in every test, and give other figures each time.
MACHINE = MachineFacts("cpu", "fp32", 1, "a processor", 1e10)


def write_notes(folder: Path, count: int = 60) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"note-{number:02d}.txt").write_text(note(number), encoding="utf-8")


def note(number: int) -> str:
    words = random.Random(number)
    return f"Note {number}.\n\n{' '.join(words.choice(WORDS) for _ in range(120))}.\n"


@dataclass
class Recorder(Progress):
    """Keeps what a build says."""

    said: list[str] = field(default_factory=list)

    def message(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(f"warning: {text}")

    @property
    def unchanged(self) -> set[str]:
        """Stages of which it was said that they are unchanged."""
        return {line.split()[0] for line in self.said if line.endswith(" unchanged")}

    @property
    def made(self) -> set[str]:
        """Stages that were made."""
        return {line.split()[0] for line in self.said if line.endswith(" s)")}


@dataclass
class TinyProject:
    """A folder of documents and what is built from it."""

    documents: Path
    path: Path
    progress: Recorder = field(default_factory=Recorder)

    def build(
        self,
        *settings: str,
        sources: Sequence[Path | str] | None = None,
        budget: str | None = None,
        replan: bool = False,
        retrain_tokenizer: bool = False,
    ) -> Build:
        self.progress = Recorder()
        with mock.patch("linnet.planner.measure_machine", return_value=MACHINE):
            return build(
                [self.documents] if sources is None else sources,
                self.path,
                budget=budget,
                settings=settings,
                replan=replan,
                retrain_tokenizer=retrain_tokenizer,
                progress=self.progress,
            )

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Time of change and content of every file that is not a lock."""
        found = sorted(p for p in self.path.rglob("*") if p.is_file() and p.suffix != ".lock")
        return {
            str(p.relative_to(self.path)): (p.stat().st_mtime_ns, p.read_bytes()) for p in found
        }
