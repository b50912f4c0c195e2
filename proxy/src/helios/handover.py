"""An online restart: the listening sockets go from the process that runs to the one that takes over.

Used by `helios.app` on both sides. Over a Unix socket (`handover.socket_file`) the running process sends its sockets
and what is needed to pass cancel requests back; the other one starts on them, says that it serves, and only then does
the first let go. Whatever goes wrong before that changes nothing for the one that runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from helios.engine_state import SocketAddress
from helios.errors import HeliosError, StartError
from helios.running import RunningProxy
from helios.telemetry.logs import fields
from helios.threads import on_daemon_thread

__all__ = ["Handover", "Inheritance", "inherit"]

_log = logging.getLogger(__name__)

_VERSION = 1
"""Of what the two processes say to each other; grows when an older one could not understand it."""

_MESSAGE_BYTES = 64 << 10
_MAX_DESCRIPTORS = 250
"""Linux passes no more than 253 at a time."""
_OFFER_SECONDS = 10.0
"""Time for the process that runs to send what it has, and to let go."""
_PAUSE_SECONDS = 1.0
"""After a connection that could not be accepted."""
_START_SECONDS = 60.0
"""Time for the other one to serve; while one tries, the next has to wait."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Offer(_Message):
    """Sent with descriptors in this order: the hand-over's own socket, `listeners`, `admin`."""

    version: int
    pid: int
    listeners: int
    admin: int
    admin_address: str
    """As it stands in the configuration."""
    predecessors: tuple[str, ...]


class _Serving(_Message):
    """The answer of the one that takes over."""

    pid: int
    listen: tuple[SocketAddress, ...]


@dataclass
class Inheritance:
    """What a process begins with: nothing, unless it takes over."""

    pid: int = 0
    """Of the process before; 0 for none."""
    door: socket.socket | None = None
    """Where the next one will ask."""
    listeners: list[socket.socket] = field(default_factory=list)
    predecessors: tuple[str, ...] = ()
    _admin: list[socket.socket] = field(default_factory=list)
    _admin_address: str = ""
    _link: socket.socket | None = None

    def admin(self, address: str) -> list[socket.socket]:
        """The sockets of the admin API, if it listens at the same address as before."""
        return self._admin if address == self._admin_address else []

    async def confirm(self, listen: Sequence[SocketAddress]) -> None:
        """Tell the process before that this one serves, and wait until it has let go."""
        if self._link is None:
            return
        message = _Serving(pid=os.getpid(), listen=tuple(listen)).model_dump_json().encode()
        loop = asyncio.get_running_loop()
        self._link.setblocking(False)
        try:
            await loop.sock_sendall(self._link, message)
            answer = await asyncio.wait_for(loop.sock_recv(self._link, _MESSAGE_BYTES), _OFFER_SECONDS)
        except (OSError, TimeoutError):
            answer = b""
        self.close()
        if answer:
            _log.info("took over", extra=fields(pid=self.pid))
        else:
            _log.warning("the process before has not said that it let go", extra=fields(pid=self.pid))

    def close(self) -> None:
        """Let go of what was not used; the process before goes on if this one has not told it that it serves."""
        for each in (self._link, self.door, *self.listeners, *self._admin):
            if each is not None:
                each.close()


async def inherit(file: str | None) -> Inheritance:
    """Ask the process that listens at `file` for what it has. Nothing, if there is none. `StartError`."""
    if file is None:
        raise StartError("handover.socket_file: is not set, and --takeover has to know where the other process listens")
    return await on_daemon_thread("take over", lambda: _ask(file))


def _ask(file: str) -> Inheritance:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.settimeout(_OFFER_SECONDS)
        try:
            link.connect(file)
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
            _log.info("there is no process to take over from", extra=fields(file=file))
            return Inheritance()
        return _received(link, file)
    except HeliosError:
        link.close()
        raise
    except OSError as error:
        link.close()
        cause = (error.strerror or str(error)).lower()
        raise StartError(f"handover.socket_file: cannot take over by {file}: {cause}") from error


def _received(link: socket.socket, file: str) -> Inheritance:
    """What comes over `link` becomes ours at once, so that nothing of it stays open if it is refused."""
    if not _is_trusted(link):
        raise StartError(f"handover.socket_file: a process of another user listens at {file}")
    text, descriptors, flags, _ = socket.recv_fds(link, _MESSAGE_BYTES, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if not text:
        raise StartError("handover.socket_file: the process that runs gives nothing to this one; its log says why")
    try:
        offer = _Offer.model_validate_json(text)
    except ValidationError as error:
        raise StartError(f"handover.socket_file: what listens at {file} says something unknown") from error
    if offer.version != _VERSION:
        raise StartError(
            f"handover.socket_file: process {offer.pid} hands over by version {offer.version}, and this one takes "
            f"{_VERSION}; restart it the ordinary way"
        )
    total = 1 + offer.listeners + offer.admin
    if flags & socket.MSG_CTRUNC or len(sockets) != total:
        raise StartError(
            f"handover.socket_file: {len(sockets)} of the {total} sockets of process {offer.pid} came; "
            "raise the limit of open files"
        )
    door, *rest = sockets
    return Inheritance(
        offer.pid,
        door,
        rest[: offer.listeners],
        offer.predecessors,
        rest[offer.listeners :],
        offer.admin_address,
        link,
    )


class Handover:
    """The side of the process that runs: gives away what it listens on, to one process at a time."""

    def __init__(self, proxy: RunningProxy) -> None:
        self._proxy = proxy
        self._file = proxy.config.handover.socket_file
        self._door: socket.socket | None = None
        self._made: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._way_back = f"{self._file}.{secrets.token_hex(4)}"

    def bind(self, inherited: socket.socket | None) -> None:
        """Listen, where the configuration says so. `StartError` if another process does."""
        if self._file is None:
            return
        try:
            self._door = self._bound(self._file) if inherited is None else inherited.dup()
            self._door.setblocking(False)
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise StartError(f"handover.socket_file: cannot listen at {self._file}: {cause}") from error

    def _bound(self, file: str) -> socket.socket:
        _make_way(file)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            door.bind(file)
            Path(file).chmod(0o600)
            door.listen()
            self._made = _identity(file)
        except OSError:
            door.close()
            raise
        return door

    def start(self) -> None:
        """Answer from now on; the file is ours, whoever made it."""
        if self._door is not None and self._file is not None:
            with suppress(OSError):  # without its file nobody asks
                self._made = _identity(self._file)
            self._task = asyncio.create_task(self._answer(self._door))

    def close(self) -> None:
        """Give nothing away any more, and leave no file behind."""
        if self._task is not None:
            self._task.cancel()
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._file is not None and self._made is not None:
            with suppress(OSError):
                if _identity(self._file) == self._made:
                    Path(self._file).unlink()
            self._made = None

    async def _answer(self, door: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                link, _ = await loop.sock_accept(door)
            except OSError as error:
                _log.warning("cannot be asked for a hand-over", extra=fields(error=error))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            with link:
                try:
                    has_left = await self._give(link)
                except (OSError, TimeoutError, ValidationError, HeliosError) as error:
                    has_left = False
                    _log.warning("a process did not take over, nothing has changed", extra=fields(error=error))
            if has_left:
                self._proxy.handed_over()
                return

    async def _give(self, link: socket.socket) -> bool:
        """Whether the other process has taken over."""
        if not _is_trusted(link):
            _log.warning("a process of another user wants to take over and gets nothing")
            return False
        loop = asyncio.get_running_loop()
        self._offer(link)
        answer = await asyncio.wait_for(loop.sock_recv(link, _MESSAGE_BYTES), _START_SECONDS)
        if not answer:
            _log.warning("a process that wanted to take over has ended, nothing has changed")
            return False
        successor = _Serving.model_validate_json(answer)
        await self._proxy.admin.leave()  # first, or it would say of the service what holds for this process
        self._proxy.core.withdraw(successor.listen)
        self._made = None  # the file is the other's
        with suppress(OSError):  # it serves, whether it hears this or not
            link.send(b"left")
        _log.info("another process has taken over", extra=fields(pid=successor.pid))
        return True

    def _offer(self, link: socket.socket) -> None:
        """No `await` in here: the engine's descriptors hold until somebody else has a turn."""
        assert self._door is not None, "it answers there"
        offer = self._proxy.core.offer(self._way_back)
        admin = self._proxy.admin.descriptors()
        message = _Offer(
            version=_VERSION,
            pid=os.getpid(),
            listeners=len(offer.listeners),
            admin=len(admin),
            admin_address=self._proxy.config.admin.address,
            predecessors=offer.predecessors,
        )
        descriptors = [self._door.fileno(), *offer.listeners, *admin]
        socket.send_fds(link, [message.model_dump_json().encode()], descriptors)


def _is_trusted(link: socket.socket) -> bool:
    """Whether the other end is a process of our user, or of root."""
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (os.geteuid(), 0)


def _identity(file: str) -> tuple[int, int]:
    found = os.lstat(file)
    return found.st_dev, found.st_ino


def _make_way(file: str) -> None:
    """Remove what a process left behind that has ended."""
    try:
        if not stat.S_ISSOCK(os.lstat(file).st_mode):
            raise OSError("something else than a socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(_OFFER_SECONDS)
        try:
            probe.connect(file)
        except ConnectionRefusedError:
            Path(file).unlink()
            return
    raise OSError("another process listens there; start with --takeover to take over from it")
