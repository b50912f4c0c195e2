"""Go with caches of ours: several gigabytes that are needed once, since what was built is kept by its digest."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helios_make.places import Places

__all__ = ["go_caches", "go_environment"]


@contextmanager
def go_caches(places: Places) -> Iterator[dict[str, str]]:
    """The environment of a build, and afterwards no caches, unless HELIOS_KEEP_CACHE=1. One make at a time, of all
    clones: they share the caches, and whoever ends first would take them from the other."""
    caches = places.cache / "go"
    with places.lock("go"):
        yield go_environment(caches)
        if os.environ.get("HELIOS_KEEP_CACHE") != "1":
            shutil.rmtree(caches, ignore_errors=True)


def go_environment(caches: Path) -> dict[str, str]:
    """Go with its caches in this folder, the versions of go.sum and no others, and no C."""
    return {
        "GOCACHE": str(caches / "build"),
        "GOMODCACHE": str(caches / "modules"),
        "GOPATH": str(caches),
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
