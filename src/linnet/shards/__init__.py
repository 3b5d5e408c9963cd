"""Documents as token ids on disk: written once, memory-mapped afterwards."""

from linnet.shards.reader import Shards, TokenSplit

__all__ = ["Shards", "TokenSplit"]
