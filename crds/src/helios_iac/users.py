"""Passwords of clients → the users file of a HeliosProxy, in Secret `<name>-users`. Verifiers only, never a password.

Called by the providers after the object itself was written. A user whose version has not changed keeps the line it has.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from helios_crds.v1alpha1.references import USERS_KEY
from helios_iac.problems import IacError

__all__ = ["lines_of", "secret_document", "secret_name", "text_of", "users_text", "verifier"]

ITERATIONS: Final = 4096
"""As PostgreSQL's own default."""
SALT_BYTES: Final = 16


def secret_name(proxy: str) -> str:
    """Name of the Secret that a HeliosProxy reads where its spec names none."""
    return f"{proxy}-users"


def verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL stores for a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`."""
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _prepared(password: str) -> str:
    """SASLprep as PostgreSQL does it: a password that cannot be prepared is taken as it is."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    made = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_a1,
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    if not made or any(test(char) for test in forbidden for char in made):
        return password
    right_to_left = [stringprep.in_table_d1(char) for char in made]
    if any(right_to_left) and (any(map(stringprep.in_table_d2, made)) or not (right_to_left[0] and right_to_left[-1])):
        return password
    return made


def text_of(secret: Mapping[str, Any] | None) -> str:
    """The users file in a Secret; empty where there is none."""
    encoded = ((secret or {}).get("data") or {}).get(USERS_KEY) or ""
    return base64.b64decode(encoded).decode("utf-8", "replace")


def lines_of(text: str) -> dict[str, str]:
    """User → the line of a users file."""
    lines: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith('"'):
            name = line[1:].partition('" "')[0].replace('""', '"')
            lines[name] = line
    return lines


def users_text(
    passwords: Mapping[str, str | None], versions: Mapping[str, Any], before: Mapping[str, Any], present: str
) -> str:
    """The users file. A user of the same version keeps the present line; others get a new verifier. Raises IacError."""
    kept = lines_of(present)
    made: list[str] = []
    for user, password in sorted(passwords.items()):
        if user in kept and user in before and before[user] == versions.get(user):
            made.append(kept[user])
            continue
        if not password:
            raise IacError(
                f"credentials of {user} need password_wo",
                "a write-only value is not kept anywhere, so it must be given whenever a user is added or changed",
                ("credentials", user, "password_wo"),
            )
        made.append(f'"{_quoted(user)}" "{verifier(password)}"')
    return "".join(f"{line}\n" for line in made)


def _quoted(user: str) -> str:
    return user.replace('"', '""')


def secret_document(proxy: str, namespace: str, text: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    """The Secret; it goes when the HeliosProxy goes."""
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": proxy}
    metadata = {
        "name": secret_name(proxy),
        "namespace": namespace,
        "labels": {"app.kubernetes.io/name": "heliosproxy", "app.kubernetes.io/instance": proxy},
        "ownerReferences": [{**reference, "uid": owner["metadata"]["uid"]}],
    }
    data = {USERS_KEY: base64.b64encode(text.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
