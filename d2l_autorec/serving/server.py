"""Worker processes that share one loaded application and one port.

gunicorn loads the application before it forks: the workers share the memory of what is never
written, which is all of a model. uvicorn answers in each worker.
"""

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from ..support.errors import ConfigError, Interrupted
from .connections import Connection, DrainingServer

BACKLOG = 2048  # connections that wait to be accepted
KEEP_ALIVE = 5  # seconds that an idle connection stays open
SIGN_OF_LIFE = 2  # seconds between those of a worker


class Worker(UvicornWorker):
    """A process that answers, until its parent stops it or is gone."""

    CONFIG_KWARGS = {
        "loop": "uvloop",
        "http": Connection,
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "server_header": False,
        "timeout_notify": SIGN_OF_LIFE,
    }

    def init_signals(self) -> None:
        """A terminal sends SIGINT to all processes: the parent says what it means."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = DrainingServer(self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)

        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def callback_notify(self) -> None:
        """Give the parent a sign of life; without one, end."""
        if os.getppid() != self.ppid:
            signal.raise_signal(signal.SIGTERM)
        await super().callback_notify()


class _Application(BaseApplication):
    """An ASGI application with gunicorn's settings."""

    def __init__(self, app: Any, settings: dict[str, Any]) -> None:
        self._app = app
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._app


class _Arbiter(Arbiter):
    """gunicorn's, that every signal ends as SIGTERM does, and that remembers which it was."""

    ended_by = signal.SIGTERM

    def handle_int(self) -> NoReturn:
        """Answer what is in flight, and end."""
        self.ended_by = signal.SIGINT
        raise StopIteration

    def handle_hup(self) -> NoReturn:
        """Its terminal has gone: end, too, as there is nothing to load anew."""
        self.ended_by = signal.SIGHUP
        raise StopIteration


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket at the address, which nobody else has; it does not listen yet.

    Raises
    ------
    ConfigError
        If the host is none of this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(
            f"`host={host}` is no address ({error}): give one of this machine's, as 127.0.0.1"
        ) from error

    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}, port {port}, cannot be listened on ({error.strerror}): name another "
            "one with `port`, or another address with `host`"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port, *_ = listener.getsockname()
    if listener.family == socket.AF_INET6:
        host = f"[{host}]"
    return f"http://{host}:{port}"


def serve(
    app: Any,
    listener: socket.socket,
    workers: int,
    seconds: float,
    when_ready: Callable[[], None],
) -> NoReturn:
    """Answer at a socket until a signal says stop; requests in flight are answered.

    Parameters
    ----------
    app : ASGI application
    listener : socket
        Bound.
    workers : int
        Processes.
    seconds : float
        That a request may take.
    when_ready : callable
        Called once the socket listens.

    Raises
    ------
    Interrupted
        At the end, in the process that was called.
    """
    parent = os.getpid()
    application = _Application(
        app,
        {
            "bind": f"fd://{listener.detach()}",
            "backlog": BACKLOG,
            "workers": workers,
            "worker_class": Worker,
            "preload_app": True,
            "timeout": int(seconds) + 30,  # of a worker that gives no sign of life
            "graceful_timeout": int(seconds) + 5,
            "keepalive": KEEP_ALIVE,
            "loglevel": "warning",
            "control_socket_disable": True,
            "when_ready": lambda _: when_ready(),
        },
    )
    arbiter = _Arbiter(application)
    gc.collect()
    gc.freeze()  # a worker's collector would write to each object, and so copy what is shared

    try:
        arbiter.run()
    except SystemExit as end:
        if os.getpid() != parent or end.code:  # a worker, or a failure that is told already
            raise
        raise Interrupted(arbiter.ended_by) from end
    raise AssertionError("the server ends by SystemExit")
