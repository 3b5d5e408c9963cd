"""The shards: the corpus as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.shards import EncodeConfig, encode
from linnet.stages.stage import Stage, Workspace, read_object

if TYPE_CHECKING:
    from linnet.artifact import Artifact


@dataclass(frozen=True)
class SplitFacts:
    """One split of the encoded documents."""

    name: str
    documents: int
    bytes: int
    tokens: int


def split_facts(workspace: Workspace) -> list[SplitFacts]:
    """Documents, bytes and tokens of each split."""
    description = read_object(workspace.directory("shards") / "shards.json") or {}
    facts = []
    for name, entries in description.get("splits", {}).items():
        sums = [sum(e[key] for e in entries) for key in ("documents", "bytes", "tokens")]
        facts.append(SplitFacts(name, *sums))
    return facts


def _make(workspace: Workspace) -> Artifact:
    corpus, tokenizer = (workspace.artifacts[name].path for name in ("corpus", "tokenizer"))
    out = workspace.directory("shards")
    return encode(corpus, tokenizer, out, EncodeConfig(), progress=workspace.progress)


def _summary(made: Artifact) -> str:
    train = made.stats["splits"]["train"]
    return f"{train['tokens']:,} tokens to train on, {train['bytes_per_token']:.2f} bytes each"


STAGE = Stage(
    name="shards",
    make=_make,
    summary=_summary,
    inputs={"corpus": "corpus", "tokenizer": "tokenizer"},
    settings=lambda workspace: EncodeConfig().recipe(),
    on_forget="rebuild",
)
