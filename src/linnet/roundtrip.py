"""Whether a model is the same model everywhere: here, in transformers, merged, in llama.cpp.

The same prompts go through each, and through each one's tokenizer and chat template. Compared
are tokens, the log-probabilities of the likeliest tokens at every place of a greedy
continuation, and that continuation itself, up to the first place where the two best tokens
are so close that rounding decides. Encoders are compared by the vectors they give.

A quantised file is another model by design: how far off it is is told, never failed.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact
from linnet.config import Config, option
from linnet.errors import ConfigError, ModelError, install_command
from linnet.export.config import OWN_FORMATS, ExportConfig
from linnet.export.gguf import export_gguf
from linnet.generate.embedding import load_encoder
from linnet.llama_cpp.client import LlamaCpp
from linnet.model import Checkpoint, load_checkpoint
from linnet.model.adapter import is_adapter
from linnet.model.merging import load_adapted, merged
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.tokenizer import Tokenizer

LOGPROB_LIMIT = 5e-3
"""Nats."""
CLOSE = 1e-2
"""Nats between the two best tokens: nearer than this, rounding may decide between them."""
VECTOR_LIMIT = 1e-3
"""Between numbers of vectors of length one."""
CANDIDATES = 8
CONTEXT = 512
"""The most tokens that llama.cpp is given room for."""

PROMPTS = (
    "Once upon a time there was",
    "The capital of France is",
    "def add(a, b):\n    return",
    "In 1984, 3.5 % of people didn't know; \u00fcber caf\u00e9s \u2014",
)
CONVERSATION = (
    {"role": "user", "content": "What is a linnet?"},
    {"role": "assistant", "content": "A small brown bird."},
    {"role": "user", "content": "Where does it live?"},
)


@dataclass(frozen=True)
class CheckConfig(Config):
    """What to compare a model by."""

    prompts: tuple[str, ...] = option((), "a prompt to compare by; may be given several times")
    max_tokens: int = option(16, "tokens to continue each prompt with")
    quantised: str = option("q8_0", "a GGUF format to measure beside; empty for none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1. Got {self.max_tokens}")
        if self.quantised and self.quantised not in OWN_FORMATS:
            raise ConfigError(
                f"quantised must be one of {', '.join(OWN_FORMATS)}. Got '{self.quantised}'"
            )


@dataclass(frozen=True)
class Comparison:
    """One thing compared with the model as it runs here."""

    where: str
    what: str
    same: bool
    told: str
    """How far apart, or what differs, for people."""
    binding: bool = True
    """Whether a difference means that something is wrong."""
    compared: bool = True
    """Whether it could be compared at all; ``told`` says what that needs."""

    @property
    def failed(self) -> bool:
        return self.binding and not self.same

    @property
    def verdict(self) -> str:
        """In a word, for people: in capitals what is wrong."""
        if not self.compared:
            return "not compared"
        return "same" if self.same else "DIFFERS" if self.binding else "differs"


def _not_compared(where: str, package: str) -> Comparison:
    """That nothing was compared there, for want of a package."""
    needed = f"{package} is not installed: {install_command(package)}"
    return Comparison(where, "all", False, needed, binding=False, compared=False)


@dataclass(frozen=True)
class Run:
    """A greedy continuation: at each place the likeliest tokens and what was chosen."""

    prompt: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]
    tokens: tuple[int, ...]


def check(
    model: Path | str, config: CheckConfig | None = None, *, progress: Progress = SILENT
) -> list[Comparison]:
    """Compare a model directory, or an adapter, with itself in every other place.

    Raises MissingExtraError without ``gguf`` and ``xllamacpp``; without transformers that
    comparison is left out and said so.
    """
    config, path = config or CheckConfig(), artifact.within(model, "model")
    with tempfile.TemporaryDirectory(prefix="linnet-check-") as made:
        place = Path(made)
        with merged(path, beside=place, progress=progress) as whole:
            loaded = load_adapted(path) if is_adapter(path) else load_checkpoint(path)
            if not loaded.config.causal:
                return list(_encoder(whole, config, place, progress))
            native = _Native(loaded, config)
            found: list[Comparison] = []
            if is_adapter(path):
                found += _merged(native, whole, progress)
            found += _transformers(native, whole, progress)
            found += _llama_cpp(native, whole, place, "f32", progress)
            if config.quantised:
                found += _llama_cpp(native, whole, place, config.quantised, progress)
            return found


class _Native:
    """The model as it runs here, and the prompts as it reads them."""

    def __init__(self, loaded: Checkpoint, config: CheckConfig) -> None:
        self.model, self.tokenizer, self.config = loaded.model, loaded.tokenizer, loaded.config
        self.length = config.max_tokens
        scaling = self.config.rope_scaling
        longest = scaling.original_context if scaling and scaling.kind == "longrope" else CONTEXT
        self.room = min(self.config.context, CONTEXT, longest)
        self.texts = list(config.prompts or PROMPTS)
        self.prompts = [self._fitting(text) for text in self.texts]
        if self.tokenizer.chat_template is not None:
            chat = self.tokenizer.encode_chat(CONVERSATION, add_generation_prompt=True)
            self.chat_text, self.chat_ids = chat.text, chat.ids
            if len(chat.ids) + self.length <= self.room:
                self.prompts.append(tuple(chat.ids))

    @torch.inference_mode()
    def logprobs(self, tokens: Sequence[int], *, after: int) -> torch.Tensor:
        """Of every token ``(T, V)``, at each place from the one that follows ``after`` tokens."""
        logits: torch.Tensor = self.model(torch.tensor([list(tokens)]))
        return logits[0, after - 1 :].log_softmax(-1)

    def read(self, text: str) -> tuple[int, ...]:
        """What a model that is to continue the text reads."""
        return *self.tokenizer.start, *self.tokenizer.encode(text)

    def _fitting(self, text: str) -> tuple[int, ...]:
        ids = self.read(text)
        return ids[: max(1, self.room - self.length)] or (self.tokenizer.end_of_text,)


def _merged(native: _Native, whole: Path, progress: Progress) -> Iterator[Comparison]:
    with progress.task("comparing with the merged adapter"):
        model = load_checkpoint(whole).model
        runs = [_greedy(model, prompt, native.length) for prompt in native.prompts]
    yield from _compared("merged adapter", native, runs)


def _transformers(native: _Native, whole: Path, progress: Progress) -> Iterator[Comparison]:
    where = "transformers"
    try:
        package: Any = importlib.import_module("transformers")
    except ImportError:
        yield _not_compared(where, "transformers")
        return
    with progress.task("comparing with transformers"):
        tokenizer = package.AutoTokenizer.from_pretrained(whole, local_files_only=True)
        yield _same_tokens(
            where, native.texts, native.read, lambda text: tokenizer(text)["input_ids"]
        )
        if native.tokenizer.chat_template is not None:
            theirs = tokenizer.apply_chat_template(
                list(CONVERSATION), tokenize=False, add_generation_prompt=True
            )
            yield _same_text(where, native.chat_text, theirs)
        model = package.AutoModelForCausalLM.from_pretrained(
            whole, local_files_only=True, dtype=torch.float32
        ).eval()
        runs = [
            _greedy(lambda ids: model(ids).logits, prompt, native.length)
            for prompt in native.prompts
        ]
    yield from _compared(where, native, runs)


def _llama_cpp(
    native: _Native, whole: Path, place: Path, type: str, progress: Progress
) -> Iterator[Comparison]:
    where, exact = f"llama.cpp {type}", type == "f32"
    chats = exact and native.tokenizer.chat_template is not None
    try:
        file = _exported(whole, place, type, progress)
        opened = LlamaCpp(file, context=native.room, own_template=chats)
    except ModelError as error:
        yield Comparison(where, "opens", False, str(error))
        return
    with progress.task(f"comparing with {where}"), opened as llama:
        if exact:
            yield _same_tokens(where, native.texts, native.read, llama.tokens)
        if chats:
            yield from _same_chat(where, native, llama)
        runs = []
        for prompt in native.prompts:
            found = llama.continuation(prompt, length=native.length, candidates=CANDIDATES)
            runs.append(Run(prompt, found.logprobs, found.tokens))
    file.unlink()
    yield from _compared(where, native, runs, binding=exact)


def _exported(whole: Path, place: Path, type: str, progress: Progress) -> Path:
    out, config = place / f"{type}.gguf", ExportConfig(type=type)
    return export_gguf(whole, out, config, open_once=False, progress=progress)


def _same_chat(where: str, native: _Native, llama: LlamaCpp) -> Iterator[Comparison]:
    """The rendered conversation, and its tokens with the markers as the tokens they are."""
    theirs = llama.rendered(CONVERSATION)
    ours = native.chat_text
    start = "".join(native.tokenizer.token_name(token) for token in native.tokenizer.start)
    # llama.cpp takes off what its tokenizer will put before the text again.
    if start and ours.startswith(start) and not theirs.startswith(start):
        theirs = start + theirs
    yield _same_text(where, ours, theirs)
    around = bool(start) and not ours.startswith(start)
    ids = llama.tokens(ours, special=True, around=around)
    yield Comparison(
        where,
        "tokens of a chat",
        ids == native.chat_ids,
        f"{len(ids)} tokens" if ids == native.chat_ids else _first_other(native.chat_ids, ids),
    )


@torch.inference_mode()
def _greedy(
    model: Callable[[torch.Tensor], torch.Tensor], prompt: Sequence[int], length: int
) -> Run:
    tokens: list[int] = []
    logprobs: list[dict[int, float]] = []
    for _ in range(length):
        row = model(torch.tensor([[*prompt, *tokens]]))[0, -1].float().log_softmax(-1)
        best = row.topk(min(CANDIDATES, len(row)))
        logprobs.append(dict(zip(best.indices.tolist(), best.values.tolist(), strict=True)))
        tokens.append(int(best.indices[0]))
    return Run(tuple(prompt), tuple(logprobs), tuple(tokens))


def _compared(
    where: str, native: _Native, runs: Iterable[Run], *, binding: bool = True
) -> Iterator[Comparison]:
    """Log-probabilities and greedy text of another place beside ours on the same tokens."""
    worst, places, same, agreed = 0.0, 0, True, 0
    for run in runs:
        ours = native.logprobs((*run.prompt, *run.tokens), after=len(run.prompt))
        for told, row in zip(run.logprobs, ours, strict=False):
            places += bool(told)
            apart = (abs(value - float(row[token])) for token, value in told.items())
            worst = max([worst, *apart])
        for token, row in zip(run.tokens, ours, strict=False):
            best = row.topk(2).values
            if token != int(row.argmax()):
                same = same and float(best[0] - best[1]) < CLOSE
                break
            agreed += 1
    apart_enough = worst <= LOGPROB_LIMIT
    yield Comparison(
        where,
        "log-probabilities",
        apart_enough and places > 0,
        f"at most {worst:.2g} apart at {places} places" if places else "none were told",
        binding,
    )
    yield Comparison(where, "greedy text", same, f"{agreed} tokens alike", binding)


def _same_tokens(
    where: str,
    texts: list[str],
    own: Callable[[str], Sequence[int]],
    other: Callable[[str], Sequence[int]],
) -> Comparison:
    for text in texts:
        ours, theirs = list(own(text)), list(other(text))
        if ours != theirs:
            told = f"{text[:30]!r}: {_first_other(ours, theirs)}"
            return Comparison(where, "tokens", False, told)
    return Comparison(where, "tokens", True, f"{len(texts)} prompts")


def _same_text(where: str, ours: str, theirs: str) -> Comparison:
    same = ours == theirs
    told = f"{len(ours)} characters" if same else _first_other(ours, theirs)
    return Comparison(where, "chat template", same, told)


def _first_other(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    """Where two sequences part."""
    shorter = min(len(ours), len(theirs))
    at = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    return f"from {at} on {ours[at : at + 8]!r} here, {theirs[at : at + 8]!r} there"


def _encoder(
    whole: Path, config: CheckConfig, place: Path, progress: Progress
) -> Iterator[Comparison]:
    """An encoder: tokens and vectors."""
    encoder = load_encoder(str(whole), progress=progress)
    texts = list(config.prompts or PROMPTS)
    ours = torch.nn.functional.normalize(
        torch.from_numpy(encoder.embed(texts, normalise=True)).float(), dim=1
    )
    for type in filter(None, ("f32", config.quantised)):
        exact, where = type == "f32", f"llama.cpp {type}"
        try:
            file = _exported(whole, place, type, progress)
            opened = LlamaCpp(file, context=min(encoder.max_tokens, CONTEXT), embedding=True)
        except ModelError as error:
            yield Comparison(where, "opens", False, str(error))
            continue
        with opened as llama:
            if exact:
                yield _same_tokens(where, texts, partial(_whole, encoder.tokenizer), llama.tokens)
            theirs = torch.tensor([llama.embedding(text) for text in texts])
        apart = (ours - torch.nn.functional.normalize(theirs, dim=1)).abs().max().item()
        told = f"at most {apart:.2g} apart"
        yield Comparison(where, "embeddings", apart <= VECTOR_LIMIT, told, binding=exact)
    yield from _encoder_transformers(whole, texts, encoder, progress)


def _encoder_transformers(
    whole: Path, texts: list[str], encoder: Any, progress: Progress
) -> Iterator[Comparison]:
    where = "transformers"
    try:
        package: Any = importlib.import_module("transformers")
    except ImportError:
        yield _not_compared(where, "transformers")
        return
    tokenizer = package.AutoTokenizer.from_pretrained(whole, local_files_only=True)
    own = partial(_whole, encoder.tokenizer)
    yield _same_tokens(where, texts, own, partial(_ids, tokenizer))
    model = package.AutoModel.from_pretrained(
        whole, local_files_only=True, dtype=torch.float32
    ).eval()
    worst = 0.0
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            theirs = model(ids).last_hidden_state
            ours = encoder.model.hidden(ids)
            scale = theirs.norm(dim=-1).mean()
            worst = max(worst, float((ours - theirs).abs().max() / scale))
    told = f"at most {worst:.2g} of their length apart"
    yield Comparison(where, "states", worst <= VECTOR_LIMIT, told)


def _ids(tokenizer: Any, text: str) -> Sequence[int]:
    """What transformers reads of a text."""
    ids: Sequence[int] = tokenizer(text)["input_ids"]
    return ids


def _whole(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """What an encoder reads of a text."""
    return *tokenizer.start, *tokenizer.encode(text), *tokenizer.finish


def require_same(comparisons: Sequence[Comparison]) -> None:
    """Raise ModelError where a comparison that must hold does not."""
    failed = [f"{c.where}: {c.what} ({c.told})" for c in comparisons if c.failed]
    if failed:
        raise ModelError(f"the model is not the same everywhere: {'; '.join(failed)}")
