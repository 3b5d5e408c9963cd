"""Special tokens: those that mark the turns of a chat, padding, and the mask of encoders.

Tokenizers that have no chat get a template in ChatML, and the tokens it writes. ChatML
(https://github.com/openai/openai-python/blob/v0.28.1/chatml.md) marks each turn as
``<|im_start|>role``, a line end, the content and ``<|im_end|>``. Roles are system, user, assistant
and tool. Tools are listed in the system turn, one JSON schema a line; an assistant calls one with
``<tool_call>{"name": ..., "arguments": ...}</tool_call>``, each on a line of its own after what it
says; a result is a turn of the role tool. transformers and llama.cpp render it alike. It needs no
``{% generation %}``, which not every reader knows: what an assistant writes is found without.
"""

from __future__ import annotations

from dataclasses import dataclass

import tokenizers

from linnet.errors import ModelError
from linnet.tokenizer.tokenizer import Tokenizer

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- 'You may call these tools with <tool_call>{"name": ..., "arguments": ...}</tool_call>:' }}
    {%- for tool in tools %}
        {{- '\n' }}{{ tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant', 'tool'] %}
        {{- raise_exception('roles are system, user, assistant and tool, not ' + message.role) }}
    {%- endif %}
    {%- if not (tools and loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\n' }}
        {%- if message.content is string %}
            {{- message.content }}
        {%- elif message.content %}
            {%- for part in message.content %}
                {{- part.text }}
            {%- endfor %}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- if call.function %}
                    {%- set call = call.function %}
                {%- endif %}
                {%- if message.content or not loop.first %}
                    {{- '\n' }}
                {%- endif %}
                {{- '<tool_call>{"name": "' + call.name + '", "arguments": ' }}
                {%- if call.arguments is string %}
                    {{- call.arguments }}
                {%- else %}
                    {{- call.arguments | tojson }}
                {%- endif %}
                {{- '}</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""".lstrip("\n")

# Names under which tokenizers keep a token for padding, or one that nothing uses.
_PADDING = (
    "<|finetune_right_pad_id|>",
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<|padding|>",
    "<|vision_pad|>",
)
_RESERVED = ("<|reserved_special_token_", "<|placeholder", "<unused", "[unused", "<|dummy_")
MASK = "<|mask|>"
KNOWN_MASKS = ("[MASK]", "<mask>", MASK)


@dataclass(frozen=True)
class WithChat:
    """A tokenizer that knows chats, and the ids that it did not have before.

    A model has rows for the new ids only where its embedding is larger than the vocabulary was;
    elsewhere the embedding must grow to ``tokenizer.vocab_size``.
    """

    tokenizer: Tokenizer
    new_ids: tuple[int, ...]


def with_chat(tokenizer: Tokenizer) -> WithChat:
    """The same tokenizer with :data:`CHAT_TEMPLATE`, unless it has a template.

    Markers it lacks are added after its vocabulary. The tokenizer given stays as it is.
    """
    if tokenizer.chat_template is not None:
        return WithChat(tokenizer, ())
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    missing = [name for name in (TURN_START, TURN_END) if tokenizer.token_id(name) is None]
    backend.add_special_tokens([TURN_START, TURN_END])
    made = Tokenizer(backend, {**tokenizer.config, "chat_template": CHAT_TEMPLATE})
    new = [made.token_id(name) for name in missing]
    return WithChat(made, tuple(token for token in new if token is not None))


def safe_padding(tokenizer: Tokenizer) -> int | None:
    """A token for padding that ends nothing: its own if that is so, or one that nothing uses.

    None where there is none. Nothing here pads with a token that is looked at (packing masks what
    it pads), but other programs do, and take what they pad with out of the loss: a model whose
    padding is its end of turn never learns to stop.
    """
    ends = set(tokenizer.stop_ids)
    own = [tokenizer.pad] if tokenizer.pad is not None else []
    named = [tokenizer.token_id(name) for name in _PADDING]
    reserved = [
        token for token, name in sorted(tokenizer.added.items()) if name.startswith(_RESERVED)
    ]
    for token in [*own, *named, *reserved, tokenizer.unknown]:
        if token is not None and token not in ends and token in tokenizer.special_ids:
            return token
    return None


def with_safe_padding(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, padding with :func:`safe_padding`, or naming no padding at all."""
    token = safe_padding(tokenizer)
    if token == tokenizer.pad:
        return tokenizer
    config = dict(tokenizer.config)
    config.pop("pad_token", None)
    if token is not None:
        config["pad_token"] = tokenizer.token_name(token)
    made = Tokenizer(tokenizers.Tokenizer.from_str(tokenizer.to_json()), config)
    made.origin = tokenizer.origin
    return made


def check_trainable(tokenizer: Tokenizer, *, rows: int | None = None, chat: bool = True) -> None:
    """Refuse to train what could not learn to stop, or would learn from padding.

    ``rows``: of the model's embedding. ``chat``: whether conversations are to be trained.
    Raises ModelError, which says what to do.
    """
    if rows is not None and tokenizer.vocab_size > rows:
        raise ModelError(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, but the model has an embedding "
            f"for {rows:,}; use the model's own tokenizer, or let the embedding grow"
        )
    if tokenizer.pad is not None and tokenizer.pad in tokenizer.stop_ids:
        raise ModelError(
            f"{tokenizer.origin}: padding is {tokenizer.token_name(tokenizer.pad)}, which ends a "
            "text or a turn, so that tools would mask the end and the model never stop; name "
            "another pad_token (linnet.tokenizer.with_safe_padding chooses one)"
        )
    if chat:
        _check_template(tokenizer)


def _check_template(tokenizer: Tokenizer) -> None:
    origin, content = tokenizer.origin, "Linnet"
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{origin}: there is no chat template, which conversations need; add one, or use "
            "linnet.tokenizer.with_chat"
        )
    probe = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": content}]
    tokenizer.chat_template.render(probe)  # a fault of the template is told before what follows
    if tokenizer.end_of_turn is None:
        raise ModelError(
            f"{origin}: the chat template writes no special token after an assistant's message, so "
            "that a model would never learn to stop; end the message with one, such as "
            "{{ eos_token }}"
        )
    if tokenizer.end_of_turn == tokenizer.unknown:
        raise ModelError(f"{origin}: the end of a turn is the unknown token; add it to the tokens")
    made = tokenizer.encode_chat(probe)
    said = [token for token, own in zip(made.ids, made.trained, strict=True) if own]
    if content.lower() not in tokenizer.decode(said).lower():
        raise ModelError(
            f"{origin}: what an assistant says cannot be found in what the chat template writes; "
            "mark it with {% generation %} ... {% endgeneration %}"
        )
    if tokenizer.end_of_turn not in said:
        raise ModelError(
            f"{origin}: the end of a turn is not among what is trained, so that a model would "
            "never learn to stop; write it within {% generation %}"
        )


def mask_token(tokenizer: Tokenizer) -> int | None:
    """The id of the mask token, or None where the tokenizer has none."""
    named = tokenizer.config.get("mask_token")
    name = named.get("content") if isinstance(named, dict) else named
    names = [known for known in (name, *KNOWN_MASKS) if isinstance(known, str)]
    found = (tokenizer.token_id(known) for known in names)
    return next((token for token in found if token is not None), None)
