"""Measure the probes on the packaged `mini`, and put the figures into the facts that stand beside its heads.

    python benchmarks/probe_mini.py

Nothing is trained; `build_mini.py` does the same at its end. Takes about three minutes of processor time.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import probes
from clip_italian.models import mini_facts
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder

EACH, SEED = 50, 1


def add(heads: Path) -> Mapping[str, Any]:
    """Write the figures into the facts beside a heads file, all else as it is; return the figures."""
    facts = mini_facts.read(heads)
    if facts is None:
        raise UserError(f"{heads.with_name(mini_facts.FILE)}: not there; make it by benchmarks/build_mini.py")
    code = facts.info["language"]
    words = languages.get(code).probes
    if words is None:
        raise UserError(f"language {code!r}: no words for the probes; add them to its language file")
    encoder = DualEncoder.load(mini.trained_folder(heads))
    probe = probes.probe(encoder, words, code, EACH, SEED)
    mini_facts.write(heads, facts.info, facts.results, facts.costs, probe)
    return probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=Path, default=mini.HEADS, help="heads file; the facts lie beside it")
    probe = add(parser.parse_args().heads)
    for kind in probes.KINDS:
        low, high = probe[kind]["interval"]
        print(f"{kind}: {probe[kind]['accuracy']:.3f} [{low:.3f}, {high:.3f}], chance {probe[kind]['chance']:.3f}")


if __name__ == "__main__":
    main()
