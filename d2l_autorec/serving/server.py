"""Worker processes of granian, which share one loaded application and one port."""

import ctypes
import gc
import ipaddress
import mmap
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from typing import Any, NoReturn

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from ..support.errors import ConfigError, DataWarning, Interrupted

CONNECTIONS = 4096  # of a worker; more wait until others are closed
HEADER_SECONDS = 10  # for the headers of a request, and between two requests of a connection
MOST_HEADER_BYTES = 1 << 16
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
DRAINING = 0.5  # seconds in which each answer closes its connection, before all are closed
SIGNAL_OF_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl
TO_STDERR = {name: {"class": "logging.StreamHandler"} for name in ("console", "access")}


def reserve(host: str, port: int) -> socket.socket:
    """Bind a socket to an address, so that granian can listen there and no other program can.

    Raises
    ------
    ConfigError
        If the host is none of this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        reserved = socket.socket(family, kind, protocol)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{host}, port {port}, cannot be listened on ({getattr(error, 'strerror', error)}): "
            "name another one with `port`, or another address of this machine's with `host`"
        ) from error

    # only now: with it, a port on which another granian listens could be bound
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    address = reserved.getsockname()[0]
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        warnings.warn(
            f"whoever reaches {address} is answered, unencrypted and without a password",
            DataWarning,
            stacklevel=2,
        )
    return reserved


def url_of(reserved: socket.socket) -> str:
    """Return the address for a browser."""
    host, port, *_ = reserved.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Any,
    reserved: socket.socket,
    workers: int,
    seconds: int,
    when_ready: Callable[[], None],
) -> NoReturn:
    """Answer until a signal says stop; requests in hand are answered.

    Parameters
    ----------
    app : ASGI application
    reserved : socket
        From `reserve`.
    workers : int
        Number of processes.
    seconds : int
        That a request may take.
    when_ready : callable
        Called once a worker listens.

    Raises
    ------
    Interrupted
        At the end.
    """
    host, port, *_ = reserved.getsockname()
    server = Granian(
        "d2l_autorec",
        host,
        port,
        interface=Interfaces.ASGINL,
        workers=workers,
        http=HTTPModes.http1,
        websockets=False,
        loop=Loops.asyncio,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(1000 * HEADER_SECONDS, max_buffer_size=MOST_HEADER_BYTES),
        log_level=LogLevels.error,
        log_dictconfig={"handlers": TO_STDERR},
        respawn_failed_workers=True,
        workers_kill_timeout=seconds + 5,
    )
    received: list[int] = []
    is_stopping = mmap.mmap(-1, 1)  # the workers see what the parent writes
    ignored = [number for number in STOPPING if signal.getsignal(number) is signal.SIG_IGN]

    def stop(number: int, _: Any) -> None:
        received.append(number)
        is_stopping[0] = 1
        time.sleep(DRAINING)
        server.signal_handler_interrupt()

    @server.on_startup
    def begin() -> None:
        for number in STOPPING:  # granian has set handlers of its own, also under nohup
            signal.signal(number, signal.SIG_IGN if number in ignored else stop)
        threading.Thread(target=_tell_when_ready, args=(reserved, when_ready), daemon=True).start()

    multiprocessing.set_start_method("fork", force=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # of open files: often 1,024 at first
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()  # a worker's collector would write to each object, and so copy what is shared

    server.serve(target_loader=lambda: _in_worker(app, is_stopping), wrap_loader=False)
    raise Interrupted(received[0])


def _in_worker(app: Any, is_stopping: mmap.mmap) -> Any:
    """Return the application, in a process that ends with its parent and not by the terminal."""
    os.setpgrp()  # Ctrl-C reaches the parent alone, which says what it means
    ctypes.CDLL(None).prctl(SIGNAL_OF_PARENTS_DEATH, signal.SIGTERM)

    async def drained(scope: Any, receive: Any, send: Any) -> None:
        """Have clients close their connections, so that no request comes as they are closed."""

        async def write(message: Any) -> None:
            if is_stopping[0] and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await app(scope, receive, write)

    return drained


def _tell_when_ready(reserved: socket.socket, when_ready: Callable[[], None]) -> None:
    """Call `when_ready` once somebody listens at the address."""
    with closing(socket.socket(reserved.family)) as client:
        while client.connect_ex(reserved.getsockname()):
            time.sleep(0.01)
    when_ready()
