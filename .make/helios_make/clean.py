"""`make clean`: remove what was made for this clone. Downloads, wheels and Rust's target folder stay for the others."""

import shutil

from helios_make.places import Places
from helios_make.steps import say

__all__ = ["run"]

CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".import_linter_cache", ".hypothesis")


def run(places: Places) -> int:
    """Remove this clone's part of the cache and the caches that tools run by hand left in the tree."""
    shutil.rmtree(places.own, ignore_errors=True)
    for name in CACHES:
        shutil.rmtree(places.root / name, ignore_errors=True)
    say(f"helios: removed {places.own}; {places.cache} is shared by all clones: remove it by hand for a cold start")
    return 0
