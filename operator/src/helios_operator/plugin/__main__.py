"""`kubectl helios VERB`, also `python -m helios_operator.plugin`: reads the command line and calls the verb.

Exit status: 0, 1 where the cluster, a pod or a resource refuses, or `config diff` finds a difference, 2 for a wrong
command line.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from helios.errors import HeliosError
from helios_operator.plugin import holding, verbs
from helios_operator.plugin.kubectl import Kubectl

__all__ = ["main"]

PLACES = ("kubeconfig", "context", "namespace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(arguments)
    given = {place: getattr(args, place) for place in PLACES}
    kubectl = Kubectl([f"--{place}={value}" for place, value in given.items() if value is not None])
    try:
        status: int = args.verb(kubectl, args)
    except HeliosError as error:
        print(f"kubectl helios: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    text = "Look at HeliosProxies, ask their pods, hold their clients."
    parser = argparse.ArgumentParser(prog="kubectl helios", description=text)
    parser.add_argument("--kubeconfig", help="as of kubectl")
    parser.add_argument("--context", help="as of kubectl")
    parser.add_argument("--namespace", "-n", help="as of kubectl")
    commands = parser.add_subparsers(metavar="VERB", required=True)
    for name, verb, text in (
        ("status", verbs.status, "what the operator sees: conditions, pods, their configuration and share"),
        ("pools", verbs.pools, "server connections of every pod"),
        ("clients", verbs.clients, "how many clients each pod has"),
        ("explain", verbs.explain, "what the proxy makes of a statement"),
        ("switchover", verbs.switchover, "make a standby the primary; clients wait meanwhile"),
        ("logs", verbs.logs, "log lines of all pods"),
        ("psql", verbs.psql, "psql through a port-forward; its own options after --"),
        ("pause", holding.pause, "have clients wait between transactions, for a while and not by the spec"),
        ("drain", holding.drain, "have clients leave between transactions and refuse new ones, for a while likewise"),
        ("resume", holding.resume, "end what pause or drain began"),
        ("bundle", verbs.bundle, "a tar.gz for whoever helps: resource, configuration, events, logs; no Secret"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("name", help="name of the HeliosProxy")
        command.set_defaults(verb=verb)
        _own_options(name, command)
    config = commands.add_parser("config", help="the helios.toml of a resource").add_subparsers(required=True)
    for name, verb, text in (
        ("render", verbs.render_config, "print the helios.toml of a file's HeliosProxy, without a cluster"),
        ("diff", verbs.diff_config, "compare it with the document in the cluster; exit status 1 where they differ"),
    ):
        command = config.add_parser(name, help=text, description=text)
        command.add_argument("-f", "--file", type=Path, action="append", required=True, help="as of kubectl apply")
        command.set_defaults(verb=verb)
    return parser


def _own_options(name: str, command: argparse.ArgumentParser) -> None:
    match name:
        case "explain":
            command.add_argument("sql", help="the statement")
            command.add_argument("--database", "-d", required=True, help="database as clients name it")
        case "switchover":
            command.add_argument("--to", metavar="NODE", help="which standby; failover.policy decides where left out")
            command.add_argument("--cluster", help="which cluster; needed where there are several")
        case "logs":
            command.add_argument("--follow", action="store_true", help="go on")
            command.add_argument("--tail", type=int, default=100, help="lines of each pod")
        case "psql":
            command.add_argument("arguments", nargs="*", help="options of psql, after --")
        case "pause" | "drain":
            command.add_argument("--for", dest="seconds", type=holding.seconds_of, default="10m", help="30s, 10m, 2h")
            if name == "drain":
                patience = "how long to wait for those with open transactions"
                command.add_argument("--wait", type=holding.seconds_of, default="60s", help=patience)
            _who(command)
        case "resume":
            _who(command)
        case "bundle":
            command.add_argument("--output", "-o", type=Path, help="the file; NAME.tar.gz where left out")


def _who(command: argparse.ArgumentParser) -> None:
    command.add_argument("--by", default=getpass.getuser(), help="in whose name; left out: your user's")
    command.add_argument("--force", action="store_true", help="also where somebody else holds")


if __name__ == "__main__":
    sys.exit(main())
