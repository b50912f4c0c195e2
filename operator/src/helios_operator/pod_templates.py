"""Whether the API server takes the pod template of a proxy; asked before anything is written. Called by the reconciler.

It is asked by a create that is only tried, with strict field validation: an apply would name no path, and without the
validation a misspelt field is dropped without a word. A template that was taken is not asked for again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from helios.kube import ApiError, Client, Forbidden
from helios.kube.kinds import DEPLOYMENT
from helios_crds.problems import Problem, Reason, format_path
from helios_operator.desired.pod_template import FIELD, written_path
from helios_operator.names import MANAGER, ProxyKey
from helios_operator.writer import digest

__all__ = ["PodTemplates", "refusals"]

_UNKNOWN: Final = re.compile(r'unknown field "spec\.template\.?([^"]*)"')
_WRONG_TYPE: Final = re.compile(r"cannot unmarshal (\w+) into Go struct field \w+\.spec\.template\.(\S+) of type (\S+)")
_STEP: Final = re.compile(r"\[(\d+)\]|\[([^\]]+)\]|([^.\[\]]+)")
_KINDS: Final = {"bool": "true or false", "int32": "an integer", "int64": "an integer", "string": "a string"}
_REFUSED: Final = (400, 422)
Json = Mapping[str, Any]


class PodTemplates:
    """Templates that were tried, by proxy."""

    def __init__(self, client: Client, believe: float) -> None:
        """`believe`: seconds until one that was refused is tried again."""
        self._client = client
        self._believe = believe
        self._tried: dict[ProxyKey, tuple[str, float, tuple[Problem, ...]]] = {}

    async def problems(self, key: ProxyKey, pods: Json, wanted: Json) -> tuple[Problem, ...]:
        """What the API server refuses of the Deployment `pods`, told of `wanted`, the spec's part of its template."""
        template = pods["spec"]["template"]
        tried, now = digest(template), time.monotonic()
        before = self._tried.get(key)
        if before is not None and before[0] == tried and (not before[2] or now - before[1] < self._believe):
            return before[2]
        found = tuple(await self._try(pods, wanted))
        self._tried[key] = (tried, now, found)
        return found

    def forget(self, key: ProxyKey) -> None:
        """The proxy is gone."""
        self._tried.pop(key, None)

    async def _try(self, pods: Json, wanted: Json) -> list[Problem]:
        # A name of its own: the proxy's is taken, and by whom is not what is asked here.
        metadata = {key: value for key, value in pods["metadata"].items() if key != "name"}
        unnamed = {**pods, "metadata": {**metadata, "generateName": f"{pods['metadata']['name']}-"}}
        try:
            await self._client.try_create(DEPLOYMENT, unnamed, MANAGER)
        except Forbidden:
            return []  # of a quota that another Deployment would exceed; a change of ours does not
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            return list(refusals(error, pods["spec"]["template"], wanted))
        return []


def refusals(error: ApiError, template: Json, wanted: Json) -> Iterator[Problem]:
    """What the API server says of a Deployment's template, by the paths of `wanted`."""

    def field(text: str) -> str:
        steps = (int(index) if index else key or name for index, key, name in _STEP.findall(text))
        return format_path((*FIELD, *written_path(template, wanted, tuple(steps))))

    told = False
    for path in _UNKNOWN.findall(error.message):
        yield Problem("no such field", field(path), "see kubectl explain pod.spec", reason=Reason.UNKNOWN_FIELD)
        told = True
    for path, message in error.causes:
        if path.startswith("spec.template"):
            yield Problem(message, field(path.removeprefix("spec.template")))
            told = True
    for given, path, kind in _WRONG_TYPE.findall(error.message):
        # This one comes without the numbers of items, so that it is not looked up.
        wrong = f"is of type {given}"
        yield Problem(wrong, f"{format_path(FIELD)}.{path}", f"write {_KINDS.get(kind, f'a {kind}')}")
        told = True
    if not told:
        yield Problem(error.message, format_path(FIELD))
