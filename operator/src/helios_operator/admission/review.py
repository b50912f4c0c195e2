"""AdmissionReview, the API server's question and our answer, as plain values."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Json", "Verdict", "answer"]

Json = dict[str, Any]
MAX_WARNING: Final = 250
"""Characters of a warning; the API server may cut off what is longer than 256."""
REFUSED: Final = 422


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request."""

    refusal: str | None = None
    """Why it is refused; None: it may pass."""
    warnings: tuple[str, ...] = ()
    """What whoever asked is told beside."""
    patch: tuple[Json, ...] = ()
    """Operations of a JSON patch."""


def answer(uid: str, verdict: Verdict) -> Json:
    """The AdmissionReview that says so."""
    response: Json = {"uid": uid, "allowed": verdict.refusal is None}
    if verdict.refusal is not None:
        response["status"] = {"code": REFUSED, "reason": "Invalid", "message": verdict.refusal}
    if verdict.warnings:
        response["warnings"] = [_short(text) for text in verdict.warnings]
    if verdict.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(verdict.patch).encode()).decode()
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _short(text: str) -> str:
    return text if len(text) <= MAX_WARNING else f"{text[: MAX_WARNING - 1]}…"
