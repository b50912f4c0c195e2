"""A relay before a real PostgreSQL that holds messages: the statement that its sender is about to have done, or the
answer of one that has been done.

Called by the tests of promotions that are stopped in a certain step, and of statements whose answer is lost with their
server. What is held is passed on by `let_go`, however long its sender has been gone, as a network may do, or never.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Gate"]

SIZE = 65_536


class Gate:
    """Listens on a free loopback `port`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._text: bytes | None = None
        self._left = 0
        self._holds_answer = False
        self._passing = 0
        self._is_lost = False
        self._is_open = threading.Event()
        self._held = 0
        self.is_holding = threading.Event()
        """It has all that it was told to hold."""
        self._start(self._accept)

    def hold(self, text: bytes, *, answer: bool, count: int = 1, passing: int = 0) -> None:
        """Hold the next message to the server that has this in it, or let it pass and hold what the server answers,
        behind so many packets of it; of so many connections."""
        with self._lock:
            self._passing = passing
            self._text, self._holds_answer, self._left, self._held = text, answer, count, count
            self._is_lost = False
            self._is_open.clear()
            self.is_holding.clear()

    def forget(self) -> None:
        """Hold nothing that has not come yet."""
        with self._lock:
            self._text = None

    def let_go(self) -> None:
        """Pass on what is held."""
        self.forget()
        self._is_open.set()

    def lose(self) -> None:
        """Pass on nothing of what is held: its connections end."""
        self._is_lost = True
        self.let_go()

    def stop(self) -> None:
        """Accept nobody any more."""
        self.let_go()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, job: object, *arguments: object) -> None:
        threading.Thread(target=job, args=arguments, daemon=True).start()  # type: ignore[arg-type]  # a bound method

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port))
        except OSError:
            client.close()  # nobody listens there
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = threading.Event()
        """Set once what comes back is held."""
        self._start(self._copy_answers, server, client, answers)
        with suppress(OSError):
            while data := client.recv(SIZE):
                if self._is_awaited(data):
                    if self._holds_answer:
                        answers.set()
                    else:
                        self._wait()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _copy_answers(self, server: socket.socket, client: socket.socket, answers: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(SIZE):
                if answers.is_set() and not self._passes():
                    answers.clear()
                    self._wait()
                client.sendall(data)
        for end in (server, client):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _passes(self) -> bool:
        """Whether an answer goes on that is to be held from its later packets on."""
        with self._lock:
            self._passing -= 1
            return self._passing >= 0

    def _is_awaited(self, data: bytes) -> bool:
        with self._lock:
            if self._text is None or self._text not in data:
                return False
            self._left -= 1
            if self._left == 0:
                self._text = None
            return True

    def _wait(self) -> None:
        with self._lock:
            self._held -= 1
            if self._held == 0:
                self.is_holding.set()
        self._is_open.wait()
        if self._is_lost:
            raise ConnectionAbortedError
