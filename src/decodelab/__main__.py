"""`python -m decodelab`: the same as the command `decodelab`."""

from decodelab.cli.main import main

main()
