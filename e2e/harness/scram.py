"""Client side of password logins: md5 and SCRAM-SHA-256, and the verifier a users file may hold.

Called by `client` and the login tests. It shares no code with the engine, so that each checks the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

MECHANISM = "SCRAM-SHA-256"
ITERATIONS = 4096


def md5_answer(user: str, password: str, salt: bytes) -> str:
    """The answer to AuthenticationMD5Password."""
    return "md5" + hashlib.md5(md5_secret(user, password)[3:].encode() + salt).hexdigest()


def md5_secret(user: str, password: str) -> str:
    """What PostgreSQL stores for an md5 password."""
    return "md5" + hashlib.md5(password.encode() + user.encode()).hexdigest()


def verifier(password: str, salt: bytes = b"helios-test-salt", iterations: int = ITERATIONS) -> str:
    """What PostgreSQL stores for a SCRAM password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(_mac(salted, b"Client Key")).digest()
    server = _mac(salted, b"Server Key")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"{MECHANISM}${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


class ScramError(AssertionError):
    """The server's part of the exchange is wrong: the message says which value."""


class ScramClient:
    """One SCRAM-SHA-256 exchange: `first()`, `final(server_first)`, `verify(server_final)`."""

    def __init__(self, password: str, gs2_header: str = "n,,", nonce: str | None = None) -> None:
        self.password = password
        self.gs2_header = gs2_header
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self.server_signature = b""

    def first(self) -> bytes:
        """The client-first message."""
        return f"{self.gs2_header}n=,r={self.nonce}".encode()

    def final(self, server_first: bytes) -> bytes:
        """The client-final message with the proof."""
        attributes = dict(part.split("=", 1) for part in server_first.decode().split(","))
        if not attributes["r"].startswith(self.nonce) or attributes["r"] == self.nonce:
            raise ScramError("server nonce does not extend the client nonce")
        salt, iterations = base64.b64decode(attributes["s"]), int(attributes["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), salt, iterations)
        binding = base64.b64encode(self.gs2_header.encode()).decode()
        without_proof = f"c={binding},r={attributes['r']}"
        signed = f"n=,r={self.nonce},{server_first.decode()},{without_proof}".encode()
        client_key = _mac(salted, b"Client Key")
        signature = _mac(hashlib.sha256(client_key).digest(), signed)
        self.server_signature = _mac(_mac(salted, b"Server Key"), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """Check the server's signature; ScramError if it is not ours."""
        if base64.b64decode(server_final.removeprefix(b"v=")) != self.server_signature:
            raise ScramError("server signature is wrong")
