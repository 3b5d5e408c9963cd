"""What a confined process can do wrong, by name."""

from __future__ import annotations

import os
from typing import Any


def answer(request: Any, seconds: float) -> Any:
    match request:
        case "burn":  # one call of C code, which no Python can interrupt
            return sum(range(10**12))
        case "memory":
            return len(bytearray(4 << 30))
        case "crash":
            os.abort()
        case "exit":
            os._exit(3)
        case "deep":
            return answer_deeply(0)
        case "environment":
            return [name for name in os.environ if name.startswith("SECRET")]
        case "process":
            return os.getpid()
    return [request, seconds]


def answer_deeply(depth: int) -> int:
    return answer_deeply(depth + 1)
