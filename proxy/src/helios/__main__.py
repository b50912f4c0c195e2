"""`python -m helios`: the same as the `helios` command."""

import sys

from helios.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
