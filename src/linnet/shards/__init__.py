"""Documents as token ids on disk: written once, memory-mapped afterwards."""

from linnet.shards.encoding import EncodeConfig, Encoded, encode, encode_texts
from linnet.shards.reader import Shards, TokenSplit

__all__ = ["EncodeConfig", "Encoded", "Shards", "TokenSplit", "encode", "encode_texts"]
