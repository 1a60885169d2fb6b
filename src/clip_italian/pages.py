"""HTML pages and Markdown from the package's jinja2 templates; pages are self-contained, with pictures as data URLs."""

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
    """Render a template into a file, atomically."""
    text = render(template, **values)
    with staged(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """Render a template to text."""
    return _ENVIRONMENT.get_template(template).render(**values)


def thumbnail(image: Image.Image, side: int = 200) -> str:
    """A picture as a `data:` URL of a JPEG with sides of at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side))
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode("ascii")
