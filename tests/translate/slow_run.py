"""A run in a process of its own, to be killed: SOURCE OUTPUT CACHE URL PARALLEL."""

import sys
from pathlib import Path

from clip_italian.translate.deepl import DeepL, Options
from clip_italian.translate.run import translate

if __name__ == "__main__":
    source, output, cache, url, parallel = sys.argv[1:]
    engine = DeepL(Options("EN", "IT"), url, int(parallel))
    translate(Path(source), Path(output), engine, Path(cache))
