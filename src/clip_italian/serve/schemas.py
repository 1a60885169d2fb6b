"""Requests and responses of the API, for FastAPI and its OpenAPI description."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from clip_italian import languages
from clip_italian.pictures import dates

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
# OpenAPI's date-time has a zone, a picture's date has none.
LocalTime = Annotated[datetime, WithJsonSchema({"type": "string", "description": "Local time: 2024-06-01T18:30:00."})]
Row = Annotated[int, Field(ge=0, lt=2**63, description="Permanent number of a picture, from a search.")]


def _given(end: int) -> BeforeValidator:
    """Reads a day, month or year as its first (0) or last (1) day, in the forms of the command line."""

    def day(value: Any) -> Any:
        span = dates.span(value) if isinstance(value, str) else None
        whole = span is not None and span[1] - span[0] >= timedelta(hours=23)
        return span[end].date() if span is not None and whole else value

    return BeforeValidator(day, json_schema_input_type=str | None)


class Problem(BaseModel):
    """The reason of an error, in one line."""

    error: str


class SearchParams(BaseModel):
    """A search. Several texts are wordings of one search."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    text: list[Text] = Field([], description="Words, in the language of the service.")
    unlike: list[Text] = Field([], alias="not", description="Words for what should not be there.")
    like: list[Row] = Field([], description="Rows of pictures of the index: what is found is similar to them.")
    k: int = Field(12, ge=1, description="How many pictures.")
    skip: int = Field(0, ge=0, description="Skip this many of the best: for pages.")
    folder: Text | None = Field(None, description="Only pictures below this folder of an indexed folder.")
    source: Text | None = Field(None, description="Only pictures of this source.")
    license: Text | None = Field(None, description="Only pictures under this licence.")
    since: Annotated[date | None, _given(0)] = Field(
        None, ge=date(1800, 1, 1), le=date(2999, 1, 1), description="Taken then or later: a day, month or year."
    )
    until: Annotated[date | None, _given(1)] = Field(
        None, ge=date(1800, 1, 1), le=date(2999, 1, 1), description="Taken then or earlier, including all of it."
    )
    near: Text | None = Field(None, description="Only taken near this town, or latitude and longitude, as 45.46,9.19.")
    within: Text = Field("20km", description="Radius around it: 20km, 500m.")
    keyword: list[Text] = Field([], max_length=20, description="Only pictures with all of these keywords in the file.")
    camera: Text | None = Field(None, description="Only pictures from a camera with this in its name.")
    words: str | None = Field(
        None, description="Words in names, keywords, captions, places, dates. Absent: those of the text; empty: none."
    )
    copies: bool = Field(False, description="Show copies of a picture one by one.")
    exact: bool = Field(False, description="Look at every vector, also in a large index.")


class Picture(BaseModel):
    """A picture found: rank from 1, cosine, and the probability of a match where the index is calibrated.

    `row` is its permanent number; `picture` is its path on the service, after --root-path if set. `folder` holds it,
    below an indexed folder; empty for none. `copies` are rows that show the same picture. `taken` is local time without
    a zone, coordinates are in degrees; null where unknown.
    """

    rank: int
    row: int
    id: str
    folder: str
    picture: str
    score: float
    probability: float | None
    copies: list[int]
    taken: LocalTime | None
    latitude: float | None
    longitude: float | None


class Details(BaseModel):
    """What the index knows of a picture beside what a search gives; null where it is not known."""

    caption: str | None
    title: str | None
    description: str | None
    keywords: list[str] | None
    location: str | None
    camera: str | None
    source: str | None
    license: str | None
    page: str | None


class SearchResult(BaseModel):
    """Pictures found, best first, of `pictures` in the index; and the time taken, including the embedding."""

    hits: list[Picture]
    pictures: int
    model: str
    milliseconds: float


class Label(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class Classified(BaseModel):
    """All labels, most probable first. Probabilities sum to one, unless each label was judged independently."""

    labels: list[Label]
    each: bool
    model: str
    milliseconds: float


class Box(BaseModel):
    """Parts of the picture's width and height, from 0 to 1: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


class Located(BaseModel):
    """Where the words are: a box, and an overlay (data: URL of a JPEG) with the box and a heat map.

    They are always found somewhere. `encoded` is the number of pictures that the encoder processed.
    """

    box: Box
    overlay: str
    encoded: float
    model: str
    milliseconds: float


class Texts(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(extra="forbid")

    texts: list[Text] = Field(min_length=1, examples=[list(languages.get(languages.DEFAULT).paper_queries[:1])])


class Embedded(BaseModel):
    """Embeddings of unit length, `dim` numbers each."""

    embeddings: list[list[float]]
    dim: int
    model: str
    model_hash: str
    milliseconds: float


class ModelFacts(BaseModel):
    """The model and the index of the service."""

    model: str
    model_hash: str
    dim: int
    parameters: int
    longest_text: int
    language: str
    pictures: int
    search: str
    calibrated: bool
    version: str


class Health(BaseModel):
    """The state of the service: its index was last `updated`, and last compared with its folders (`checked`).

    `watching` is false without --watch, and where the process that watches the folders has ended.
    """

    status: str
    pictures: int
    updated: datetime | None
    checked: datetime | None
    watching: bool
