"""`python bench/run.py`: Helios beside PgBouncer on this machine, written to bench/RESULTS.md. Called by `make bench`.

No figure makes it fail: the exit status is 0 unless a part of the benchmark did not run. See README.md beside this.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import machine
import report
from figures import FIGURES, Figure
from helios.errors import HeliosError
from load import Patience
from outcome import Effort, Outcome
from rig import BenchError, MissingTool, Rig, open_rig

RESULTS = Path(__file__).parent / "RESULTS.md"
FULL_SECONDS, FULL_PAIRS = 4, 3
QUICK_SECONDS, QUICK_PAIRS = 2, 3
PATIENCE_SECONDS = 60


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit status."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that every process is ended
    _raise_file_limit()
    seconds, pairs = (QUICK_SECONDS, QUICK_PAIRS) if args.quick else (FULL_SECONDS, FULL_PAIRS)
    effort = Effort(args.seconds or seconds, args.pairs or pairs, Patience(args.patience))
    chosen = [figure for figure in FIGURES if not args.only or figure.name in args.only]
    folder = Path(tempfile.mkdtemp(prefix="helios-bench-"))
    try:
        with open_rig(folder, args.workers, args.io) as rig:
            failures = _measure(rig, chosen, effort, _target_file(args))
    except HeliosError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures else 0


def _measure(rig: Rig, chosen: Sequence[Figure], effort: Effort, out: Path | None) -> dict[str, str]:
    """Every chosen figure, and the page; messages of those that did not run, by name."""
    facts = machine.facts(rig)
    facts["runs"] = f"{effort.pairs} on each side, {effort.seconds} s each, alternating"
    outcomes: dict[str, Outcome] = {}
    failures: dict[str, str] = {}
    for figure in chosen:
        print(f"… {figure.name}", flush=True)
        try:
            outcomes[figure.name] = figure.measure(rig, effort)
        except MissingTool as error:
            outcomes[figure.name] = Outcome(skipped=f"`{figure.name}` is not measured: {error}")
            print(f"  skipped: {error}", flush=True)
        except (HeliosError, OSError) as error:
            failures[figure.name] = str(error)
            print(f"bench: {figure.name} did not run: {error}", file=sys.stderr)
        for ratio in outcomes.get(figure.name, Outcome()).ratios:
            print(f"  {report.ratio_line(ratio)}", flush=True)
    page = report.markdown(outcomes, failures, facts)
    if out is None:
        print(page)
    else:
        out.write_text(page)
        print(f"written to {out}")
    return failures


def _target_file(args: argparse.Namespace) -> Path | None:
    """A choice of figures must not replace the whole page, unless a file is named."""
    out: Path | None = args.out
    return out if out is not None or args.only else RESULTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure Helios beside PgBouncer; see bench/README.md.")
    names = [figure.name for figure in FIGURES]
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs of {QUICK_SECONDS} s each")
    parser.add_argument("--only", action="append", choices=names, help="this figure (repeatable); printed, not written")
    parser.add_argument("--out", type=Path, help="file to write (default: RESULTS.md beside this program)")
    parser.add_argument("--workers", type=_natural, default=0, help="of Helios (default 0: what users get)")
    parser.add_argument("--io", choices=("auto", "epoll", "io_uring"), default="auto", help="of Helios (default auto)")
    parser.add_argument("--seconds", type=_natural, help=f"of each run (default {FULL_SECONDS})")
    parser.add_argument("--pairs", type=_natural, help=f"runs on each side (default {FULL_PAIRS})")
    patience = f"seconds to wait, all in all, for a calm machine (default {PATIENCE_SECONDS})"
    parser.add_argument("--patience", type=_natural, default=PATIENCE_SECONDS, help=patience)
    return parser


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _raise_file_limit() -> None:
    """Thousands of sockets are open at once; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise BenchError(f"at most {hard} open files are allowed here, {wanted} are needed: raise `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
