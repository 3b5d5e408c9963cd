"""Where generated text goes: standard output, piece by piece, as it comes.

To a file or another program: the text's exact bytes in UTF-8, whatever the
locale says, and nothing else, not even a line end. To a terminal: what it can
show, with control characters (which could move the cursor or change settings) replaced,
and a line end at the end.
"""

from __future__ import annotations

import re
import sys
from typing import TextIO

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed


class TextWriter:
    """Writes text to a stream, flushed with every piece."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()

    def write(self, text: str) -> None:
        """Show a piece of text."""
        if self.is_terminal:
            encoding = self.stream.encoding or "utf-8"
            shown = _CONTROL.sub("\ufffd", text)
            self.stream.write(shown.encode(encoding, "replace").decode(encoding))
            self.stream.flush()
        else:
            self.stream.flush()
            self.stream.buffer.write(text.encode("utf-8", "replace"))
            self.stream.buffer.flush()

    def finish(self) -> None:
        """End the text."""
        if self.is_terminal:
            self.write("\n")
