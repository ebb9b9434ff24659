"""The Open Inference Protocol, version 2, which the clients of KServe, Triton and others speak.

    https://github.com/kserve/open-inference-protocol

With JSON, and with tensors as bytes after the JSON (the binary tensor data extension). The input `images` holds raw
pixels, the output `probabilities` a row for each image.
"""

import json
import time
import zlib
from math import prod
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response

from serving.log import Read
from serving.reading import Reader
from serving.service import Service, new_id

MODEL, VERSION, INPUT, OUTPUT = "digits", "1", "images", "probabilities"
IMAGES = 1000  # in one request
DATATYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
LENGTH = "Inference-Header-Content-Length"
INFLATE = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
JSON_BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}


def refused(words: str) -> HTTPException:
    return HTTPException(400, words)


def routes(service: Service) -> APIRouter:
    """Everything under /v2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    reader = service.reader

    @router.get("")
    async def server() -> dict[str, Any]:
        """The server and the extensions it knows."""
        return {"name": "serving", "version": VERSION, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live")
    async def live() -> dict[str, Any]:
        """Whether the server is up."""
        return {"live": True}

    @router.get("/health/ready")
    async def ready() -> dict[str, Any]:
        """Whether it can answer."""
        return {"ready": True}

    async def metadata(model: str, version: str = VERSION) -> dict[str, Any]:
        """Names, datatypes and shapes of the model's input and output."""
        check_name(model, version)
        return {
            "name": MODEL,
            "versions": [VERSION],
            "platform": "litert",
            "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *reader.shape]}],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(reader.classes)]}],
        }

    async def model_ready(model: str, version: str = VERSION) -> dict[str, Any]:
        """Whether the model can answer."""
        check_name(model, version)
        return {"name": MODEL, "ready": True}

    async def infer(request: Request, model: str, version: str = VERSION) -> Response:
        """Probabilities of up to 1,000 `images`: UINT8 or FP32 from 0 to 255, [N, 28, 28, 1] or [N, 28, 28]."""
        check_name(model, version)
        headers = dict(request.headers)
        return await service.answered(request, lambda own, body, start: inferred(own, body, headers, start))

    for path in ("/models/{model}", "/models/{model}/versions/{version}"):
        router.get(path)(metadata)
        router.get(f"{path}/ready")(model_ready)
        router.post(f"{path}/infer", response_class=Response, openapi_extra={"requestBody": JSON_BODY})(infer)
    return router


def check_name(model: str, version: str) -> None:
    if model != MODEL:
        raise refused(f"unknown model {model!r}: this server has {MODEL!r}")
    if version != VERSION:
        raise refused(f"unknown version {version!r} of {MODEL!r}: this server has {VERSION!r}")


def inferred(reader: Reader, body: bytes, headers: dict[str, str], start: float) -> tuple[Response, Read]:
    """The answer to a request of inference, and what is logged of it."""
    document, rest = taken_apart(inflated(body, headers.get("content-encoding")), headers.get(LENGTH.lower()))
    binary = wants_bytes(document)
    images = tensor(document, rest, reader.shape)
    pixels = images if images.dtype == np.uint8 else images.reshape(-1, *reader.shape)
    probabilities = reader.probabilities(pixels)
    predicted = probabilities.argmax(axis=1)
    read = Read(
        request=new_id(),
        milliseconds=(time.perf_counter() - start) * 1000,
        predicted=predicted,
        confidence=probabilities[np.arange(len(predicted)), predicted],
        images=images if images.dtype == np.uint8 else images.round().astype(np.uint8),
        prepared=False,
    )
    return answer(document.get("id") or read.request, probabilities, binary), read


def inflated(body: bytes, encoding: str | None) -> bytes:
    """`body` without the compression that `encoding` names. What it inflates to is as bounded as any tensor is."""
    if encoding in (None, "identity"):
        return body
    if encoding not in INFLATE:
        raise HTTPException(415, f"Content-Encoding {encoding!r}: send gzip, deflate or nothing")
    limit = 8 << 20  # as much as a body that is not compressed may have
    try:
        inflater = zlib.decompressobj(INFLATE[encoding])
        whole = inflater.decompress(body, limit)
    except zlib.error as error:
        raise refused(f"the body is not {encoding} ({error})") from None
    if not inflater.eof:
        raise refused(f"the body, {encoding}, ends early or inflates to more than {limit:,} bytes")
    return whole


def taken_apart(body: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request and the bytes behind it. `length` is the header that says how long the JSON is."""
    size = len(body)
    if length is not None:
        if not length.isdecimal() or len(length) > 9 or int(length) > len(body):
            raise refused(f"{LENGTH} is {length!r}, the body has {len(body)} bytes")
        size = int(length)
    try:
        document = json.loads(body[:size])
    except (ValueError, RecursionError):
        raise refused("the request is not JSON") from None
    if not isinstance(document, dict):
        raise refused("the request must be a JSON object with `inputs`")
    if not isinstance(document.get("id", ""), str):
        raise refused("`id` must be text")
    return document, body[size:]


def parameters(of: dict[str, Any], where: str) -> dict[str, Any]:
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise refused(f"`parameters` of {where} must be an object")
    if "shared_memory_region" in found or "classification" in found:
        raise refused(f"{where}: shared memory and classification are not supported")
    return found


def the_one(document: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """The only entry of the list `key`, which is called `name`."""
    entries = document.get(key)
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise refused(f"`{key}` must be a list with one entry, {name!r}")
    if entries[0].get("name") != name:
        raise refused(f"unknown name {entries[0].get('name')!r} in `{key}`: the model has {name!r}")
    return entries[0]


def wants_bytes(document: dict[str, Any]) -> bool:
    """Whether the probabilities are to come as bytes behind the JSON."""
    asked = parameters(document, "the request").get("binary_data_output", False)
    if document.get("outputs"):
        asked = parameters(the_one(document, "outputs", OUTPUT), OUTPUT).get("binary_data", asked)
    if not isinstance(asked, bool):
        raise refused("`binary_data` and `binary_data_output` must be true or false")
    return asked


def tensor(document: dict[str, Any], rest: bytes, image: list[int]) -> np.ndarray:
    """The images of a request: uint8 (N, height, width), or float32 likewise, all within 0..255. `image` is the
    model's shape; an image of one channel has no axis for it in the result."""
    entry = the_one(document, "inputs", INPUT)
    datatype, shape = entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise refused(f"{INPUT} has the datatype {datatype!r}: send {' or '.join(DATATYPES)}")
    plain = image[:-1] if image[-1] == 1 else image
    if not isinstance(shape, list) or shape[1:] not in (plain, image) or type(shape[0]) is not int:
        raise refused(f"{INPUT} has the shape {shape!r}: send {['N', *plain]}, with a number for N")
    if not 1 <= shape[0] <= IMAGES:
        raise refused(f"{INPUT} has {shape[0]} images: send 1 to {IMAGES}")
    size = parameters(entry, INPUT).get("binary_data_size")
    if size is None:
        values = listed(entry.get("data"), datatype)
    else:
        if size != len(rest):
            raise refused(f"binary_data_size of {INPUT} is {size!r}, but {len(rest)} bytes follow the JSON")
        if size % DATATYPES[datatype].itemsize:
            raise refused(f"{size} bytes are no whole number of {datatype}")
        values = np.frombuffer(rest, DATATYPES[datatype])
    if values.size != prod(shape):
        raise refused(f"{INPUT} has {values.size} values, its shape {shape} needs {prod(shape)}")
    # NaN is neither.
    if datatype == "FP32" and not (values.min() >= 0 and values.max() <= 255):
        raise refused(f"{INPUT} must be pixels from 0 to 255")
    return values.reshape(shape[0], *plain)


def listed(data: Any, datatype: str) -> np.ndarray:
    """The values of a tensor in JSON, flat or nested."""
    if not numbers(data):
        raise refused(f"`data` of {INPUT} must be a list of numbers of {datatype}, of {IMAGES * 784:,} at most")
    try:
        values = np.asarray(data)
    except (ValueError, RecursionError):
        raise refused(f"`data` of {INPUT} is ragged") from None
    if values.dtype.kind not in ("iu" if datatype == "UINT8" else "iuf") or values.ndim == 0:
        raise refused(f"`data` of {INPUT} must be a list of numbers of {datatype}")
    if datatype == "UINT8" and values.size and not (values.min() >= 0 and values.max() <= 255):
        raise refused(f"{INPUT} must be pixels from 0 to 255")
    return values.astype(DATATYPES[datatype])


def numbers(data: Any) -> bool:
    """Whether `data` is a list, perhaps nested, of numbers, not too many: of long text NumPy would make gigabytes."""
    stack, count = [data], 0
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif type(item) not in (int, float):
            return False
        count += 1
        if count + len(stack) > 2 * IMAGES * 784:  # images, rows and pixels may be lists of their own
            return False
    return isinstance(data, list)


def answer(name: str, probabilities: np.ndarray, binary: bool) -> Response:
    """`probabilities` (float32 (N, classes)) as the protocol has it."""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(probabilities.shape)}
    document = {"id": name, "model_name": MODEL, "model_version": VERSION, "outputs": [output]}
    if not binary:
        output["data"] = probabilities.ravel().tolist()
        return Response(json.dumps(document), media_type="application/json")
    tail = probabilities.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(tail)}
    head = json.dumps(document).encode()
    return Response(head + tail, media_type="application/octet-stream", headers={LENGTH: str(len(head))})
