"""A run in a process of its own, to be killed: ADDRESSES OUTPUT PAGES."""

import sys
from pathlib import Path

from clip_italian.sources.collect import collect
from clip_italian.sources.ilpost import IlPost
from clip_italian.sources.web import Manners

if __name__ == "__main__":
    addresses, output, pages = map(Path, sys.argv[1:])
    collect("ilpost", IlPost(pages, Manners(rate=20.0)), {}, [addresses], output)
