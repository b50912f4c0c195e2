"""What `make TARGET` runs: `.make/run TARGET`. Only the standard library, since nothing is installed yet."""

import sys

from helios_make.targets import main

sys.exit(main(sys.argv[1:]))
