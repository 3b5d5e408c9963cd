"""Listens, answers, and stops in order: what runs may finish, what is new is refused."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import signal
import socket
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError, MissingExtraError
from linnet.serve.settings import ServeConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.serve.catalog import Catalog
    from linnet.serve.endpoint import Endpoint

_LOOK_SECONDS = 0.05
_ABORT_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 75


def require_server() -> None:
    """Raise MissingExtraError unless what answers HTTP is installed."""
    for package in ("uvicorn", "httptools", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package.replace("_", "-"), "linnet serve")


def bind(config: ServeConfig) -> socket.socket:
    """Take the address, before anything slow is done. Raises ConfigError when it cannot be had."""
    try:
        found = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ConfigError(
            f"{config.host}: expected an address of this machine ({error.strerror})"
        ) from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows would share the port otherwise
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)  # here, since two may bind what only one can listen at
    except OSError as error:
        listener.close()
        raise ConfigError(_refusal(config, error)) from None
    listener.setblocking(False)
    return listener


def _refusal(config: ServeConfig, error: OSError) -> str:
    # Windows refuses with EACCES what another program has; its low ports are for everybody.
    taken = {errno.EADDRINUSE} | (
        {errno.EACCES} if hasattr(socket, "SO_EXCLUSIVEADDRUSE") else set()
    )
    if error.errno in taken:
        return (
            f"port {config.port} of {config.host} is taken by another program; choose another "
            "with --port, or 0 for any that is free"
        )
    if error.errno == errno.EACCES:
        return f"port {config.port} needs the rights of an administrator; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{config.host} is no address of this machine; choose another with --host"
    return f"cannot listen at {config.host}:{config.port}: {error.strerror}"


class Server:
    """One server, from its first request to its last.

    ``run`` returns when it was stopped: by SIGINT, SIGTERM, SIGHUP or SIGBREAK where it runs in the
    main thread, or by ``stop`` from any. A second signal does not wait for what runs.
    """

    def __init__(
        self,
        catalog: Catalog,
        config: ServeConfig,
        *,
        listener: socket.socket | None = None,
        endpoints: Sequence[Endpoint] | None = None,
    ) -> None:
        """``listener``: from :func:`bind`. ``endpoints``: others than those of ``linnet serve``.

        Raises ConfigError where the address cannot be had.
        """
        require_server()
        from linnet.serve.app import App
        from linnet.serve.endpoints import ENDPOINTS
        from linnet.serve.service import Service

        self.config = config
        self.catalog = catalog
        self._listener = listener or bind(config)
        try:
            self.service = Service(catalog, config, ENDPOINTS if endpoints is None else endpoints)
        except BaseException:
            self._listener.close()
            raise
        self._address = self._listener.getsockname()[:2]
        self._app = App(self.service)
        self._hurry = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self.ready = threading.Event()

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host, port = self._address
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1" if host == "0.0.0.0" else "::1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def hurried(self) -> bool:
        """Whether it was told twice to stop, so that nothing is to be waited for."""
        return self._hurry

    def run(self) -> None:
        """Answer until stopped, then free the models."""
        import uvicorn

        from linnet.serve.protocol import BoundedProtocol

        config = uvicorn.Config(
            self._app,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws="none",
        )
        try:
            factory = config.get_loop_factory()
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(self._serve(config))
        finally:
            self._listener.close()
            self.catalog.close()

    def stop(self) -> None:
        """Begin to stop; from any thread. A second call does not wait for what runs."""
        loop = self._loop
        if loop is None:
            self.service.draining = True  # seen when it begins
        else:
            loop.call_soon_threadsafe(self._begin_to_stop)

    def _begin_to_stop(self) -> None:
        self._hurry = self.service.draining
        self.service.draining = True
        self._stopping.set()

    async def _serve(self, config: Any) -> None:
        import uvicorn

        self._loop = asyncio.get_running_loop()
        server = uvicorn.Server(config)
        # Signals are ours: uvicorn would close the door before those inside are done.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        replaced = self._catch_signals()
        work = asyncio.create_task(server.serve([self._listener]))
        try:
            while not server.started and not work.done():
                await asyncio.sleep(0.005)
            self.ready.set()
            if self.service.draining:
                self._stopping.set()
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([stopping, work], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            await self._drain()
            server.should_exit = True
            server.config.timeout_graceful_shutdown = 1
            await work
            # Before the loop ends, which waits for threads that wait for native code.
            self.catalog.close()
            self.service.close()
        finally:
            self.ready.set()
            for number, handler in replaced.items():
                signal.signal(number, handler)

    async def _drain(self) -> None:
        """Let what runs finish for a while, then end it with an error."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.config.grace
        while self.service.busy and not self._hurry and loop.time() < until:
            await asyncio.sleep(_LOOK_SECONDS)
        self.service.abort()
        until = loop.time() + _ABORT_SECONDS
        while self.service.busy and loop.time() < until:
            await asyncio.sleep(_LOOK_SECONDS)

    def _catch_signals(self) -> dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}

        def handle(number: int, frame: FrameType | None) -> None:
            self.stop()

        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last: Windows, Ctrl-Break
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        return {
            number: signal.signal(number, handle)
            for number in numbers
            if signal.getsignal(number) is not signal.SIG_IGN  # as nohup sets SIGHUP
        }
