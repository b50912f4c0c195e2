"""`helios explain SQL`: what a statement is, and where it may run. Dispatched by `helios.cli`.

A running proxy is asked where one is named, since it knows the database's functions and views.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from helios.commands.admin_api import add_options, post
from helios.core import hints
from helios.errors import HeliosError, PlanError
from helios.planner.context import Policy
from helios.planner.explain import NO_OBJECTS, explain, refusal

__all__ = ["add_parser", "run"]

_DESCRIPTION = """
Print what the planner makes of a statement: its kind, whether a standby may run it and why, and what it may leave in
its session. With --admin a running proxy is asked, which knows its routing rules and the functions, views and policies
of --database; without it there are no rules, and every relation is taken for a plain table.
"""

_TIMEOUT_SECONDS = 30.0


class ExplainFailed(HeliosError):
    """The statement cannot be planned."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `explain`."""
    parser = subparsers.add_parser(
        "explain", help="what a statement is, and where it may run", description=_DESCRIPTION
    )
    parser.add_argument("sql", metavar="SQL", help="the statement or statements; - reads standard input")
    add_options(parser, required=False)
    parser.add_argument("--database", metavar="NAME", help="as clients name it; needed with --admin")
    parser.add_argument(
        "--application-name", default="", metavar="NAME", help="the client's, with --admin: rules may look at it"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: the admin API's answer")


def run(args: argparse.Namespace) -> int:
    """Print to stdout; exit status 0, or 1 with a sentence on stderr."""
    sql = sys.stdin.read() if args.sql == "-" else args.sql
    if args.admin is None:
        view = _local(sql)
    elif args.database is None:
        raise ExplainFailed("--database is needed with --admin")
    else:
        view = post(args, "/api/explain", _asked(sql, args), _TIMEOUT_SECONDS)
    print(json.dumps(view) if args.format == "json" else _text(view))
    return 0


def _asked(sql: str, args: argparse.Namespace) -> dict[str, str]:
    return {"sql": sql, "database": args.database, "application_name": args.application_name}


def _local(sql: str) -> dict[str, Any]:
    try:
        return asdict(explain(sql, NO_OBJECTS, Policy(hints=hints(sql))))
    except PlanError as error:
        raise ExplainFailed(refusal(error)) from error


def _text(view: dict[str, Any]) -> str:
    lines = [f"kind      {view['kind']}", f"route     {view['route']}: {view['reason']}"]
    if view["target"]:
        lines.append(f"target    {', '.join(view['target'])}")
    for name, unit in (
        ("node", ""),
        ("workload", ""),
        ("consistency", ""),
        ("max_lag_ms", " ms"),
        ("timeout_ms", " ms"),
    ):
        if view[name] is not None:
            lines.append(f"{name.removesuffix('_ms').removeprefix('max_'):<9} {view[name]}{unit}")
    lines += [f"notice    {text}" for text in view["notices"]]
    lines += [f"leaves    {effect}: {reason}" for effect, reason in view["effects"].items()]
    if view["settings"]:
        lines.append(f"settings  {', '.join(view['settings'])}")
    if view["exact"]:
        lines.append("exact     its literals matter: planned for this text only")
    return "\n".join(lines)
