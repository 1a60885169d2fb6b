"""What the site has beyond the pages in this folder, made while MkDocs builds it: no second copy lies in git.

- `benchmarks/RESULTS.md`, `CHANGELOG.md` and the notebook become pages.
- Links that leave this folder work on GitHub as they are. Here they lead to the page that stands for the file, or to
  one that shows the file or the folder (`source/…`).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
MADE = {
    "benchmarks/RESULTS.md": "performance.md",
    "CHANGELOG.md": "changelog.md",
    "notebooks/first-steps.ipynb": "first-steps.md",
}
_PAGES = MADE | {"README.md": "index.md", "README.it.md": "index.md"}
_ORIGINS = {page: file for file, page in MADE.items()}
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCED = re.compile(r"^(`{3,}).*?^\1$", re.DOTALL | re.MULTILINE)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files, and those that show what pages link to."""
    texts = {f"docs/{file.src_uri}": Path(file.abs_src_path).read_text("utf-8") for file in files.documentation_pages()}
    for name, page in MADE.items():
        texts[name] = as_markdown(ROOT / name)
        files.append(File.generated(config, page, content=texts[name]))
    names = {found for origin, text in texts.items() for found in shown(text, origin)}
    for page, content in dict(made for name in sorted(names) for made in source_pages(name)).items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to pages."""
    origin = _ORIGINS.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return rewritten(markdown, origin, page.file.src_uri)


def rewritten(markdown: str, origin: str, page: str) -> str:
    """A page's text, written at `origin` in the repository, for its place `page` in the site."""

    def replace(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        uri = target_page(target, origin)
        return match[0] if uri is None else f"]({relpath(uri, str(PurePosixPath(page).parent))}{anchor})"

    return "".join(part if is_code else _LINK.sub(replace, part) for is_code, part in _parts(markdown))


def target_page(target: str, origin: str) -> str | None:
    """The page in the site that a link from the file `origin` means; None where it can stay as it is."""
    name = normpath(str(PurePosixPath(origin).parent / target))
    if name in _PAGES:
        return _PAGES[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return _source(name) if (ROOT / name).exists() else None


def shown(markdown: str, origin: str) -> Iterator[str]:
    """Files and folders outside docs/ that a text links to, and that no page stands for."""
    for is_code, part in _parts(markdown):
        for match in () if is_code else _LINK.finditer(part):
            name = normpath(str(PurePosixPath(origin).parent / match[1]))
            if name not in _PAGES and not name.startswith("docs/") and (ROOT / name).exists():
                yield name


def source_pages(name: str) -> Iterator[tuple[str, str]]:
    """The page that shows a file; for a folder a list and the pages of the files in it."""
    path = ROOT / name
    inside = sorted(file for file in path.iterdir() if file.is_file() and _is_text(file)) if path.is_dir() else [path]
    for file in inside:
        fence = f"````{_LANGUAGES.get(file.suffix, 'text')}"
        text = file.read_text("utf-8").replace("````", "```")
        yield _source(f"{file.relative_to(ROOT)}"), _page(f"{file.relative_to(ROOT)}", f"{fence}\n{text}\n````")
    if path.is_dir():
        yield _source(name), _page(name, "\n".join(f"- [{file.name}]({path.name}/{file.name}.md)" for file in inside))


def as_markdown(path: Path) -> str:
    """A text file as it is, a notebook as its texts and code."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
    return "\n\n".join(cell if kind == "markdown" else f"```python\n{cell}\n```" for cell, kind in cells)


def _source(name: str) -> str:
    return f"source/{name}.md"


def _page(title: str, body: str) -> str:
    return f"---\nsearch:\n  exclude: true\n---\n\n# {title}\n\n{body}\n"


def _is_text(path: Path) -> bool:
    return path.suffix in _LANGUAGES or path.suffix in (".md", ".txt")


def _parts(markdown: str) -> Iterator[tuple[bool, str]]:
    """The text piece by piece, each with whether it is a fenced block of code."""
    end = 0
    for match in _FENCED.finditer(markdown):
        yield False, markdown[end : match.start()]
        yield True, match[0]
        end = match.end()
    yield False, markdown[end:]
