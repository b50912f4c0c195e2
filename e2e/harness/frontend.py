"""Build the messages a PostgreSQL client sends. Pure bytes; called by `client` and by tests that write odd sequences.

Each function returns one whole message: type byte (except start-up packets), four bytes of length, body.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = (3 << 16) | 2
SSL_REQUEST_CODE = 80877103
GSSENC_REQUEST_CODE = 80877104
CANCEL_REQUEST_CODE = 80877102

Parameter = bytes | str | None


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message of the given kind."""
    return kind + struct.pack("!i", len(body) + 4) + body


def cstring(text: str | bytes) -> bytes:
    """A zero-terminated string; text is encoded as UTF-8."""
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def startup(parameters: Mapping[str, str], version: int = PROTOCOL_3_0) -> bytes:
    """A StartupMessage with the parameters in the given order."""
    pairs = b"".join(cstring(name) + cstring(value) for name, value in parameters.items())
    return startup_packet(version, pairs + b"\0")


def startup_packet(code: int, body: bytes = b"") -> bytes:
    """A message of the start-up family: length, code (version or request code), body."""
    return struct.pack("!ii", len(body) + 8, code) + body


def ssl_request() -> bytes:
    """Ask for TLS."""
    return startup_packet(SSL_REQUEST_CODE)


def gssenc_request() -> bytes:
    """Ask for GSSAPI encryption."""
    return startup_packet(GSSENC_REQUEST_CODE)


def cancel_request(pid: int, key: bytes) -> bytes:
    """Ask, on a connection of its own, to cancel the query of the session with this key."""
    return startup_packet(CANCEL_REQUEST_CODE, struct.pack("!i", pid) + key)


def password(secret: str | bytes) -> bytes:
    """A PasswordMessage, also the form of the md5 answer."""
    return message(b"p", cstring(secret))


def sasl_initial(mechanism: str, data: bytes) -> bytes:
    """A SASLInitialResponse."""
    return message(b"p", cstring(mechanism) + struct.pack("!i", len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """A SASLResponse."""
    return message(b"p", data)


def query(sql: str | bytes) -> bytes:
    """A simple Query."""
    return message(b"Q", cstring(sql))


def parse(sql: str | bytes, name: str = "", types: Sequence[int] = ()) -> bytes:
    """A Parse; `types` are OIDs of the parameters, 0 for unknown."""
    return message(b"P", cstring(name) + cstring(sql) + struct.pack(f"!h{len(types)}I", len(types), *types))


def bind(
    values: Sequence[Parameter] = (),
    name: str = "",
    portal: str = "",
    formats: Sequence[int] = (),
    result_formats: Sequence[int] = (),
) -> bytes:
    """A Bind; values are text (str), raw bytes or NULL (None); formats are 0 for text, 1 for binary."""
    parts = [cstring(portal), cstring(name), struct.pack(f"!h{len(formats)}h", len(formats), *formats)]
    parts.append(struct.pack("!h", len(values)))
    for value in values:
        raw = value.encode() if isinstance(value, str) else value
        parts.append(struct.pack("!i", -1) if raw is None else struct.pack("!i", len(raw)) + raw)
    parts.append(struct.pack(f"!h{len(result_formats)}h", len(result_formats), *result_formats))
    return message(b"B", b"".join(parts))


def describe_statement(name: str = "") -> bytes:
    """A Describe of a prepared statement."""
    return message(b"D", b"S" + cstring(name))


def describe_portal(name: str = "") -> bytes:
    """A Describe of a portal."""
    return message(b"D", b"P" + cstring(name))


def execute(portal: str = "", limit: int = 0) -> bytes:
    """An Execute; `limit` 0 means all rows."""
    return message(b"E", cstring(portal) + struct.pack("!i", limit))


def close_statement(name: str = "") -> bytes:
    """A Close of a prepared statement."""
    return message(b"C", b"S" + cstring(name))


def close_portal(name: str = "") -> bytes:
    """A Close of a portal."""
    return message(b"C", b"P" + cstring(name))


def sync() -> bytes:
    """A Sync."""
    return message(b"S")


def flush() -> bytes:
    """A Flush."""
    return message(b"H")


def terminate() -> bytes:
    """A Terminate."""
    return message(b"X")


def copy_data(data: bytes) -> bytes:
    """A CopyData."""
    return message(b"d", data)


def copy_done() -> bytes:
    """A CopyDone."""
    return message(b"c")


def copy_fail(reason: str) -> bytes:
    """A CopyFail."""
    return message(b"f", cstring(reason))


def function_call(oid: int, arguments: Sequence[bytes | None]) -> bytes:
    """A FunctionCall with binary arguments and a binary result."""
    parts = [struct.pack("!Ihhh", oid, 1, 1, len(arguments))]
    for raw in arguments:
        parts.append(struct.pack("!i", -1) if raw is None else struct.pack("!i", len(raw)) + raw)
    parts.append(struct.pack("!h", 1))
    return message(b"F", b"".join(parts))


def extended(sql: str, values: Sequence[Parameter] = ()) -> bytes:
    """Parse, Bind, Describe, Execute, Sync with unnamed statement and portal, as most drivers send it."""
    return parse(sql) + bind(values) + describe_portal() + execute() + sync()
