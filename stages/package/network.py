"""The shipped network as JSON, for network.js to compute in a browser."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from stages.common.entry import UserError
from stages.quiet import silence

WINDOWED = {"CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D"}
REDUCTIONS = {"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"}
ELEMENTWISE = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"}
ELEMENTWISE |= {"RELU", "RELU6", "TANH", "LOGISTIC", "LOG", "EXP", "SQRT", "RSQRT", "SQUARE"}
OPERATIONS = WINDOWED | REDUCTIONS | ELEMENTWISE | {"FULLY_CONNECTED", "RESHAPE", "SOFTMAX", "LOG_SOFTMAX"}


def unsupported(path: Path) -> list[str]:
    """What the model at `path` uses and network.js cannot compute, sorted; [] if it can run in a browser.

    Names of LiteRT's operations, such as `RESIZE_BILINEAR` or, of a quantised model, `CONV_2D on INT8`.
    Raises `UserError` if the file holds no model.
    """
    _, model = _opened(path)
    graph = model.subgraphs[0]
    return sorted({name for each in graph.operators if (name := _refused(each, _name(model, each), graph.tensors))})


def as_json(path: Path) -> str:
    """The float32 model at `path`, for one image, as JSON text in ASCII.

    `tensors` gives, by number, each tensor's `shape` and, of a constant, its `data`: float32, little endian, in base64.
    `operations`, in the order to compute them, have a `name`, numbers of `inputs` and of the `output`, and `options`.
    `input` and `output` are the numbers of the image and of the probabilities.

    Raises `UserError` if the file holds no model, or one of which something is `unsupported`.
    """
    if names := unsupported(path):
        raise UserError(f"{path}: a browser cannot run {', '.join(names)}: see OPERATIONS in stages/package/network.py")
    interpreter, model = _opened(path)
    # One image is the size that the file gives. Some shapes are known only after a computation.
    interpreter.allocate_tensors()
    interpreter.invoke()
    shapes = {tensor["index"]: tensor["shape"].tolist() for tensor in interpreter.get_tensor_details()}
    graph = model.subgraphs[0]
    operations, used = [], {}
    for operator in graph.operators:
        if not _floats(operator.outputs, graph.tensors):
            continue  # arithmetic of shapes, which are known
        inputs = [int(index) for index in operator.inputs if index >= 0 and _floats([index], graph.tensors)]
        numbers = {"inputs": inputs, "output": int(operator.outputs[0])}
        name = _name(model, operator)
        options = _options(name, operator, shapes, interpreter)
        operations.append({"name": name, **numbers, "options": options})
        for index in (*inputs, numbers["output"]):
            used[index] = {"shape": shapes[index]} | _data(model.buffers[graph.tensors[index].buffer])
    ends = {"input": int(graph.inputs[0]), "output": int(graph.outputs[0])}
    return json.dumps({**ends, "operations": operations, "tensors": used}, separators=(",", ":"))


def _opened(path: Path) -> tuple[Any, Any]:
    """The model as LiteRT's interpreter, which knows the shapes, and as a tree of tables, which has the options."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # a delegate would hide the tensors between operations
    with silence():
        try:
            interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
        except ValueError as error:
            raise UserError(f"{path}: not a LiteRT model ({error}): train again") from None
    return interpreter, schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)


def _name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return code.customCode.decode() if code.customCode else _key(schema.BuiltinOperator, code.builtinCode)


def _key(enumeration: type, value: int) -> str:
    return next(key for key, number in vars(enumeration).items() if number == value)


def _floats(indices: Any, tensors: Any) -> bool:
    return any(tensors[index].type == schema.TensorType.FLOAT32 for index in indices)


def _refused(operator: Any, name: str, tensors: Any) -> str | None:
    """The name of what the operation needs and network.js lacks; None if it lacks nothing."""
    taken = [tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    numbers = {schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.INT64}
    for tensor in taken:
        if tensor.type not in numbers:
            return f"{name} on {_key(schema.TensorType, tensor.type)}"
    if not _floats(operator.outputs, tensors):
        return None
    if name not in OPERATIONS:
        return name
    activation = _activation(operator)
    if activation not in OPERATIONS | {"NONE"}:
        return f"{name} with {activation}"
    if name == "CONV_2D" and taken[0].shape[3] != taken[1].shape[3]:
        return f"{name} in groups"
    return None


def _activation(operator: Any) -> str:
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
    return _key(schema.ActivationFunctionType, fused)


def _options(name: str, operator: Any, shapes: dict[int, list[int]], interpreter: Any) -> dict[str, Any]:
    """What network.js must know of an operation besides its tensors."""
    given = operator.builtinOptions
    options: dict[str, Any] = {}
    if (activation := _activation(operator)) != "NONE":
        options["activation"] = activation
    shape = shapes[operator.inputs[0]]
    if name in WINDOWED:
        pooled = name.endswith("POOL_2D")
        size = (given.filterHeight, given.filterWidth) if pooled else shapes[operator.inputs[1]][1:3]
        dilation = (1, 1) if pooled else (given.dilationHFactor, given.dilationWFactor)
        strides = (given.strideH, given.strideW)
        before = [0, 0]
        if given.padding == schema.Padding.SAME:
            ends = shapes[operator.outputs[0]][1:3]
            spans = [(end - 1) * stride + (n - 1) * d + 1 for end, stride, n, d in zip(ends, strides, size, dilation)]
            before = [max(0, span - length) // 2 for span, length in zip(spans, shape[1:3])]
        options |= {"size": list(size), "strides": list(strides), "dilation": list(dilation), "before": before}
    elif name in REDUCTIONS:
        axes = np.atleast_1d(interpreter.get_tensor(operator.inputs[1])) % len(shape)
        options["kept"] = [1 if axis in axes else length for axis, length in enumerate(shape)]
    elif name == "SOFTMAX":
        options["beta"] = given.beta
    return options


def _data(buffer: Any) -> dict[str, str]:
    """Of a constant, whose buffer is not empty."""
    content = buffer.data
    return {} if content is None or not len(content) else {"data": base64.b64encode(bytes(content)).decode()}
