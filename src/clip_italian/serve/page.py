"""The web page and the description of the API: rendered once, from templates, with nothing from elsewhere."""

import json
from pathlib import Path

from fastapi import APIRouter, FastAPI, Response

from clip_italian import pages
from clip_italian.languages import Language

_TEMPLATES = Path(pages.__file__).parent / "templates" / "serve"


def routes(app: FastAPI, language: Language) -> APIRouter:
    """/, /docs, and the style and script that both use."""
    router = APIRouter(include_in_schema=False)
    words = json.loads((_TEMPLATES / "words.json").read_text(encoding="utf-8"))
    queries = (*language.paper_queries, *language.example_queries[:4])
    home = pages.render("serve/page.html", words=words, start=words["it"], queries=queries)

    def fixed(path: str, media_type: str, content: str) -> None:
        @router.get(path)
        async def answer() -> Response:
            return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    fixed("/", "text/html", home)
    fixed("/page.css", "text/css", (_TEMPLATES / "page.css").read_text(encoding="utf-8"))
    fixed("/page.js", "text/javascript", (_TEMPLATES / "page.js").read_text(encoding="utf-8"))

    @router.get("/docs")
    async def docs() -> Response:
        return Response(pages.render("serve/docs.html", api=app.openapi()), media_type="text/html")

    return router
