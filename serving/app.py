"""The server's routes."""

import base64
import binascii
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field, StrictBool, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field as FormField
from python_multipart.multipart import File, FormParser, parse_options_header
from starlette.exceptions import HTTPException as StarletteHTTPException

from serving import protocol
from serving.guard import Guard
from serving.log import Correction, Log, Read
from serving.reading import Digit, Reader, opened
from serving.service import Service, Settings, new_id, received
from stages.common.entry import UserError
from stages.pages.templates import environment

CORRECTION = 64 << 10  # bytes of a body of /corrections
PARTS = 16  # of a form

Text = Annotated[str, Field(strict=True)]


class Picture(BaseModel):
    """A picture as JSON."""

    picture: Text = Field(description="a picture file (PNG, JPEG, …) in base64")
    several: StrictBool = Field(False, description="read all digits in the picture, not just one")


class Found(BaseModel):
    """One digit of an answer."""

    label: str
    sure: bool = Field(description="whether the confidence reaches the threshold")
    confidence: float
    probabilities: list[float] = Field(description="in order of the classes")
    box: tuple[int, int, int, int] = Field(description="left, top, right, bottom in pixels of the picture")
    done: list[str] = Field(description="what was done to prepare it")
    image: str = Field(description="what the model saw: base64 of its pixels, row by row")


class Model(BaseModel):
    """What answered."""

    title: str
    commit: str | None


class Answer(BaseModel):
    """What was read in a picture."""

    id: str
    text: str = Field(description="the labels in reading order, ? for one that is not sure")
    milliseconds: float
    message: str | None
    digits: list[Found]
    model: Model


class Corrected(BaseModel):
    """What a person says that a digit is."""

    id: str = Field(strict=True, min_length=26, max_length=26, description="the id of the answer")
    digit: int = Field(strict=True, ge=0, lt=10_000, description="the place of the digit in the answer, from 0")
    label: Text
    image: Text = Field(description="`image` of the digit")


class Error(BaseModel):
    """Why there is no answer."""

    error: str


def create(reader: Reader, log: Log, settings: Settings) -> FastAPI:
    """The application that reads with `reader`, and with a like Reader for each further thread, and writes to `log`."""
    service = Service(reader, log, settings)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title=f"Digits of {reader.title}", docs_url=None, redoc_url=None, lifespan=life)
    app.add_middleware(
        Guard,
        metrics=service.metrics,
        hosts=settings.hosts,
        port=settings.port,
        token=settings.token,
        seconds=settings.seconds,
    )
    app.add_exception_handler(StarletteHTTPException, http_error)
    app.add_exception_handler(UserError, user_error)
    errors: dict[int | str, dict[str, Any]] = {
        400: {"model": Error, "description": "The request is malformed"},
        413: {"model": Error, "description": f"The body has more than {settings.body:,} bytes"},
        422: {"model": Error, "description": "The file is no picture, or a too large one"},
        429: {"model": Error, "description": "Too many requests wait"},
        503: {"model": Error, "description": "It took too long"},
    }

    @app.post("/predict", responses={200: {"model": Answer}, **errors}, openapi_extra={"requestBody": picture_body()})
    async def predict(request: Request) -> Response:
        """Read the digits in a picture."""
        content_type = request.headers.get("content-type", "")
        return await service.answered(
            request, lambda own, body, start: predicted(own, body, content_type, start, settings.commit)
        )

    @app.post("/corrections", status_code=204, openapi_extra={"requestBody": json_body(Corrected)})
    async def correct(request: Request) -> Response:
        """Say what a digit really is."""
        with service.pool.place():
            body = await received(request, CORRECTION)
            await service.logged(correction(body, reader))
        return Response(status_code=204)

    @cache
    def written_page() -> str:
        from stages.package import page

        return page.render({"commit": settings.commit} | reader.package.model_dump(), None)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        return written_page()

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs(request: Request) -> str:
        template = environment(Path(__file__).parent).get_template("docs.html.j2")
        return template.render(schema=app.openapi(), address=str(request.base_url).rstrip("/"))

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server is up."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.include_router(protocol.routes(service))
    return app


async def http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": one_line(error.detail)}, error.status_code, error.headers)


async def user_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": one_line(str(error))}, 422)


def one_line(text: str) -> str:
    return " ".join(text.split())


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}


def picture_body() -> dict[str, Any]:
    """The two forms of a body of /predict, for OpenAPI."""
    body = json_body(Picture)
    form = {"picture": {"type": "string", "format": "binary"}, "several": {"type": "boolean", "default": False}}
    schema = {"type": "object", "properties": form, "required": ["picture"]}
    body["content"] = {"multipart/form-data": {"schema": schema}} | body["content"]
    return body


def predicted(
    reader: Reader, body: bytes, content_type: str, start: float, commit: str | None
) -> tuple[Response, Read]:
    """The answer to a request for the digits in a picture, and what is logged of it.

    Raises `UserError` if the body holds no picture, `HTTPException` if it does not even hold a file.
    """
    file, name, several = picture_file(body, content_type)
    digits = reader.read(opened(io.BytesIO(file), name), several)
    number = {label: place for place, label in enumerate(reader.classes)}
    read = Read(
        request=new_id(),
        milliseconds=(time.perf_counter() - start) * 1000,
        predicted=np.array([number[digit.label] for digit in digits], np.int64),
        confidence=np.array([digit.confidence for digit in digits], np.float64),
        images=np.array([digit.image for digit in digits], np.uint8),
        prepared=True,
    )
    labels = [digit.label if digit.sure else "?" for digit in digits]
    answer = {
        "id": read.request,
        "text": ("" if all(len(label) == 1 for label in reader.classes) else " ").join(labels),
        "milliseconds": round(read.milliseconds, 3),
        "message": None if digits else "no digit found",
        "digits": [found(digit) for digit in digits],
        "model": {"title": reader.title, "commit": commit},
    }
    return Response(json.dumps(answer), media_type="application/json"), read


def found(digit: Digit) -> dict[str, Any]:
    return {
        "label": digit.label,
        "sure": bool(digit.sure),
        "confidence": round(float(digit.confidence), 6),
        "probabilities": [round(probability, 6) for probability in digit.probabilities.tolist()],
        "box": [int(edge) for edge in digit.box],
        "done": digit.done,
        "image": base64.b64encode(digit.image.tobytes()).decode(),
    }


def picture_file(body: bytes, content_type: str) -> tuple[bytes, str, bool]:
    """The file in a body of /predict, its name, and whether all digits in it are wanted."""
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return form_file(body, options.get(b"boundary"))
    if kind != b"application/json":
        raise HTTPException(415, "send a form (multipart/form-data) with a file `picture`, or JSON")
    try:
        asked = Picture.model_validate_json(body)
        return decoded(asked.picture, "picture"), "picture", asked.several
    except ValidationError as error:
        raise HTTPException(400, first_mistake(error)) from None


def form_file(body: bytes, boundary: bytes | None) -> tuple[bytes, str, bool]:
    """The same of a form."""
    parts: dict[bytes, tuple[bytes, bytes]] = {}  # name: file name, contents

    def keep(part: File | FormField) -> None:
        if isinstance(part, File):
            part.file_object.seek(0)
            named, content = part.file_name or b"picture", part.file_object.read()
        else:
            named, content = b"picture", part.value or b""
        parts[part.field_name or b""] = (named, content)
        if len(parts) > PARTS:
            raise FormParserError("too many parts")

    try:
        form = FormParser(
            "multipart/form-data", keep, keep, boundary=boundary, config={"MAX_MEMORY_FILE_SIZE": len(body) + 1}
        )
        form.write(body)
        form.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"the form cannot be read ({error})") from None
    several = parts.get(b"several", (b"", b"false"))[1].strip().lower()
    if several not in (b"true", b"false"):
        raise HTTPException(400, "`several` must be true or false")
    if b"picture" not in parts:
        raise HTTPException(400, "the form has no file `picture`")
    name, content = parts[b"picture"]
    return content, name.decode("utf-8", "replace"), several == b"true"


def correction(body: bytes, reader: Reader) -> Correction:
    """What a body of /corrections says. Raises `HTTPException` 400 or 422."""
    try:
        said = Corrected.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(400, first_mistake(error)) from None
    image = np.frombuffer(decoded(said.image, "image"), np.uint8)
    if said.label not in reader.classes:
        raise HTTPException(422, f"label {said.label!r} is none of {', '.join(reader.classes)}")
    if image.size != np.prod(reader.shape):
        raise HTTPException(422, f"image has {image.size} pixels: send the `image` of the answer")
    return Correction(said.id, said.digit, reader.classes.index(said.label), image, time.time())


def decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(400, f"{name} is not base64") from None


def first_mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])
