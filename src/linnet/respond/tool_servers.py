"""MCP servers and their tools (``tool_rounds`` has an answer call them).

Which servers there are says a file of their owner, in the form that other programs use::

    {"mcpServers": {"clock": {"command": "uvx", "args": ["mcp-server-time"], "timeout": 30},
                    "wiki": {"url": "http://127.0.0.1:8000/mcp", "headers": {...}}}}

A server is started, or connected to, when its tools are first needed, by the official SDK (extra
``mcp``), in a thread of its own. What it says is data. A call has a deadline.

Reference: https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from linnet.config import read_json
from linnet.errors import ConfigError, LinnetError, MissingExtraError
from linnet.respond.conversation import Tool

if TYPE_CHECKING:
    from mcp import ClientSession

CALL_SECONDS = 30.0
CONNECT_SECONDS = 60.0
RETRY_SECONDS = 30.0
"""After a server could not be reached, until that is tried again."""
MOST_TOOLS = 128
LONGEST_SCHEMA = 20_000
"""Characters."""
_CLOSE_SECONDS = 5.0
T = TypeVar("T")


class ToolServerError(LinnetError):
    """A server of tools could not be reached, or did not answer as it should."""


@dataclass(frozen=True)
class ToolServer:
    """How one server is reached: a program that is started, or an address."""

    name: str
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = CALL_SECONDS
    """Seconds that a call may take."""


def read_tool_servers(file: Path) -> tuple[ToolServer, ...]:
    """The servers in a file. Raises ConfigError for one that is not of this form."""
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: expected MCP servers as JSON, but: {error}") from None
    servers = found.get("mcpServers") if isinstance(found, dict) else None
    if not isinstance(servers, dict) or not servers:
        raise ConfigError(f'{file}: expected {{"mcpServers": {{NAME: ...}}}}')
    return tuple(
        _read(name, given, f"{file}: server '{name}'")
        for name, given in servers.items()
        if not (isinstance(given, dict) and given.get("disabled"))
    )


def _read(name: str, given: Any, where: str) -> ToolServer:
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: expected an object")
    kinds = {"command": str, "args": list, "env": dict, "cwd": str, "url": str, "headers": dict}
    known = {*kinds, "timeout", "type", "disabled"}
    if unknown := set(given) - known:
        raise ConfigError(f"{where}: unknown key '{min(unknown)}'; known: {', '.join(kinds)}")
    for key, kind in kinds.items():
        if key in given and not isinstance(given[key], kind):
            raise ConfigError(f"{where}: {key} must be a {kind.__name__}")
        inner = given.get(key)
        texts = inner.values() if isinstance(inner, dict) else inner
        if not isinstance(inner, str) and not all(isinstance(t, str) for t in texts or ()):
            raise ConfigError(f"{where}: {key} must have texts")
    if given.get("type", "stdio") not in ("stdio", "http", "streamable-http", "streamableHttp"):
        raise ConfigError(f"{where}: type must be stdio or http. Got {str(given['type'])[:40]!r}")
    if ("command" in given) == ("url" in given):
        raise ConfigError(f"{where}: expected a command or a url, one of the two")
    if "url" in given and not given["url"].startswith(("http://", "https://")):
        raise ConfigError(f"{where}: url must begin with http:// or https://")
    seconds = given.get("timeout", CALL_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
        raise ConfigError(f"{where}: timeout must be seconds, at most 3600. Got {seconds!r}")
    values: dict[str, Any] = {key: given[key] for key in kinds if key in given}
    values["args"] = tuple(values.get("args", ()))
    return ToolServer(name, timeout=float(seconds), **values)


@dataclass(frozen=True)
class ServerTool:
    """A tool with the server that has it, and its name there."""

    tool: Tool
    server: str
    own_name: str


class ToolServers:
    """The servers of a file, their connections and tools; used from any thread and event loop."""

    def __init__(self, servers: Sequence[ToolServer]) -> None:
        """Raises MissingExtraError without the SDK."""
        _require_sdk()
        self._connections = {server.name: _Connection(server) for server in servers}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def tools(self) -> tuple[list[ServerTool], list[str]]:
        """The tools of all servers, and what failed.

        A name that two servers have is told with the server's before it.
        """
        connections = self._connections.values()
        listed = await asyncio.gather(
            *(self._there(connection.tools()) for connection in connections),
            return_exceptions=True,
        )
        found: list[ServerTool] = []
        failed: list[str] = []
        for connection, tools in zip(connections, listed, strict=True):
            if isinstance(tools, BaseException):
                if not isinstance(tools, ToolServerError):
                    raise tools
                failed.append(str(tools))
                continue
            found += [ServerTool(tool, connection.server.name, tool.name) for tool in tools]
        names = [each.own_name for each in found]
        found = [
            replace(each, tool=replace(each.tool, name=f"{each.server}_{each.own_name}"[:64]))
            if names.count(each.own_name) > 1
            else each
            for each in found
        ]
        return found[:MOST_TOOLS], failed

    async def call(self, tool: ServerTool, arguments: str) -> str:
        """What a tool answers, as text. Raises ToolServerError, also where the tool says so."""
        return await self._there(self._connections[tool.server].call(tool.own_name, arguments))

    def close(self) -> None:
        """End the connections, and the programs that were started."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return

        async def end() -> None:
            await asyncio.gather(*(each.close() for each in self._connections.values()))

        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(end(), loop).result(_CLOSE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CLOSE_SECONDS)

    def _there(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Work done in the thread of the connections; cancelled where its waiter is."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="linnet-tool-servers", daemon=True
                )
                self._thread.start()
            future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return asyncio.wrap_future(future)


class _Connection:
    """One server: connected to when it is needed, again when that was lost."""

    def __init__(self, server: ToolServer) -> None:
        self.server = server
        self._session: ClientSession | None = None
        self._tools: list[Tool] = []
        self._task: asyncio.Task[None] | None = None
        self._stop: asyncio.Event | None = None
        self._connecting: asyncio.Lock | None = None
        self._refused: tuple[float, str] | None = None

    async def tools(self) -> list[Tool]:
        """Its tools, as it told them when it was connected to."""
        await self._connect()
        return self._tools

    async def call(self, name: str, arguments: str) -> str:
        try:
            given = json.loads(arguments)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise ToolServerError("the arguments are not a JSON object")
        session = await self._connect()
        try:
            async with asyncio.timeout(self.server.timeout):
                result: Any = await session.call_tool(name, given)
        except TimeoutError:
            seconds = self.server.timeout
            raise ToolServerError(self._told(f"took longer than {seconds:g} seconds")) from None
        except Exception as error:
            raise ToolServerError(self._told(_line(error))) from None
        text = _text_of(result)
        if getattr(result, "is_error", False):
            raise ToolServerError(text or "the tool failed")
        return text

    async def close(self) -> None:
        if self._stop is not None and self._task is not None:
            self._stop.set()
            await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
            self._task.cancel()

    async def _connect(self) -> ClientSession:
        self._connecting = self._connecting or asyncio.Lock()
        async with self._connecting:
            if self._session is not None and self._task is not None and not self._task.done():
                return self._session
            if self._refused is not None and time.monotonic() < self._refused[0]:
                raise ToolServerError(self._refused[1])
            self._session, self._stop = None, asyncio.Event()
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(self._stop, ready))
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await asyncio.shield(ready)
            except Exception as error:
                self._task.cancel()
                late = isinstance(error, TimeoutError)
                told = self._told("did not answer in time" if late else _line(error))
                self._refused = (time.monotonic() + RETRY_SECONDS, told)
                raise ToolServerError(told) from None
            assert self._session is not None
            return self._session

    async def _run(self, stop: asyncio.Event, ready: asyncio.Future[None]) -> None:
        """Keep the connection; it has to be opened and closed by one task."""
        from mcp import ClientSession

        try:
            async with contextlib.AsyncExitStack() as stack:
                read, write, *_ = await stack.enter_async_context(self._transport(stack))
                session = await stack.enter_async_context(ClientSession(read, write))
                await session.initialize()
                self._tools = await _listed(session)
                self._session = session
                ready.set_result(None)
                await stop.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(ToolServerError(_line(error)))
            elif isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._session = None

    def _transport(self, stack: contextlib.AsyncExitStack) -> Any:
        server = self.server
        if server.command is not None:
            from mcp import StdioServerParameters, stdio_client

            return stdio_client(
                StdioServerParameters(
                    command=server.command, args=list(server.args), env=dict(server.env) or None,
                    cwd=server.cwd,
                ),
                stack.enter_context(open(os.devnull, "w")),  # our log has lines of JSON alone
            )  # fmt: skip
        from mcp.client.streamable_http import (  # type: ignore[attr-defined]
            create_mcp_http_client,
            streamable_http_client,
        )

        assert server.url is not None
        client = create_mcp_http_client(headers=dict(server.headers))
        stack.push_async_callback(client.aclose)
        return streamable_http_client(server.url, http_client=client)

    def _told(self, what: str) -> str:
        return f"the tool server '{self.server.name}' failed: {what}"


async def _listed(session: ClientSession) -> list[Tool]:
    """The tools of a server, as far as they can be shown to a model."""
    found: list[Tool] = []
    cursor = None
    for _ in range(MOST_TOOLS):
        from mcp import types

        params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
        page = await session.list_tools(params=params)
        for tool in page.tools:
            schema = dict(tool.input_schema or {})
            if 0 < len(tool.name) <= 64 and len(json.dumps(schema)) <= LONGEST_SCHEMA:
                found.append(Tool(tool.name, cut_to(tool.description or "", 2_000) or None, schema))
        cursor = page.next_cursor
        if cursor is None or len(found) >= MOST_TOOLS:
            break
    return found[:MOST_TOOLS]


def _text_of(result: Any) -> str:
    """What a tool answered, as text; what is none is named."""
    parts = []
    for part in getattr(result, "content", None) or ():
        text = getattr(part, "text", None)
        resource = getattr(part, "resource", None)
        text = text if text is not None else getattr(resource, "text", None)
        parts.append(text if text is not None else f"[{getattr(part, 'type', 'data')}: left out]")
    structured = getattr(result, "structured_content", None)
    if not parts and structured is not None:
        parts.append(json.dumps(structured, ensure_ascii=False))
    return "\n".join(parts)


def cut_to(text: str, longest: int) -> str:
    """The beginning; what is left out is said."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n[cut: the first {longest:,} of {len(text):,} characters]"


def _line(error: BaseException) -> str:
    """An error in one line; of a group the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split())[:300] or type(error).__name__


def _require_sdk() -> None:
    try:
        import mcp  # noqa: F401
    except ImportError:
        raise MissingExtraError("mcp", "calling tools of MCP servers") from None
