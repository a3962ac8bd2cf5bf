"""`python -m fasthash`."""

from fasthash.cli import main

main()
