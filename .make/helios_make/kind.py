"""What the files for kind and for the workflow are checked with: kind's own reader, and actionlint. Built by Go."""

from pathlib import Path

from helios_make.go_program import GoProgram

__all__ = ["ACTIONLINT", "CONFIGURATION", "READER"]

CONFIGURATION = Path("e2e", "kind", "cluster.yaml")
"""The cluster of level kind."""
TOOLS = Path("e2e", "kind", "tools")
READER = GoProgram("kind-reader", TOOLS / "reader", ".", seconds=10, megabytes=5)
"""Prints what kind makes of a configuration."""
ACTIONLINT = GoProgram(
    "actionlint", TOOLS / "actionlint", "github.com/rhysd/actionlint/cmd/actionlint", seconds=30, megabytes=10
)
