"""`kubectl helios pause` and `resume`: an annotation with owner and end, which the operator acts on. The spec stays."""

from __future__ import annotations

import argparse
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from helios_operator.hold import Hold, HoldError, hold_finding, hold_of
from helios_operator.names import GROUP_KIND, HOLD
from helios_operator.plugin.kubectl import Kubectl, PluginError

__all__ = ["pause", "resume", "seconds_of"]

UNITS: Final = {"s": 1, "m": 60, "h": 3_600}
MOST_SECONDS: Final = 24 * 3_600
"""A hold that lasts longer belongs into the spec, where others see it."""
WAIT_SECONDS: Final = 60.0
"""Until every pod has been told; they are asked every few seconds."""
MANAGER: Final = "--field-manager=kubectl-helios"
Json = dict[str, Any]


def seconds_of(text: str) -> int:
    """`90s`, `10m` or `2h` in seconds. Raises ArgumentTypeError."""
    found = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is no time such as 30s, 10m or 2h, of a day at most")
    return seconds


def pause(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """Have the clients wait; returns when every pod does."""
    _check_owner(kubectl, args)
    hold = Hold(args.by, datetime.now(UTC) + timedelta(seconds=args.seconds))
    kubectl.run("annotate", GROUP_KIND, args.name, f"{HOLD}={hold.text}", "--overwrite", MANAGER)
    print(f"{args.name}: {_await(kubectl, args.name, hold)}")
    return 0


def resume(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """Have them go on; returns when every pod lets them."""
    _check_owner(kubectl, args)
    kubectl.run("annotate", GROUP_KIND, args.name, f"{HOLD}-", MANAGER)
    _await(kubectl, args.name, None)
    print(f"{args.name}: clients go on")
    return 0


def _check_owner(kubectl: Kubectl, args: argparse.Namespace) -> None:
    annotations = kubectl.get(GROUP_KIND, args.name)["metadata"].get("annotations") or {}
    try:
        present = hold_of(annotations.get(HOLD))
    except HoldError:
        return  # nobody's; what is written next replaces it
    if present is not None and present.by != args.by and present.lasts(datetime.now(UTC)) and not args.force:
        raise PluginError(f"{args.name} is held by {present.by}; --force overrides that")


def _await(kubectl: Kubectl, name: str, hold: Hold | None) -> str:
    """What the condition `Held` says once the operator has seen the hold, or its end, and every pod runs it."""
    finding = None if hold is None else hold_finding(hold.text, datetime.now(UTC))
    wanted = "" if finding is None else finding.message
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        status: Json = kubectl.get(GROUP_KIND, name).get("status") or {}
        conditions = {each["type"]: each for each in status.get("conditions") or ()}
        told = str(conditions.get("Held", {}).get("message", ""))
        # Without a pod that runs there is nobody to wait for.
        is_everywhere = conditions.get("ConfigInForce", {}).get("status") != "False"
        if told == wanted and is_everywhere:
            return told
        time.sleep(0.2)
    raise PluginError(f"no answer of the operator within {WAIT_SECONDS:.0f} s; the annotation is written, see `status`")
