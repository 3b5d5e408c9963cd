"""Thousands of conversations through the model at an address, and what its server was sent.

Nothing of documents that stay, of memory or of what the owner's patterns mean is in any request, in
any of some forty codes, whole or divided, wherever it stood. The oracle (``leaks``) shares no code
with the policy, and finds the leaks where there is no policy (so it can).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from linnet.config import from_mapping
from linnet.respond import Context
from linnet.respond.remote import RemoteResponder
from linnet.respond.responder import Abilities
from linnet.retrieval import Index
from linnet.routing.policy import Policy, PolicyConfig, PolicyError, PolicyResponder
from retrieval.made_index import index
from routing.leaks import CODES, Case, Oracle, World, cases, world
from routing.recording import recording

WORLD = world()
ORACLE = Oracle(WORLD)
EVERYTHING = {
    "farthest": "elsewhere", "history": "all", "tools": "results", "files": True,
    "private": "mask",
    "documents": [{"sources": ["**"], "farthest": "elsewhere"}],
}  # fmt: skip
"""An owner who lets through whatever they can."""


def patterns(made: World) -> list[dict[str, str]]:
    return [{"matches": name, "name": f"NAME_{n}"} for n, name in enumerate(made.names)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index")
    index({**WORLD.staying, **WORLD.leaving}, place)
    return place


async def outcomes(policy: Policy, seed: int, count: int) -> tuple[list[tuple[Case, str]], int]:
    """What leaked of which conversation; and how many were sent."""
    found: list[tuple[Case, str]] = []
    async with recording() as server:
        model = RemoteResponder(server.url, "far", abilities=Abilities("far", 0, "elsewhere"))
        far = PolicyResponder(model, policy)
        for case in cases(seed, count, WORLD):
            before = len(server.bodies)
            try:
                async for _ in far.respond(case.conversation, Context()):
                    pass
            except PolicyError:
                pass
            for body in server.bodies[before:]:
                found.append((case, ORACLE.leaked(body)))
    return [(case, leak) for case, leak in found if leak], len(found)


def check(documents: Path, seed: int, count: int) -> None:
    policy = Policy(from_mapping(
        PolicyConfig,
        {**EVERYTHING, "local_only": ["hr/**"], "patterns": patterns(WORLD)}, where="test",
    ))  # fmt: skip
    with Index.open(documents) as opened:
        policy.protect(opened)
        leaks, sent = asyncio.run(outcomes(policy, seed, count))
        policy.close()
    shown = [(c.kind, c.code, c.where, leak) for c, leak in leaks]
    assert shown == []
    # Those that say nothing that may not leave do leave, and some of which that was left out.
    harmless = sum(not case.kind for case in cases(seed, count, WORLD))
    assert sent >= harmless > count / 4


def test_nothing_that_stays_is_in_any_request(documents: Path) -> None:
    check(documents, 1, 160)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_nothing_that_stays_is_in_any_of_many_requests(documents: Path, seed: int) -> None:
    check(documents, seed, 2_000)


def test_without_a_policy_the_oracle_finds_what_leaks() -> None:
    own = Policy(from_mapping(PolicyConfig, {**EVERYTHING, "memory": True, "private": "send"},
                              where="test"))  # fmt: skip
    leaks, sent = asyncio.run(outcomes(own, 7, 100))
    every = list(cases(7, 100, WORLD))
    assert sent > 92  # (what is too much to be decoded is held back all the same)
    found = sum(bool(case.kind) for case, _ in leaks)
    assert found > 0.92 * sum(bool(case.kind) for case in every)
    assert len({case.code for case, _ in leaks}) > 0.6 * len(CODES)
