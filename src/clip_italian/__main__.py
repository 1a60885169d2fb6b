"""Entry point of `python -m clip_italian`."""

from clip_italian.cli import main

main()
