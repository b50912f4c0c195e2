"""Put a part of a pod template over a whole one, as the API server does it with a strategic merge patch. Pure.

Called by `desired.pod_template`. Objects are merged field by field, lists of the API by the key of their items, other
lists are replaced; null removes a field. `$patch: delete` and `$patch: replace`, `$retainKeys` and
`$deleteFromPrimitiveList/…` mean what they mean to the API server, to which e2e/kubernetes compares all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

__all__ = ["MERGE_KEYS", "MergeError", "merged"]

Json = dict[str, Any]
Path = tuple[str | int, ...]
Place = tuple[str, ...]

_CONTAINER: Final[Mapping[Place, str]] = {
    ("ports",): "containerPort",
    ("env",): "name",
    ("volumeMounts",): "mountPath",
    ("volumeDevices",): "devicePath",
}
_METADATA: Final[Mapping[Place, str]] = {("finalizers",): "", ("ownerReferences",): "uid"}
_LISTS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "schedulingGates": "name",
    "resourceClaims": "name",
}
_CLAIM: Final = ("spec", "volumes", "ephemeral", "volumeClaimTemplate", "metadata")

MERGE_KEYS: Final[Mapping[Place, str]] = {
    **{("spec", name): key for name, key in _LISTS.items()},
    **{
        ("spec", name, *below): key
        for name in ("containers", "initContainers", "ephemeralContainers")
        for below, key in _CONTAINER.items()
    },
    **{(*above, *below): key for above in (("metadata",), _CLAIM) for below, key in _METADATA.items()},
}
"""List of a pod template that is merged → the field that tells its items apart, empty for plain values: what the API's
own description publishes as `x-kubernetes-patch-merge-key`, with which a test compares it."""

_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_DELETE: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"
_NOTHING: Final = object()
"""Stands for a value that is left out."""


class MergeError(ValueError):
    """A patch cannot be merged; `path` is the place in it."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(message)


def merged(original: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """The pod template `original` with `patch` over it; neither is changed. Raises MergeError."""
    return _object(original, patch, (), ())


def _object(original: Mapping[str, Any], patch: Mapping[str, Any], place: Place, path: Path) -> Json:
    """`place` names the field of the template, `path` also the items on the way to it in the patch."""
    match patch.get(_DIRECTIVE):
        case "replace":
            return {key: value for key, value in patch.items() if key != _DIRECTIVE}
        case "delete":
            return {}
        case None if _DIRECTIVE not in patch:
            pass
        case other:
            raise MergeError((*path, _DIRECTIVE), f"is {other!r}; known are delete and replace")
    made = _retained(original, patch, path)
    for key, value in patch.items():
        here = (*path, key)
        if key.startswith(_ORDER):
            raise MergeError(here, "is not taken; write the items in the order that is wanted")
        if key.startswith(_DELETE):
            _delete_items(made, key.removeprefix(_DELETE), value, here)
        elif value is None:
            made.pop(key, None)
        elif key != _RETAIN:
            new = _field(made.get(key), value, (*place, key), here)
            if new is _NOTHING:
                made.pop(key, None)
            else:
                made[key] = new
    return made


def _field(old: Any, value: Any, place: Place, path: Path) -> Any:
    if isinstance(value, Mapping) and isinstance(old, Mapping):
        return _object(old, value, place, path)
    if isinstance(value, list) and isinstance(old, list):
        return _items(old, value, place, path) if place in MERGE_KEYS else value
    for kind, what in ((Mapping, "a mapping"), (list, "a list")):
        if isinstance(old, kind):
            raise MergeError(path, f"must be {what}")
    return _fresh(value)


def _retained(original: Mapping[str, Any], patch: Mapping[str, Any], path: Path) -> Json:
    """`original` without the fields that `$retainKeys` does not name."""
    if _RETAIN not in patch:
        return dict(original)
    names = patch[_RETAIN]
    set_here = [key for key, value in patch.items() if value is not None and not key.startswith("$")]
    if not isinstance(names, list) or not all(key in names for key in set_here):
        raise MergeError((*path, _RETAIN), "must list every field that is set beside it")
    return {key: value for key, value in original.items() if key in names}


def _delete_items(made: Json, name: str, values: Any, path: Path) -> None:
    if not isinstance(values, list):
        raise MergeError(path, "must be a list")
    if isinstance(made.get(name), list):
        made[name] = [item for item in made[name] if item not in values]


def _items(original: Sequence[Any], patch: Sequence[Any], place: Place, path: Path) -> list[Any]:
    key = MERGE_KEYS[place]
    if not key:
        if not all(isinstance(item, str) for item in patch):
            raise MergeError(path, "must be a list of strings")
        return _ordered(list(dict.fromkeys([*original, *patch])), patch, original, lambda item: item)
    kept, given, replaces = list(original), [], False
    for index, item in enumerate(patch):
        if not isinstance(item, Mapping):
            raise MergeError((*path, index), "is no mapping")
        directive = item.get(_DIRECTIVE)
        if directive not in (None, "delete", "replace"):
            raise MergeError((*path, index, _DIRECTIVE), f"is {directive!r}; known are delete and replace")
        if directive == "replace":
            replaces = True
            continue
        if key not in item:
            raise MergeError((*path, index), f"has no {key}, which tells the items of this list apart")
        if directive == "delete":
            kept = [each for each in kept if each.get(key) != item[key]]
        else:
            given.append((index, item))
    if replaces:
        return [item for _, item in given]
    made = list(kept)
    for index, item in given:
        found = next((number for number, each in enumerate(made) if each.get(key) == item[key]), None)
        if found is None:
            made.append(item)
        else:
            made[found] = _object(made[found], item, place, (*path, index))
    return _ordered(made, [item for _, item in given], kept, lambda item: item.get(key))


def _ordered(
    items: Sequence[Any], patch: Sequence[Any], original: Sequence[Any], name: Callable[[Any], Any]
) -> list[Any]:
    """Items of the patch in its order, the others in theirs. Where both stand in the original, what stood there first
    stays first; what is new goes before what is left of the others."""
    wanted, places = list(map(name, patch)), list(map(name, original))
    mine = sorted((item for item in items if name(item) in wanted), key=lambda item: wanted.index(name(item)))
    others = [item for item in items if name(item) not in wanted]
    made = []
    while mine and others:
        was_there = name(mine[0]) in places and name(others[0]) in places
        first = was_there and places.index(name(others[0])) < places.index(name(mine[0]))
        made.append((others if first else mine).pop(0))
    return made + mine + others


def _fresh(value: Any) -> Any:
    """A value that stands alone: without nulls in objects, and without what is only there to delete or to replace."""
    if isinstance(value, Mapping):
        if _DIRECTIVE in value:
            return _NOTHING
        cleaned = {key: _fresh(item) for key, item in value.items() if item is not None}
        return {key: item for key, item in cleaned.items() if item is not _NOTHING}
    if isinstance(value, list):
        return [item for item in map(_fresh, value) if item is not _NOTHING]
    return value
