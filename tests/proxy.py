"""A TCP proxy before a PostgreSQL server that can stop passing anything on, without closing."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from pathlib import Path


class Proxy:
    """Passes bytes on between TCP clients and the server's socket, until told to be silent.

    A silent one takes connections and whatever is sent, and answers nothing: no error, no end.
    `unanswered` counts the clients that came meanwhile.
    """

    def __init__(self, server_socket: Path) -> None:
        self.server_socket = str(server_socket)
        self.silent = False
        self.unanswered = 0
        self.ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.ended = True
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        lines: dict[socket.socket, socket.socket] = {}
        swallowed: list[socket.socket] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self.ended:
                for key, _ in selector.select(0.05):
                    near = key.fileobj
                    assert isinstance(near, socket.socket)
                    if near is self._listener:
                        client, _ = near.accept()
                        if self.silent:
                            swallowed.append(client)  # no server behind it, ever
                            self.unanswered += 1
                            continue
                        server = socket.socket(socket.AF_UNIX)
                        server.connect(self.server_socket)
                        for one, other in ((client, server), (server, client)):
                            lines[one] = other
                            selector.register(one, selectors.EVENT_READ)
                    elif near in lines and not self._pass_on(near, lines[near]):
                        for one in (near, lines[near]):
                            selector.unregister(one)
                            del lines[one]
                            one.close()
        for one in (*lines, *swallowed):
            one.close()

    def _pass_on(self, near: socket.socket, far: socket.socket) -> bool:
        """Whether the line is still open."""
        with contextlib.suppress(OSError):
            data = near.recv(65536)
            if self.silent and data:
                return True  # taken, and gone
            if data:
                far.sendall(data)
            return bool(data)
        return False
