"""The web page and the API's documentation: rendered from templates, without anything from other servers."""

import json
from pathlib import Path

from fastapi import APIRouter, FastAPI, Response

from clip_italian import pages
from clip_italian.languages import Language
from clip_italian.search.filters import WITHIN
from clip_italian.serve.service import Service

_TEMPLATES = Path(pages.__file__).parent / "templates" / "serve"
_ENGLISH, _ENGLISH_NAME = "en", "English"
_HINTS = ("unlike_hint", "labels_hint", "where_hint")


def routes(app: FastAPI, service: Service) -> APIRouter:
    """The routes /, /docs, and the style and scripts of both."""
    router, language = APIRouter(include_in_schema=False), service.language
    queries = (*language.paper_queries, *language.example_queries[:4])
    words = page_words(language)
    first = next(iter(words))
    home = pages.render(
        "serve/page.html", words=words, start=words[first], spoken=first, language=language, queries=queries,
        skip=service.limits.skip, places=service.places, radius=WITHIN,
    )  # fmt: skip

    def fixed(path: str, media_type: str, content: str) -> None:
        @router.get(path)
        async def answer() -> Response:
            return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    fixed("/", "text/html", home)
    for name in ("page.css", "page.js", "search.js"):
        media_type = "text/css" if name.endswith(".css") else "text/javascript"
        fixed(f"/{name}", media_type, (_TEMPLATES / name).read_text(encoding="utf-8"))

    @router.get("/docs")
    async def docs() -> Response:
        return Response(pages.render("serve/docs.html", api=app.openapi()), media_type="text/html")

    return router


def page_words(language: Language) -> dict[str, dict[str, str]]:
    """The page's words by language code: the service's own, if its file has any, then English.

    Example searches stay in the service's language, which is the one that the model reads.
    """
    english = json.loads((_TEMPLATES / "words.json").read_text(encoding="utf-8"))
    own = dict(language.page)
    hints = {"query_hint": language.paper_queries[0]} | {name: own.get(name, "") for name in _HINTS}
    translated = {name: text.replace("{language}", language.english_name) for name, text in english.items()}
    found = {language.code: own | hints | {"other_language": _ENGLISH_NAME}} if own else {}
    return found | {_ENGLISH: translated | hints | {"other_language": language.name.capitalize()}}
