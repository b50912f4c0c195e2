"""Read the files given with -f: one HeliosProxy, what it may refer to, and Secrets. Called by helios.play.session.

Parsing is helios_crds' own, so that a file is refused here exactly when `kubectl apply` refuses it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helios.config import NodeConfig
from helios.play.errors import PlayError
from helios_crds.base import Resource
from helios_crds.parse import is_helios, parse
from helios_crds.placement import Placement
from helios_crds.problems import Problem, Reason, ResourceError, Severity, format_path
from helios_crds.references import References
from helios_crds.render import RenderResult, render
from helios_crds.v1alpha1 import HeliosProxy
from helios_crds.yaml import Document, load_paths

__all__ = ["Manifest", "read_manifest"]

DEFAULT_NAMESPACE = "default"
OBJECT_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
Secrets = Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True)
class Manifest:
    """What the files hold, as far as play uses it."""

    proxy: HeliosProxy
    document: Document
    """Where the HeliosProxy was read."""

    resources: tuple[Resource, ...]
    """Objects of ours in the proxy's namespace."""

    secrets: Secrets
    """Content of the Secrets of that namespace: name → key → bytes."""

    ignored: tuple[str, ...]
    """Objects that play does nothing with, like `Deployment/x`."""

    def render(self, placement: Placement, discovered: Mapping[str, tuple[NodeConfig, ...]]) -> RenderResult:
        """What becomes of the proxy with these nodes. Raises ResourceError when there is no configuration.

        A missing PoolProfile is an error here: in a cluster it may come later, on this machine it will not.
        """
        result = render(self.proxy, References.among(self.resources, self.secrets, discovered), placement)
        final = [self._placed(problem) for problem in result.problems if _is_final(problem)]
        if final:
            raise ResourceError(final)
        return replace(result, problems=tuple(self._placed(problem) for problem in result.problems))

    def _placed(self, problem: Problem) -> Problem:
        lines = {format_path(path): line for path, line in self.document.lines.items()}
        missing = problem.reason is Reason.REF_MISSING
        hint = "add its file with -f" if missing and not problem.hint.startswith("its keys") else problem.hint
        message = problem.message.replace("does not exist in this namespace", "is not among the given files")
        message = message.partition("; until it does")[0] if missing else message
        placed = replace(problem, message=message, hint=hint)
        return placed.at(self.document.source, lines.get(problem.field))


def _is_final(problem: Problem) -> bool:
    return problem.severity is Severity.ERROR or problem.reason is Reason.REF_MISSING


def read_manifest(paths: Sequence[Path]) -> Manifest:
    """Read files and folders. Raises ResourceError with every problem, or PlayError about the HeliosProxy."""
    documents = load_paths(paths)
    _refuse_kindless(documents)
    ours, problems = _parse_all([document for document in documents if is_helios(document)])
    secrets, secret_problems = _read_secrets([document for document in documents if _is_secret(document)])
    if problems or secret_problems:
        raise ResourceError([*problems, *secret_problems])
    proxy, document = _only_proxy(ours, documents, paths)
    namespace = proxy.metadata.namespace or DEFAULT_NAMESPACE
    return Manifest(
        proxy,
        document,
        tuple(resource for resource, _ in ours if (resource.metadata.namespace or DEFAULT_NAMESPACE) == namespace),
        {name: content for (space, name), content in secrets.items() if space == namespace},
        tuple(f"{d.kind}/{d.name}" for d in documents if not is_helios(d) and not _is_secret(d)),
    )


def _is_secret(document: Document) -> bool:
    return document.kind == "Secret" and document.api_version == "v1"


def _refuse_kindless(documents: Sequence[Document]) -> None:
    problems = [
        Problem("is no Kubernetes object", "kind", "give apiVersion and kind", document.source, document.line(()))
        for document in documents
        if not document.kind or not document.api_version
    ]
    if problems:
        raise ResourceError(problems)


def _parse_all(documents: Sequence[Document]) -> tuple[list[tuple[Resource, Document]], list[Problem]]:
    parsed: list[tuple[Resource, Document]] = []
    problems: list[Problem] = []
    for document in documents:
        try:
            parsed.append((parse(document), document))
        except ResourceError as error:
            problems += error.problems
    return parsed, problems


def _only_proxy(
    ours: Sequence[tuple[Resource, Document]], documents: Sequence[Document], paths: Sequence[Path]
) -> tuple[HeliosProxy, Document]:
    proxies = [(resource, document) for resource, document in ours if isinstance(resource, HeliosProxy)]
    if len(proxies) == 1:
        return proxies[0]
    if proxies:
        where = ", ".join(f"{proxy} ({document.source}:{document.line(())})" for proxy, document in proxies)
        raise PlayError(f"play runs one HeliosProxy, but the given files hold {len(proxies)}: {where}")
    given = ", ".join(map(str, paths))
    found = ", ".join(f"{document.kind}/{document.name}" for document in documents) or "nothing"
    raise PlayError(f"no HeliosProxy in {given} (found: {found}); give the file that holds it with -f")


def _read_secrets(documents: Sequence[Document]) -> tuple[dict[tuple[str, str], dict[str, bytes]], list[Problem]]:
    secrets: dict[tuple[str, str], dict[str, bytes]] = {}
    problems: list[Problem] = []
    for document in documents:
        metadata = document.value.get("metadata")
        space = metadata.get("namespace") if isinstance(metadata, dict) else None
        content, found = _secret_content(document)
        problems += found
        if not OBJECT_NAME.fullmatch(document.name):  # it becomes the name of a folder
            problems.append(_at(document, ("metadata", "name"), "is no name of a Secret", "use a-z, 0-9, - and ."))
        secrets[(space if isinstance(space, str) else DEFAULT_NAMESPACE, document.name)] = content
    return secrets, problems


def _secret_content(document: Document) -> tuple[dict[str, bytes], list[Problem]]:
    """The keys of one Secret; stringData goes before data, as in Kubernetes. Messages never hold a value."""
    content: dict[str, bytes] = {}
    problems: list[Problem] = []
    for block in ("data", "stringData"):
        for key, value in _entries(document, block, problems).items():
            path = (block, key)
            if not isinstance(value, str):
                problems.append(_at(document, path, "must be a string", "put the value in quotes"))
            elif "/" in key or key in {"", ".", ".."}:
                problems.append(_at(document, path, "is no key of a Secret", "use letters, digits, -, _ and ."))
            elif block == "stringData":
                content[key] = value.encode()
            else:
                try:
                    content[key] = base64.b64decode("".join(value.split()), validate=True)
                except binascii.Error:
                    problems.append(_at(document, path, "is not base64", "put plain text under stringData"))
    return content, problems


def _entries(document: Document, block: str, problems: list[Problem]) -> Mapping[str, object]:
    entries = document.value.get(block)
    if entries is None or isinstance(entries, dict):
        return entries or {}
    problems.append(_at(document, (block,), "must be a mapping of keys to values", ""))
    return {}


def _at(document: Document, path: tuple[str, ...], message: str, hint: str) -> Problem:
    return Problem(message, format_path(path), hint, document.source, document.line(path))
