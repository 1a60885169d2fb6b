"""Self-contained HTML pages, and Markdown: jinja2 templates of the package, pictures inside as data."""

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image

from clip_italian.files.atomic import staged

_ENVIRONMENT = Environment(
    loader=PackageLoader("clip_italian", "templates"),
    autoescape=select_autoescape(disabled_extensions=("md",), default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of the package into a file, in place at the end."""
    text = render(template, **values)
    with staged(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """A template of the package, filled in."""
    return _ENVIRONMENT.get_template(template).render(**values)


def thumbnail(image: Image.Image, side: int = 200) -> str:
    """A picture as a `data:` address of a JPEG of at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side))
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode("ascii")
