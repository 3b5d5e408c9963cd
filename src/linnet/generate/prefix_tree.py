"""Likelihoods of many continuations that begin alike: what they share is computed once.

The questions of a task share their solved examples, and the choices of one question share all but
their ends. Sorted, the texts are the paths of a tree, each node a token after all those above it.
The tree is computed in pieces of some hundred nodes: a piece is one row, in which a token attends
to its own path alone (a mask says so) and stands at its depth (its position says so). Keys and
values of the path to the next piece are kept. So every node is computed once, in rows without
padding, and only the nodes after which something is predicted reach the output layer.

In fp32 the figures are those of each text alone, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from linnet.generate.engine import Continuation, Likelihood
from linnet.generate.likelihood import LOGITS_PER_BATCH, common_length
from linnet.model.cache import LayerCache
from linnet.model.rope import rope_angles

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from linnet.model.layers import Mask
    from linnet.model.transformer import Transformer

NODES = 768
"""Tokens computed at once: enough for the matrix products, and attention grows with its square."""

WORTHWHILE = 0.9
"""The tree is used where it has at most this share of the tokens."""


def shares_prefixes(model: Transformer, continuations: Sequence[Continuation]) -> bool:
    """Whether computing these as a tree saves enough, and can be done with this model."""
    config = model.config
    scaling = config.rope_scaling
    if not config.causal or (scaling is not None and scaling.kind == "longrope"):
        return False  # LongRoPE turns a token by the length of the text, which differs in a tree
    texts = sorted(_inputs(each) for each in continuations)
    total = sum(map(len, texts))
    shared = sum(common_length(before, text) for before, text in pairwise(texts))
    return total - shared <= WORTHWHILE * total


def score_tree(model: Transformer, continuations: Sequence[Continuation]) -> list[Likelihood]:
    """Score each, in order. All fit into the context, prompt and continuation together."""
    nats = np.zeros(len(continuations))
    greedy = np.ones(len(continuations), dtype=bool)
    texts = [_inputs(each) for each in continuations]
    order = sorted(range(len(texts)), key=lambda index: texts[index])
    tree = _Tree(model)
    piece = _Piece(0, [])
    path: list[int] = []
    for index in order:
        text = texts[index]
        shared = common_length(path, text)
        new = len(text) - shared
        if piece.tokens and new and len(piece.tokens) + new > NODES:
            tree.compute(piece, nats, greedy)
            piece = tree.begin(piece, shared)
        piece.add(text, shared)
        first = len(continuations[index].prompt) - 1
        for depth, target in zip(range(first, len(text)), continuations[index].tokens, strict=True):
            piece.wanted.append(_Wanted(piece.path[depth], int(target), index))
        path = text
    if piece.tokens:
        tree.compute(piece, nats, greedy)
    return [
        Likelihood(float(cost), len(each.tokens), bool(best))
        for cost, best, each in zip(nats, greedy, continuations, strict=True)
    ]


class _Wanted(NamedTuple):
    """A prediction: after which node, of which token, for which continuation."""

    node: int
    target: int
    continuation: int


@dataclass
class _Piece:
    """Nodes that are computed in one row, after ``kept`` nodes of a path that are at hand.

    Nodes are numbered with those first, so that a node's number is its place among the keys.
    """

    kept: int
    path: list[int]
    """The nodes of the text that was added last."""
    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    paths: list[npt.NDArray[np.int64]] = field(default_factory=list)
    """For each text that was added: the nodes it shares with others, then its own."""
    begins: list[int] = field(default_factory=list)
    """For each text: the first of its own nodes in its path."""
    wanted: list[_Wanted] = field(default_factory=list)

    def add(self, text: list[int], shared: int) -> None:
        """A text that begins like the one before it."""
        number = self.kept + len(self.tokens)
        self.path = self.path[:shared] + list(range(number, number + len(text) - shared))
        self.tokens += text[shared:]
        self.depths += range(shared, len(text))
        if len(text) > shared:
            self.paths.append(np.array(self.path, dtype=np.int64))
            self.begins.append(shared)

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which nodes each new node sees: those of its path, up to itself ``(T, S)``."""
        seen = np.zeros((len(self.tokens), self.kept + len(self.tokens)), dtype=bool)
        for path, begin in zip(self.paths, self.begins, strict=True):
            own = path[begin:] - self.kept
            seen[np.ix_(own, path[:begin])] = True
            seen[np.ix_(own, path[begin:])] = np.tri(len(own), dtype=bool)
        return seen

    def key_depths(self) -> npt.NDArray[np.int64]:
        """How deep each key stands."""
        return np.array([*range(self.kept), *self.depths], dtype=np.int64)


class _Tree:
    """The model with the keys and values of the path to the next piece."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.device = model.embedding.weight.device
        self.dtype = model.compute_dtype or model.embedding.weight.dtype
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.caches: list[LayerCache] = []
        width = model.config.width
        self.states = torch.empty(0, width, device=self.device, dtype=self.dtype)
        """The last states of all nodes at hand: after those kept, too, something is predicted."""

    @torch.inference_mode()
    def compute(self, piece: _Piece, nats: npt.NDArray[np.float64], greedy: npt.NDArray) -> None:  # type: ignore[type-arg]
        """Compute the piece's nodes, and add what is predicted after them."""
        self.states = torch.cat((self.states, self._hidden(piece).to(self.dtype)))
        nodes = np.array([each.node for each in piece.wanted], dtype=np.int64)
        targets = np.array([each.target for each in piece.wanted], dtype=np.int64)
        owners = np.array([each.continuation for each in piece.wanted], dtype=np.int64)
        at_once = max(1, LOGITS_PER_BATCH // self.model.config.vocab_size)
        # What several texts want after one node is computed once.
        unique, places = np.unique(nodes, return_inverse=True)
        ranks = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[ranks], np.arange(0, len(unique) + at_once, at_once))
        for number, start in enumerate(range(0, len(unique), at_once)):
            own = ranks[bounds[number] : bounds[number + 1]]
            rows = torch.from_numpy(unique[start : start + at_once]).to(self.device)
            logits = self.model.logits(self.states[rows])  # (n, V)
            inner = torch.from_numpy(places[own] - start).to(self.device)
            wanted = torch.from_numpy(targets[own]).to(self.device)
            chosen = logits[inner, wanted]
            costs = (logits.logsumexp(-1)[inner] - chosen).cpu().double().numpy()
            best = (chosen >= logits.amax(-1)[inner]).cpu().numpy()
            np.add.at(nats, owners[own], costs)
            np.logical_and.at(greedy, owners[own], best)

    def begin(self, piece: _Piece, shared: int) -> _Piece:
        """The next piece, whose first text shares this much with the piece's last one."""
        path = torch.tensor(piece.path[:shared], dtype=torch.long, device=self.device)
        self.kept = [(cache.keys[:, :, path], cache.values[:, :, path]) for cache in self.caches]
        self.states = self.states[path]
        return _Piece(shared, list(range(shared)))

    def _hidden(self, piece: _Piece) -> Tensor:
        """The normalised last states of the piece's nodes ``(T, D)``."""
        model, config, device = self.model, self.model.config, self.device
        size = piece.kept + len(piece.tokens)
        self.caches = [LayerCache(1, size, config, device, self.dtype) for _ in range(config.depth)]
        if piece.kept:
            for cache, (keys, values) in zip(self.caches, self.kept, strict=True):
                cache.append(keys, values)
        tokens = torch.tensor([piece.tokens], device=device)
        depths = torch.tensor(piece.depths, device=device)
        reach = int(depths.max()) + 1
        x = model.embed(tokens, depths, None)
        seen = piece.mask()
        masks: dict[bool, Mask] = {}
        ropes = {}
        for windowed in {config.is_windowed(layer) for layer in range(config.depth)}:
            own = seen
            if windowed and config.window is not None:
                back = np.array(piece.depths)[:, None] - piece.key_depths()[None]
                own = seen & (back < config.window)
            masks[windowed] = torch.from_numpy(own).to(device)
            if config.positions == "rope":
                cos, sin = rope_angles(config, depths, length=reach, local=windowed)
                ropes[windowed] = cos.to(x.dtype), sin.to(x.dtype)
        for layer, block in enumerate(model.blocks):
            windowed = config.is_windowed(layer)
            rope = ropes[windowed] if config.is_rotary(layer) else None
            x = block(x, rope, masks[windowed], self.caches[layer])
        normalised = x if config.norm_place == "post" else model.norm(x)
        return normalised[0]  # type: ignore[no-any-return]


def _inputs(continuation: Continuation) -> list[int]:
    """The tokens that are read: all but the last."""
    return [*continuation.prompt, *map(int, continuation.tokens)][:-1]
