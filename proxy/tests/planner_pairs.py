"""Texts of one shape with other literals are planned apart: do they get one plan? Run by `make fuzz`.

    python proxy/tests/planner_pairs.py SHAPES [PAIRS]

SHAPES is the program that says which texts share a plan (proxy/crates/helios-sql/examples/shapes.rs). The engine plans
the first text of a shape it sees and uses that plan for all others, so each of the two must do for the other.
"""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import postgast
from planner_corpus import CORPUS

from helios.errors import PlanError
from helios.planner.catalog import Catalog
from helios.planner.context import Context, Policy
from helios.planner.decide import plan
from helios.planner.plan import Plan

PAIRS = 100_000
PLAIN = Catalog("1")
"""A database that has nothing but tables, so that reads may go to standbys."""
PROCESSES = 2
SHOWN = 5
LEAST_SHARED = 0.8
"""Of the pairs so many must have one shape and a plan, or the run shows too little."""

NUMBERS = ("0", "1", "42", "3.5", "1e3", "9999999999999", "0x1f", "1_000")
STRINGS = ("''", "'a'", "'it''s'", "E'\\n\\''", "$$x$$", "$q$ set x = 1 $q$", "'select pg_advisory_lock(1)'")
NAMES = ("'work_mem'", "'app.tenant'", "'role'", "'pg_temp'", "'on'", "'false'", "'t'", "'pg_catalog.lower'")
"""Literals that a planner might take for more than a value."""
LITERALS = {
    "ICONST": NUMBERS,
    "FCONST": NUMBERS,
    "SCONST": STRINGS + NAMES,
    "USCONST": STRINGS,
    "BCONST": ("b'1'", "x'1F'"),
    "XCONST": ("x'1F'", "b'0'"),
}
ANY = NUMBERS + STRINGS + NAMES


def main(arguments: Sequence[str]) -> int:
    """Compare so many pairs; 1 when two plans differ."""
    pairs = [pair(seed) for seed in range(int(arguments[1]) if len(arguments) > 1 else PAIRS)]
    shapes = iter(shapes_of(arguments[0], [text for both in pairs for text in both]))
    alike = [both for both in pairs if (one := next(shapes)) == next(shapes) != "exact" and one != "exact"]
    with multiprocessing.Pool(PROCESSES) as pool:
        outcomes = pool.starmap(compare, alike, chunksize=500)
    counts = Counter(outcomes)
    different = [both for both, outcome in zip(alike, outcomes, strict=True) if outcome == "different"]
    sys.stdout.write(f"{len(pairs)} pairs, {len(alike)} of one shape: {dict(counts)}\n")
    for one, other in different[:SHOWN]:
        sys.stdout.write(f"planned differently:\n  {one!r}\n  {other!r}\n")
    shared = counts["equal"] + counts["exact"]
    return 1 if different or shared < LEAST_SHARED * len(pairs) else 0


def pair(seed: int) -> tuple[str, str]:
    """A statement of the corpus, written twice."""
    generator = random.Random(seed)
    row = generator.choice(CORPUS)
    return "".join(written(row.sql, generator)), "".join(written(row.sql, generator))


def written(sql: str, generator: random.Random) -> Iterator[str]:
    """The text with other literals, and blanks and comments where there were some."""
    text, end = sql.encode(), 0
    kinds = postgast.pg_query_pb2.Token
    for token in postgast.scan(sql).tokens:
        between = text[end : token.start].decode()
        yield generator.choice((" ", "\n", " /* 1 */ ")) if between.isspace() else between
        name, own = kinds.Name(token.token), text[token.start : token.end].decode()
        choices = (own, *LITERALS.get(name, ()))
        if name in LITERALS and generator.random() < 0.1:
            choices = ANY
        yield generator.choice(choices)
        end = token.end
    yield text[end:].decode()


def shapes_of(program: str, texts: Sequence[str]) -> list[str]:
    """What the engine's lexer says of each."""
    sent = "".join(f"{text}\0" for text in texts).encode()
    done = subprocess.run([program], input=sent, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


def compare(one: str, other: str) -> str:
    """`equal`, `exact` if neither plan is used for another text, `refused` if one has none, or `different`."""
    plans = [planned(one), planned(other)]
    if None in plans:
        return "refused"
    if all(made and made.exact for made in plans):
        return "exact"
    return "equal" if plans[0] == plans[1] else "different"


def planned(text: str) -> Plan | None:
    """The plan; None where PostgreSQL's parser refuses the text."""
    try:
        return plan(text, Context(lambda: PLAIN, policy=Policy(is_split=True)))
    except PlanError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
