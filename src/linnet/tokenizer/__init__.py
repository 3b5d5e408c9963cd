"""Text to token ids and back: tokenizers trained here, or adopted from elsewhere."""

from typing import TYPE_CHECKING

from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.tokenizer.chat import ChatTemplate, EncodedChat
    from linnet.tokenizer.chat_encoding import encode_chat
    from linnet.tokenizer.loading import adopt, load
    from linnet.tokenizer.special_tokens import (
        WithChat,
        check_trainable,
        safe_padding,
        with_chat,
        with_safe_padding,
    )
    from linnet.tokenizer.tokenizer import StreamDecoder, Tokenizer, Wrapped
    from linnet.tokenizer.training import (
        SMALLEST_VOCABULARY,
        TokenizerConfig,
        bytes_per_token,
        train,
    )

__all__ = [
    "SMALLEST_VOCABULARY",
    "ChatTemplate",
    "EncodedChat",
    "StreamDecoder",
    "Tokenizer",
    "TokenizerConfig",
    "WithChat",
    "Wrapped",
    "adopt",
    "bytes_per_token",
    "check_trainable",
    "encode_chat",
    "load",
    "safe_padding",
    "train",
    "with_chat",
    "with_safe_padding",
]

_MODULES = {
    "loading": ("adopt", "load"),
    "chat": ("ChatTemplate", "EncodedChat"),
    "chat_encoding": ("encode_chat",),
    "special_tokens": (
        "WithChat",
        "check_trainable",
        "safe_padding",
        "with_chat",
        "with_safe_padding",
    ),
    "tokenizer": ("StreamDecoder", "Tokenizer", "Wrapped"),
    "training": ("SMALLEST_VOCABULARY", "TokenizerConfig", "bytes_per_token", "train"),
}
# Lazily, so that the process that renders chat templates starts soon.
__getattr__, __dir__ = lazy(
    __name__,
    {name: (f"{__name__}.{module}", name) for module, names in _MODULES.items() for name in names},
)
