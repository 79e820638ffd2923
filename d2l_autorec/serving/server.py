"""The server: worker processes of granian, which share one loaded application and one port."""

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
from argparse import Namespace
from contextlib import closing
from functools import partial
from typing import Any, NoReturn

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from ..support.errors import ConfigError, Interrupted, warn
from ..support.terminal import SIGNALS
from .renewal import Renewal

CONNECTIONS = 4096  # connections of a worker; more wait until others are closed
HEADER_SECONDS = 10  # limit for the headers of a request, and between two on one connection
MOST_HEADER_BYTES = 1 << 16
DRAINING = 0.5  # seconds in which each answer closes its connection, before all are closed
SIGNAL_OF_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl
LOGS = {
    "console": {"class": "logging.StreamHandler"},  # to stderr
    "access": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
}


def reserve(host: str, port: int) -> socket.socket:
    """Bind a socket to an address, so that granian can listen there and no other program can.

    Raises
    ------
    ConfigError
        If the host is not one of this machine's addresses, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{host}, port {port}, cannot be listened on ({getattr(error, 'strerror', error)}): "
            "name another `port` or `host`"
        ) from error

    # set only now, as it would let us bind a port on which another granian listens
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    address = reserved.getsockname()[0]
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        warn(f"whoever reaches {address} is answered, unencrypted and without a password")
    return reserved


def url_of(reserved: socket.socket) -> str:
    """Return the socket's address as a URL for a browser."""
    host, port, *_ = reserved.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Any, reserved: socket.socket, renewal: Renewal, greeting: str, options: Namespace
) -> NoReturn:
    """Serve an application until a signal says stop; requests in hand are still answered.

    Parameters
    ----------
    app : ASGI application
        The application, with its model loaded.
    reserved : socket
        The socket that `reserve` returned.
    renewal : Renewal
        The watch for newer runs.
    greeting : str
        A line that is printed once a worker listens.
    options : Namespace
        workers, the number of processes; timeout, the seconds that a request may take; access_log,
        whether each request is written to stdout.

    Raises
    ------
    Interrupted
        When a signal has stopped the server.
    """
    host, port, *_ = reserved.getsockname()
    server = Granian(
        "d2l_autorec",
        host,
        port,
        interface=Interfaces.ASGINL,
        workers=options.workers,
        http=HTTPModes.http1,
        websockets=False,
        loop=Loops.asyncio,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(1000 * HEADER_SECONDS, max_buffer_size=MOST_HEADER_BYTES),
        log_level=LogLevels.error,
        log_dictconfig={"handlers": LOGS},
        log_access=options.access_log,
        respawn_failed_workers=True,
        workers_kill_timeout=options.timeout + 5,
    )
    received: list[int] = []
    is_stopping = mmap.mmap(-1, 1)  # the workers see what the parent writes
    ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]

    def stop(number: int, _: Any) -> None:
        received.append(number)
        is_stopping[0] = 1
        time.sleep(DRAINING)
        server.signal_handler_interrupt()

    @server.on_startup
    def begin() -> None:
        for number in SIGNALS:  # granian has set handlers of its own, also under nohup
            signal.signal(number, signal.SIG_IGN if number in ignored else stop)
        threading.Thread(target=_greet, args=(reserved, greeting), daemon=True).start()
        threading.Thread(target=renewal.watch, daemon=True).start()

    multiprocessing.set_start_method("fork", force=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # of open files: often 1,024 at first
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()  # a worker's garbage collector would write to shared objects, and so copy them

    load = partial(_in_worker, app, is_stopping, renewal, os.getpid())
    server.serve(target_loader=load, wrap_loader=False)
    raise Interrupted(received[0])


def _in_worker(app: Any, is_stopping: mmap.mmap, renewal: Renewal, parent: int) -> Any:
    """Return the application for a worker, a process that ends with its parent, not by Ctrl-C."""
    os.setpgrp()  # Ctrl-C reaches only the parent, which stops the workers
    # SIGKILL: a worker that is starting still has its parent's handler of SIGTERM
    ctypes.CDLL(None).prctl(SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent has died before
    threading.Thread(target=renewal.take_up, daemon=True).start()

    async def drained(scope: Any, receive: Any, send: Any) -> None:
        """Call the application; while stopping, tell clients to close their connections."""

        async def write(message: Any) -> None:
            if is_stopping[0] and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await app(scope, receive, write)

    return drained


def _greet(reserved: socket.socket, greeting: str) -> None:
    """Print the greeting once a worker listens at the address."""
    with closing(socket.socket(reserved.family)) as client:
        while client.connect_ex(reserved.getsockname()):
            time.sleep(0.01)
    print(greeting, flush=True)
