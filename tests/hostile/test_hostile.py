"""Some hundred inputs that strangers could send: each ends in one line, in time and in memory.

Every case is made by code (``templates``, ``tokenizers_made``, ``artifacts``, ``links``, ``hubs``,
``ggufs``, ``models``) and run in a process of its own (``running``). A dozen are in the default
run, all in the slow one. A new kind of input is a module with ``CASES``, named in ``MODULES``.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import hubs
import links
import pytest
from case import Case
from running import Outcome, Runner

from tiny_project import TinyProject

if sys.platform == "win32":
    pytest.skip("the runner forks", allow_module_level=True)

MODULES = ("templates", "tokenizers_made", "artifacts", "links", "hubs", "ggufs", "models")
CASES: list[Case] = [case for name in MODULES for case in import_module(name).CASES]
QUICK = [case for case in CASES if case.quick]
SLOW = [case for case in CASES if not case.quick]
LONGEST_LINE = 1_000


PRELOADED = ("linnet.cli.build", "linnet.evaluate.evaluation", "linnet.train.pretraining")


@pytest.fixture(scope="module")
def light() -> Iterator[Runner]:
    made = Runner("linnet.hub", "linnet.tokenizer.loading")
    yield made
    made.close()


@pytest.fixture(scope="module")
def heavy() -> Iterator[Runner]:
    made = Runner("linnet.hub", "linnet.tokenizer.loading", *PRELOADED)
    yield made
    made.close()


@pytest.fixture(scope="module")
def hub() -> Iterator[hubs.Hubs]:
    with hubs.serving() as made:
        yield made


def run(case: Case, place: Path, runner: Runner, hub: hubs.Hubs) -> Outcome:
    def filled(text: str) -> str:
        return text.replace("DIR", str(place)).replace("HUB", hub.endpoint)

    case.make(place)
    first, *rest = (filled(word) for word in case.command)
    tasks = ("chat", "encode", "shards", "train")
    task, arguments = (first, rest) if first in tasks else ("cli", [first, *rest])
    return runner.run(
        task,
        *arguments,
        seconds=case.seconds,
        memory=case.memory,
        environment={name: filled(value) for name, value in case.environment},
    )


def check(case: Case, place: Path, outcome: Outcome) -> None:
    said = "\n".join(outcome.lines)[-2_000:]
    assert outcome.code is not None, f"still running after {case.seconds:.0f} s: {said}"
    assert "Traceback" not in outcome.err, said
    if case.line:
        assert outcome.code == 1, f"status {outcome.code}: {said}"
        last = outcome.lines[-1]
        assert len(last) <= LONGEST_LINE
        assert re.match(f"(error: )?({case.line})", last), last
        errors = [line for line in outcome.lines if line.startswith("error")]
        assert len(errors) <= 1, said
    else:
        assert outcome.code == 0, said
    assert outcome.memory < case.memory
    assert links.untouched(place), "something outside of the project was changed"


@pytest.mark.parametrize("case", QUICK, ids=[case.name for case in QUICK])
def test_a_dozen(case: Case, tmp_path: Path, light: Runner, hub: hubs.Hubs) -> None:
    check(case, tmp_path, run(case, tmp_path, light, hub))


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=[case.name for case in SLOW])
def test_all_others(
    case: Case, built_once: TinyProject, tmp_path: Path, heavy: Runner, hub: hubs.Hubs
) -> None:
    if case.project:
        shutil.copytree(built_once.path, tmp_path / "project")
    check(case, tmp_path, run(case, tmp_path, heavy, hub))


def test_there_are_enough() -> None:
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)
    assert 12 <= len(QUICK) <= 24


def test_a_token_stays_with_the_hub(tmp_path: Path, light: Runner, hub: hubs.Hubs) -> None:
    (case,) = [case for case in CASES if case.name == "hub: away"]
    run(case, tmp_path, light, hub)
    assert hub.tokens[hub.endpoint] == {f"Bearer {hubs.TOKEN}"}
    assert hub.tokens[hub.elsewhere] == {""}


def test_nothing_of_an_endless_file_stays(tmp_path: Path, light: Runner, hub: hubs.Hubs) -> None:
    (case,) = [case for case in CASES if case.name == "hub: endless"]
    run(case, tmp_path, light, hub)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100
