"""Work away from the event loop, which has everybody's tokens to send meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from linnet.errors import LinnetError
from linnet.serve.errors import ApiError, refused

T = TypeVar("T")


async def aside(work: Callable[[], T], executor: Executor | None = None) -> T:
    """What the work gives, done in a thread; without ``executor`` in one of the loop's own.

    Raises ApiError (400) for what the library refuses: the request is at fault.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    except LinnetError as error:
        raise refused(error) from None
    except RecursionError:
        raise ApiError(400, "The request nests too deeply.") from None
