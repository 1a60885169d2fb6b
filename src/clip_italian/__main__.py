"""`python -m clip_italian`: the command, where its name is not on the path."""

from clip_italian.cli import main

main()
