"""Run the README's lines that search a folder, word for word, in a HOME with a few drawn pictures.

    python .ci/three_lines.py README.md HOME

The model's encoders go to HOME's cache, or to $CLIP_ITALIAN_CACHE where it is set.
"""

import os
import re
import sys
from pathlib import Path

from PIL import Image, ImageDraw

readme, home = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
(home / "Pictures").mkdir(parents=True)
for name, colour in (("rosso", "red"), ("verde", "green"), ("blu", "blue")):
    picture = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(picture).ellipse((100, 50, 200, 150), fill=colour)
    picture.save(home / "Pictures" / f"{name}.png")

os.environ["HOME"] = str(home)
blocks = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
(code,) = (block for block in blocks if "Pictures" in block)
scope: dict = {}
exec(code, scope)
assert len(scope["pictures"]) == 3
best = scope["pictures"].search("un cerchio rosso", k=3)
assert {hit.path.name for hit in best} == {"rosso.png", "verde.png", "blu.png"}, best
assert best[0].open().size == (300, 200)
print(f"the README's lines search {len(best)} pictures")
