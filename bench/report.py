"""Write what was measured as Markdown: ratios first, then details, then what ran where. Called by `run`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from outcome import Outcome, Ratio, Table

__all__ = ["markdown", "ratio_line"]

_PASSWORD = re.compile(r'(password ?= ?)("[^"]*"|\S+)')


def ratio_line(ratio: Ratio) -> str:
    """One ratio for the terminal."""
    spread = _spread(ratio)
    value = f"{_value(ratio)} ({spread})" if spread else _value(ratio)
    return " · ".join(part for part in (ratio.name, value, _target(ratio)) if part)


def markdown(outcomes: Mapping[str, Outcome], failures: Mapping[str, str], facts: Mapping[str, str]) -> str:
    """The page. `failures` are messages by the name of the figure, `facts` what ran where."""
    lines = [
        "# Figures",
        "",
        "Written by `make bench` (bench/run.py); what each figure means is in README.md beside this file.",
        "Ratios are Helios ÷ PgBouncer, medians over alternating runs in one sitting; 1 means equal.",
        "",
        *_table(("figure", "median", "runs", "target", ""), list(_ratio_rows(outcomes, failures))),
    ]
    for outcome in outcomes.values():
        for table in outcome.tables:
            lines += ["", f"## {table.title}", "", *_table(table.header, table.rows), *_note(table)]
    skipped = [outcome.skipped for outcome in outcomes.values() if outcome.skipped]
    lines += ["", *(f"{reason}." for reason in skipped)] if skipped else []
    lines += ["", "## Measured with", "", *(f"- {name}: {value}" for name, value in facts.items())]
    configs = {title: text for outcome in outcomes.values() for title, text in outcome.configs.items()}
    for title, text in configs.items():
        lines += ["", f"### {title}", "", "```ini", _PASSWORD.sub(r"\1***", text).strip(), "```"]
    return "\n".join(lines) + "\n"


def _ratio_rows(outcomes: Mapping[str, Outcome], failures: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for outcome in outcomes.values():
        for ratio in outcome.ratios:
            target = "" if ratio.target is None else f"≤ {ratio.target:g}"
            met = {None: "", True: "met", False: "**not met**"}[ratio.met]
            yield ratio.name, _value(ratio), _spread(ratio), target, met
    for name, message in failures.items():
        yield f"`{name}`", "", "", "", f"**did not run**: {_gist(message)}"


def _gist(message: str) -> str:
    first, *rest = message.splitlines()
    return f"{first} … {rest[-1].strip()}" if rest else first


def _value(ratio: Ratio) -> str:
    return f"{ratio.value:.0f}" if ratio.is_count else f"{ratio.value:.2f}"


def _spread(ratio: Ratio) -> str:
    if len(ratio.values) == 1:
        return ""
    return f"{min(ratio.values):.2f} – {max(ratio.values):.2f}"


def _target(ratio: Ratio) -> str:
    if ratio.target is None:
        return ""
    return f"≤ {ratio.target:g} {'met' if ratio.met else 'NOT MET'}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _note(table: Table) -> list[str]:
    return ["", table.note] if table.note else []
