"""`python -m fasthash`."""

import sys

from fasthash.cli import main

if not sys.flags.safe_path:
    del sys.path[0]  # nothing is imported from the current directory, as by the installed command
main()
