"""`spec.podTemplate` over the operator's own template. Pure; called by the builder of the Deployment.

Users may add and change whatever the API has. What the operator finds its pods by, and what the process needs to read
its configuration, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from helios_crds.problems import Problem, ResourceError, format_path
from helios_operator.names import PROXY_CONTAINER
from helios_operator.strategic_merge import MERGE_KEYS, MergeError, merged

__all__ = ["FIELD", "pod_template", "written_path"]

Json = dict[str, Any]
Path = tuple[str | int, ...]
FIELD: Final = ("spec", "podTemplate")
_OURS: Final = {
    "image": "write it in spec.image",
    "command": "it is the operator's",
    "args": "they are the operator's",
    "ports": "those of the operator must stay; write spec.listenPort and spec.adminPort",
    "volumeMounts": "those of the operator must stay",
}
"""Field of our container that must stay, or of which every item must → what to do instead."""
_IDENTITY: Final = {
    "serviceAccountName": "write it in spec.serviceAccountName",
    "automountServiceAccountToken": "the pods need the token to promote a standby",
}


def pod_template(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> Json:
    """`own` with `wanted` over it. Raises ResourceError for what cannot be merged or takes away what must stay."""
    try:
        made = merged(own, wanted)
    except MergeError as error:
        raise ResourceError([Problem(str(error), format_path((*FIELD, *error.path)))]) from error
    if problems := [
        Problem(message, format_path((*FIELD, *written_path(made, wanted, path))), hint)
        for path, message, hint in _lost(own, made)
    ]:
        raise ResourceError(problems)
    return made


def _lost(own: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """(path in the template, what is wrong, what would be right) of everything that must stay and did not."""
    before, after = own["spec"], _mapping(made.get("spec"))
    for name in ("labels", "annotations"):
        kept = _mapping(_mapping(made.get("metadata")).get(name))
        for key, value in own["metadata"][name].items():
            if kept.get(key) != value:
                yield ("metadata", name, key), "is the operator's", "leave it out"
    for name, hint in _IDENTITY.items():
        if before.get(name) and after.get(name) != before[name]:
            yield ("spec", name), "must stay as the operator sets it", hint
    yield from _lost_items(before, after, ("spec",), "volumes", "those of the operator must stay")
    place, container = _item(after, "containers", PROXY_CONTAINER)
    _, ours = _item(before, "containers", PROXY_CONTAINER)
    path: Path = ("spec", "containers", *place)
    if container is None or ours is None:
        yield path, f"has no container {PROXY_CONTAINER} any more", "leave it"
        return
    for name, hint in _OURS.items():
        if isinstance(ours[name], list) and (*_names(path), name) in MERGE_KEYS:
            yield from _lost_items(ours, container, path, name, hint)
        elif container.get(name) != ours[name]:
            yield (*path, name), "must stay as the operator sets it", hint


def _lost_items(
    before: Mapping[str, Any], after: Mapping[str, Any], path: Path, name: str, hint: str
) -> Iterator[tuple[Path, str, str]]:
    """Items of a list that are not in it any more as they were."""
    listed = after.get(name)
    for item in before[name]:
        if not isinstance(listed, list) or item not in listed:
            key = MERGE_KEYS[(*_names(path), name)]
            yield (*path, name), f"takes away or changes {item[key]}", hint


def _item(spec: Mapping[str, Any], lists: str, name: str) -> tuple[tuple[int, ...], Any]:
    """((place,), item) of the list; ((), None) where there is none."""
    listed = spec.get(lists)
    found = enumerate(map(_mapping, listed if isinstance(listed, list) else ()))
    return next((((place,), item) for place, item in found if item.get("name") == name), ((), None))


def _mapping(value: Any) -> Mapping[str, Any]:
    """What `$patch: replace` put there may be of any type."""
    return value if isinstance(value, Mapping) else {}


def written_path(made: Mapping[str, Any], wanted: Any, path: Path) -> Path:
    """The place in `wanted` of what is at `path` in the merged template, as far as it is in there.

    A merged list has items in other places than the patch.
    """
    found: Path = ()
    node: Any = made
    for step in path:
        below = _below(node, step)
        if isinstance(step, int) and isinstance(wanted, list):
            key = MERGE_KEYS.get(_names(found))
            names = [item.get(key) if isinstance(item, Mapping) else None for item in wanted] if key else []
            place = names.index(below[key]) if key and isinstance(below, Mapping) and below.get(key) in names else None
            if key and place is None:
                return found
            step = step if place is None else place
        found, node, wanted = (*found, step), below, _below(wanted, step)
    return found


def _below(node: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return node[step] if isinstance(node, list) and step < len(node) else None
    return node.get(step) if isinstance(node, Mapping) else None


def _names(path: Path) -> tuple[str, ...]:
    return tuple(step for step in path if isinstance(step, str))
