"""`kubectl helios pause`, `drain` and `resume`: an annotation with owner and end, which the operator acts on. The spec
stays."""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from helios.config import MaintenanceMode
from helios_operator.hold import UNTIL, Hold, HoldError, hold_finding, hold_of
from helios_operator.names import GROUP_KIND, HOLD, ProxyKey
from helios_operator.plugin.kubectl import Kubectl, PluginError

__all__ = ["drain", "pause", "resume", "seconds_of"]

UNITS: Final = {"s": 1, "m": 60, "h": 3_600}
MOST_SECONDS: Final = 24 * 3_600
"""A hold that lasts longer belongs into the spec, where others see it."""
WAIT_SECONDS: Final = 60.0
"""Until every pod has been told; they are asked every few seconds."""
LOOK_SECONDS: Final = 0.5
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
    print(f"{args.name}: {_begin(kubectl, args, MaintenanceMode.HOLD)}")
    return 0


def drain(kubectl: Kubectl, args: argparse.Namespace) -> int:
    """Have the clients leave, and refuse new ones; returns when none is left, 1 where some are after `--wait`."""
    print(f"{args.name}: {_begin(kubectl, args, MaintenanceMode.DRAIN)}")
    namespace = kubectl.get(GROUP_KIND, args.name)["metadata"]["namespace"]
    admin, pods = kubectl.admin(ProxyKey(namespace, args.name)), kubectl.pods(args.name)
    end = time.monotonic() + args.wait
    while True:
        left = {pod: admin.ask(pod, "/sessions")["active_sessions"] for pod in pods}
        if not any(left.values()):
            print(f"{args.name}: no client is left")
            return 0
        if time.monotonic() > end:
            told = ", ".join(f"{pod} has {count}" for pod, count in left.items() if count)
            print(f"{args.name}: clients with open transactions are left: {told}", file=sys.stderr)
            return 1
        time.sleep(LOOK_SECONDS)


def _begin(kubectl: Kubectl, args: argparse.Namespace, mode: MaintenanceMode) -> str:
    _check_owner(kubectl, args)
    hold = Hold(args.by, datetime.now(UTC) + timedelta(seconds=args.seconds), mode)
    kubectl.run("annotate", GROUP_KIND, args.name, f"{HOLD}={hold.text}", "--overwrite", MANAGER)
    return _await(kubectl, args.name, hold)


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
        is_so = told == wanted if hold is not None else UNTIL not in told
        # Without a pod that runs there is nobody to wait for.
        is_everywhere = conditions.get("ConfigInForce", {}).get("status") != "False"
        if is_so and is_everywhere:
            return told
        time.sleep(0.2)
    raise PluginError(f"no answer of the operator within {WAIT_SECONDS:.0f} s; the annotation is written, see `status`")
