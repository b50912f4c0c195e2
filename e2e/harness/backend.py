"""Decode the messages a PostgreSQL server sends into events that compare and print well.

Called by `client`. An `Event` has a full text (used to compare the run through Helios with the direct run) and a brief
one (used in transcripts written down in a test). Process ids and cancel keys are left out of both.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_SHOWN_VALUE = 120
AUTHENTICATION = {0: "Ok", 3: "CleartextPassword", 5: "MD5Password", 10: "SASL", 11: "SASLContinue", 12: "SASLFinal"}


@dataclass(frozen=True)
class Event:
    """One message from the server.

    `text` is what parity compares, `brief` what a written transcript holds, `fields` the decoded content by name
    (strings) and `raw` the body. Two events are equal if their texts are.
    """

    kind: str
    text: str
    brief: str = field(compare=False)
    fields: dict[str, str] = field(compare=False)
    raw: bytes = field(compare=False, repr=False)

    @property
    def sqlstate(self) -> str:
        """SQLSTATE of an ErrorResponse or NoticeResponse, else empty."""
        return self.fields.get("C", "")

    @property
    def values(self) -> list[bytes | None]:
        """Columns of a DataRow; None is NULL."""
        return _row(self.raw) if self.kind == "DataRow" else []


class Reader:
    """Cursor over a message body."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def unpack(self, layout: str) -> tuple[int, ...]:
        """Big-endian integers by struct layout."""
        size = struct.calcsize("!" + layout)
        self.at += size
        return struct.unpack("!" + layout, self.body[self.at - size : self.at])

    def cstring(self) -> str:
        """A zero-terminated string."""
        end = self.body.index(b"\0", self.at)
        text = self.body[self.at : end].decode("utf-8", "backslashreplace")
        self.at = end + 1
        return text

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        self.at += size
        return self.body[self.at - size : self.at]


def decode(tag: bytes, body: bytes) -> Event:
    """Turn one message into an event; unknown tags keep their byte as the kind."""
    kind, decoder = DECODERS.get(tag, (f"Unknown {tag!r}", _raw))
    text, brief, fields = decoder(body)
    joined = (kind, f"{kind} {text}".rstrip(), f"{kind} {brief}".rstrip())
    return Event(*joined, fields, body)


Decoded = tuple[str, str, dict[str, str]]


def _plain(text: str) -> Decoded:
    return text, text, {}


def _empty(_: bytes) -> Decoded:
    return _plain("")


def _raw(body: bytes) -> Decoded:
    return _plain(_shown(body))


def _shown(value: bytes | None) -> str:
    if value is None:
        return "NULL"
    if len(value) > LONGEST_SHOWN_VALUE:
        return f"<{len(value)} bytes {hashlib.sha256(value).hexdigest()[:12]}>"
    return value.decode("utf-8", "backslashreplace")


def _authentication(body: bytes) -> Decoded:
    code = struct.unpack("!i", body[:4])[0]
    name = AUTHENTICATION.get(code, str(code))
    return name, name, {"code": str(code)}


def _parameter_status(body: bytes) -> Decoded:
    reader = Reader(body)
    name, value = reader.cstring(), reader.cstring()
    return f"{name}={value}", f"{name}={value}", {"name": name, "value": value}


def _ready(body: bytes) -> Decoded:
    status = body.decode()
    return status, status, {"status": status}


def _report(body: bytes) -> Decoded:
    reader, fields = Reader(body), {}
    while body[reader.at]:
        letter = reader.take(1).decode()
        fields[letter] = reader.cstring()
    parts = [fields.get(letter, "") for letter in "VCM"] + [f"@{fields['P']}" if "P" in fields else ""]
    return " ".join(part for part in parts if part), fields.get("C", ""), fields


def _row_description(body: bytes) -> Decoded:
    reader = Reader(body)
    columns, names = [], []
    for _ in range(reader.unpack("h")[0]):
        name = reader.cstring()
        columns.append(f"{name}{list(reader.unpack('IhIhih'))}")
        names.append(name)
    return " ".join(columns), " ".join(names), {}


def _parameter_description(body: bytes) -> Decoded:
    reader = Reader(body)
    count = reader.unpack("h")[0]
    return _plain(" ".join(map(str, reader.unpack(f"{count}I"))))


def _row(body: bytes) -> list[bytes | None]:
    reader = Reader(body)
    values: list[bytes | None] = []
    for _ in range(reader.unpack("h")[0]):
        size = reader.unpack("i")[0]
        values.append(None if size < 0 else reader.take(size))
    return values


def _data_row(body: bytes) -> Decoded:
    return _plain("|".join(_shown(value) for value in _row(body)))


def _complete(body: bytes) -> Decoded:
    tag = Reader(body).cstring()
    return tag, tag, {"tag": tag}


def _copy_response(body: bytes) -> Decoded:
    reader = Reader(body)
    overall, count = reader.unpack("bh")
    return _plain(" ".join(map(str, (overall, *reader.unpack(f"{count}h")))))


def _notification(body: bytes) -> Decoded:
    reader = Reader(body)
    reader.take(4)
    return _plain(f"{reader.cstring()} {reader.cstring()}".rstrip())


def _negotiate(body: bytes) -> Decoded:
    reader = Reader(body)
    version, count = reader.unpack("ii")
    options = [reader.cstring() for _ in range(count)]
    return _plain(" ".join([f"{version >> 16}.{version & 0xFFFF}", *options]))


def _key(body: bytes) -> Decoded:
    return "", "", {"pid": str(struct.unpack("!i", body[:4])[0]), "key": body[4:].hex()}


DECODERS: dict[bytes, tuple[str, Callable[[bytes], Decoded]]] = {
    b"R": ("Authentication", _authentication),
    b"S": ("ParameterStatus", _parameter_status),
    b"K": ("BackendKeyData", _key),
    b"Z": ("ReadyForQuery", _ready),
    b"E": ("ErrorResponse", _report),
    b"N": ("NoticeResponse", _report),
    b"T": ("RowDescription", _row_description),
    b"t": ("ParameterDescription", _parameter_description),
    b"D": ("DataRow", _data_row),
    b"C": ("CommandComplete", _complete),
    b"I": ("EmptyQueryResponse", _empty),
    b"n": ("NoData", _empty),
    b"s": ("PortalSuspended", _empty),
    b"1": ("ParseComplete", _empty),
    b"2": ("BindComplete", _empty),
    b"3": ("CloseComplete", _empty),
    b"G": ("CopyInResponse", _copy_response),
    b"H": ("CopyOutResponse", _copy_response),
    b"W": ("CopyBothResponse", _copy_response),
    b"d": ("CopyData", _raw),
    b"c": ("CopyDone", _empty),
    b"A": ("NotificationResponse", _notification),
    b"V": ("FunctionCallResponse", _raw),
    b"v": ("NegotiateProtocolVersion", _negotiate),
}
