"""A tokenizer as the rest of Linnet sees it: text to ids and back.

It wraps the ``tokenizers`` library and holds to these rules:

* no token is added silently, neither at the beginning nor at the end;
* special-token strings inside a text are encoded as the plain text they are, so
  a document cannot smuggle in an end-of-text;
* memory stays bounded however long a text is (``linnet.tokenizer.chunking``);
* with byte-level vocabularies (all that Linnet trains) decoding what was
  encoded gives the same text, for any text that is valid Unicode.

On disk it is what transformers reads: ``tokenizer.json`` and
``tokenizer_config.json``.
"""

from __future__ import annotations

import codecs
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import tokenizers

from linnet.errors import ModelError
from linnet.output import make_directory, write_json, write_text
from linnet.tokenizer.chunking import batches, chunks, well_formed
from linnet.tokenizer.definition import CONFIG_FILE, TOKENIZER_FILE, faults_named
from linnet.tokenizer.token_bytes import (
    Spelling,
    piece_bytes,
    spelling_of,
    strips_leading_space,
    without_prefix_space,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from linnet.tokenizer.chat import ChatTemplate, EncodedChat
    from linnet.tokenizer.chat_encoding import MarkedBackend

# How a document's end is called where tokenizer_config.json does not say.
KNOWN_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")

Ids: TypeAlias = npt.NDArray[np.uint32]


class Wrapped(NamedTuple):
    """Tokens of one or two texts with the special tokens around them.

    ``token_types``: for each token which text it belongs to, as the model wants it told.
    """

    ids: list[int]
    token_types: list[int]


class Tokenizer:
    """Text to token ids and back. Made by :func:`load`."""

    def __init__(self, backend: tokenizers.Tokenizer, config: dict[str, Any]) -> None:
        """``config``: the content of ``tokenizer_config.json``."""
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self._backend = backend
        self.config = config
        self.origin = CONFIG_FILE  # named in messages about the chat template
        self.spelling: Spelling = spelling_of(backend.decoder)
        self.strips_leading_space = strips_leading_space(backend.decoder)
        added = backend.get_added_tokens_decoder()
        self._known_bytes: dict[int, bytes] = {}
        self.added: dict[int, str] = {token: entry.content for token, entry in added.items()}
        self.special_ids = frozenset(token for token, entry in added.items() if entry.special)
        self.vocab_size: int = max(backend.get_vocab().values(), default=-1) + 1
        if not self.vocab_size:
            raise ModelError("the tokenizer has no tokens; train or adopt one")
        self.bos: int | None = self._named("bos_token")
        self.pad: int | None = self._named("pad_token")
        self.unknown: int | None = self._named("unk_token")
        self.end_of_text: int = self._find_end_of_text()

    @property
    def beginning(self) -> int:
        """The token from which a text is written where there is no prompt."""
        return self.end_of_text if self.bos is None else self.bos

    @cached_property
    def start(self) -> tuple[int, ...]:
        """What a model that is to continue a text reads before the text's own tokens.

        The post-processor in ``tokenizer.json`` decides, as it does in transformers, so
        that a prompt means the same to both. Those trained here have none, as those of
        GPT-2 and Qwen: in training, texts begin anywhere.
        """
        return self._around[0]

    @cached_property
    def finish(self) -> tuple[int, ...]:
        """What an encoder reads after a whole text's own tokens: BERT's ``[SEP]``, mostly none."""
        return self._around[1]

    @cached_property
    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self._backend.post_processor is None:
            return (), ()
        with faults_named(self.origin):
            plain = self._backend.encode("a", add_special_tokens=False).ids
            whole = self._backend.encode("a", add_special_tokens=True).ids
        if not plain:
            return (), ()
        if plain[0] not in whole:
            raise ModelError(f"{self.origin}: the post-processor leaves nothing of a text")
        first = whole.index(plain[0])
        return tuple(whole[:first]), tuple(whole[first + len(plain) :])

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """How conversations are written, or None for a tokenizer without chats."""
        from linnet.tokenizer.chat import TOKEN_NAMES, ChatTemplate, named_templates

        templates = named_templates(self.config.get("chat_template"), CONFIG_FILE)
        names = {key: self._name_of(key) for key in TOKEN_NAMES}
        tokens = {key: name for key, name in names.items() if name is not None}
        return ChatTemplate(templates, tokens, origin=self.origin) if templates else None

    @cached_property
    def end_of_turn_name(self) -> str | None:
        """The marker that the chat template writes after an assistant's message, if one."""
        from linnet.tokenizer.chat_encoding import find_end_of_turn

        template = self.chat_template
        return find_end_of_turn(template, self.marked_backend.markers) if template else None

    @cached_property
    def end_of_turn(self) -> int | None:
        """The token that ends an assistant's turn: the one that really follows what it wrote."""
        return None if self.end_of_turn_name is None else self.token_id(self.end_of_turn_name)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens at which a model has said all: end of text and end of turn."""
        ends = (self.end_of_text, self.end_of_turn)
        return tuple(dict.fromkeys(token for token in ends if token is not None))

    @cached_property
    def marked_backend(self) -> MarkedBackend:
        """What encodes rendered conversations."""
        from linnet.tokenizer.chat_encoding import MarkedBackend, markers_of

        return MarkedBackend(self._backend, markers_of(self, self.chat_template))

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> EncodedChat:
        """A conversation as tokens: :func:`linnet.tokenizer.encode_chat`."""
        from linnet.tokenizer.chat_encoding import encode_chat

        return encode_chat(
            self,
            messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            variables=variables,
        )

    def encode(self, text: str) -> list[int]:
        """The ids of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, computed in parallel."""
        return [ids.tolist() for ids in self.encode_arrays(texts)]

    def encode_arrays(self, texts: Iterable[str]) -> list[Ids]:
        """As :meth:`encode_batch`, in an eighth of the memory."""
        pieces: list[list[Ids]] = []
        for batch in batches(texts):
            encoded = self._encode_pieces(batch)
            for (_, first), ids in zip(batch, encoded, strict=True):
                if first:
                    pieces.append([])
                pieces[-1].append(ids)
        return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in pieces]

    def encode_continuation(self, text: str) -> Ids:
        """The ids of a text that goes on after another: no space is put before its first word."""
        pieces = [(chunk, False) for chunk in chunks(well_formed(text))]
        return np.concatenate([np.zeros(0, np.uint32), *self._encode_pieces(pieces)])

    def wrap(self, ids: Sequence[int], pair: Sequence[int] | None = None) -> Wrapped:
        """A text, or two, with the special tokens that a model expects around a whole one.

        For BERT ``[CLS] ids [SEP]`` and ``[CLS] ids [SEP] pair [SEP]``. The post-processor in
        ``tokenizer.json`` decides, as it does in transformers.
        """
        texts = (ids,) if pair is None else (ids, pair)
        second = None if pair is None else "a"
        with faults_named(self.origin):
            frame = self._backend.encode("a", second, add_special_tokens=True)
        tokens: list[int] = []
        types: list[int] = []
        written: set[int] = set()
        for token, kind, place in zip(frame.ids, frame.type_ids, frame.sequence_ids, strict=True):
            if place is None:
                own: Sequence[int] = (token,)
            elif place in written:
                continue
            else:
                own = texts[place]
                written.add(place)
            tokens.extend(own)
            types.extend([kind] * len(own))
        return Wrapped(tokens, types)

    def encode_whole(self, text: str, pair: str | None = None) -> Wrapped:
        """A text, or two, as a model for whole texts reads them: :meth:`encode`, wrapped."""
        return self.wrap(self.encode(text), None if pair is None else self.encode(pair))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids. Special tokens have none; bytes that are no UTF-8 become U+FFFD."""
        if self.spelling in ("wordpiece", "plain"):
            # These clean up around punctuation, which only the library knows.
            with faults_named(self.origin):
                return str(self._backend.decode(list(ids), skip_special_tokens=True))
        text = b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.strips_leading_space else text

    def stream(self, *, after: Sequence[int] = ()) -> StreamDecoder:
        """A decoder for tokens that come one by one, following the tokens ``after``."""
        return StreamDecoder(self, after=after)

    def token_bytes(self, token: int) -> bytes:
        """The bytes one token stands for: none for a special token or an unused id."""
        known = self._known_bytes.get(token)
        if known is None:
            known = self._known_bytes[token] = self._token_bytes(token)
        return known

    def special_name(self, token: int) -> str:
        """The name of a special token; empty for others."""
        return self.added[token] if token in self.special_ids else ""

    def token_name(self, token: int) -> str:
        """The token as the vocabulary spells it, such as ``Ġthe`` or ``<|endoftext|>``."""
        name = self._backend.id_to_token(token)
        return f"<unused {token}>" if name is None else str(name)

    def token_id(self, name: str) -> int | None:
        """The id of a token by its spelling in the vocabulary."""
        found: int | None = self._backend.token_to_id(name)
        return found

    def to_json(self) -> str:
        """The content of ``tokenizer.json``."""
        return str(self._backend.to_str())

    def save(self, directory: Path, *, model_max_length: int | None = None) -> None:
        """Write the files that transformers and Linnet read.

        ``model_max_length``: the context of the model that goes with it.
        """
        make_directory(directory)
        write_text(directory / TOKENIZER_FILE, self._backend.to_str(pretty=True))
        given = {} if model_max_length is None else {"model_max_length": model_max_length}
        write_json(directory / CONFIG_FILE, {**self.config, **given})

    def _token_bytes(self, token: int) -> bytes:
        if token in self.special_ids:
            return b""
        if token in self.added:
            return self.added[token].encode("utf-8")
        piece = self._backend.id_to_token(token)
        return b"" if piece is None else piece_bytes(piece, self.spelling)

    def _encode_pieces(self, pieces: list[tuple[str, bool]]) -> list[Ids]:
        """Encode pieces of texts; the flag says which are first in their text."""
        encoded: list[Ids | None] = [None] * len(pieces)
        for is_first in (True, False):
            places = [place for place, (_, first) in enumerate(pieces) if first == is_first]
            if not places:
                continue
            backend = self._backend if is_first else self._continuing
            texts = [pieces[place][0] for place in places]
            with faults_named(self.origin):
                results = backend.encode_batch_fast(texts, add_special_tokens=False)
            for place, result in zip(places, results, strict=True):
                encoded[place] = np.array(result.ids, dtype=np.uint32)
        return [ids for ids in encoded if ids is not None]

    @cached_property
    def _continuing(self) -> tokenizers.Tokenizer:
        """The same tokenizer for text that goes on: it puts no space before the first word."""
        raw = json.loads(self._backend.to_str())
        for name in ("normalizer", "pre_tokenizer"):
            raw[name] = without_prefix_space(raw[name])
        backend = tokenizers.Tokenizer.from_str(json.dumps(raw))
        backend.encode_special_tokens = True
        return backend

    def _named(self, key: str) -> int | None:
        name = self._name_of(key)
        return None if name is None else self.token_id(name)

    def _name_of(self, key: str) -> str | None:
        value = self.config.get(key)
        name = value.get("content") if isinstance(value, dict) else value
        return name if isinstance(name, str) else None

    def _find_end_of_text(self) -> int:
        named = self._named("eos_token")
        if named is not None:
            return named
        for name in KNOWN_ENDS:
            found = self.token_id(name)
            if found is not None:
                return found
        raise ModelError(
            "the tokenizer has no token that ends a text; name one as eos_token in "
            f"{CONFIG_FILE} (looked for {', '.join(KNOWN_ENDS)})"
        )


class StreamDecoder:
    """Decodes one token at a time.

    A character of several bytes may be spread over several tokens; it is
    given out with the token that completes it. What all calls give, joined, is
    the text that ``Tokenizer.decode`` gives for the whole. Special tokens give
    nothing.

    ``after``: tokens that came before and whose text is not wanted again, such
    as the prompt. They matter: a prompt may end within a character, and some
    tokenizers drop the space before the first word of a text only.
    """

    def __init__(self, tokenizer: Tokenizer, *, after: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._drop_space = tokenizer.strips_leading_space
        for token in after:
            self.push(token)

    def push(self, token: int) -> str:
        """The text that this token completes, possibly none."""
        text = self._decoder.decode(self._tokenizer.token_bytes(token))
        if text and self._drop_space:
            self._drop_space = False
            return text.removeprefix(" ")
        return text

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)
