"""Text to token ids and back: tokenizers trained here, or adopted from elsewhere."""

from linnet.tokenizer.adoption import adopt
from linnet.tokenizer.chat import ChatTemplate, EncodedChat, encode_chat
from linnet.tokenizer.markers import (
    WithChat,
    check_trainable,
    safe_padding,
    with_chat,
    with_safe_padding,
)
from linnet.tokenizer.streaming import StreamDecoder
from linnet.tokenizer.tokenizer import Tokenizer, Wrapped, load
from linnet.tokenizer.training import SMALLEST_VOCABULARY, TokenizerConfig, bytes_per_token, train

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
