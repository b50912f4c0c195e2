"""`python automate.py preview|up|destroy`: the stack by the Automation API, which needs no language host.

NAMESPACE is where the objects go; WAIT=false does not wait until the proxy serves.
"""

import json
import os
import sys
from typing import Any

from analytics import analytics
from pulumi import automation


def main() -> int:
    """Do the one thing that was asked for, and print what changed."""
    stack = automation.create_or_select_stack("dev", "analytics", analytics)
    stack.set_config("heliosproxy:namespace", automation.ConfigValue(os.environ.get("NAMESPACE", "databases")))
    stack.set_config("analytics:wait", automation.ConfigValue(os.environ.get("WAIT", "true")))
    match sys.argv[1:]:
        case ["preview"]:
            show(stack.preview(on_output=log).change_summary)
        case ["up"]:
            done = stack.up(on_output=log)
            show(done.summary.resource_changes, {name: each.value for name, each in done.outputs.items()})
        case ["destroy"]:
            show(stack.destroy(on_output=log).summary.resource_changes)
        case _:
            log(__doc__ or "")
            return 2
    return 0


def show(changes: Any, outputs: Any = None) -> None:
    """One line of JSON on standard output; the rest goes to standard error."""
    sys.stdout.write(json.dumps({"changes": changes, "outputs": outputs or {}}) + "\n")


def log(text: str) -> None:
    """A line for people."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
