"""Text to token ids and back: tokenizers trained here, or adopted from elsewhere."""

from linnet.tokenizer.adoption import adopt
from linnet.tokenizer.streaming import StreamDecoder
from linnet.tokenizer.tokenizer import Tokenizer, load
from linnet.tokenizer.training import SMALLEST_VOCABULARY, TokenizerConfig, train

__all__ = [
    "SMALLEST_VOCABULARY",
    "StreamDecoder",
    "Tokenizer",
    "TokenizerConfig",
    "adopt",
    "load",
    "train",
]
