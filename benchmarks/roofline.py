"""The training step of a model as a table: what each operation computes, and how near to the processor's peak it runs.

    python -m benchmarks.roofline                   # the default model
    python -m benchmarks.roofline fnn --steps 500   # another network of the comparison; short steps need many
    python -m benchmarks.roofline --precision bfloat16

It reads `data/prepared`, so run `dvc repro preprocess` first. It traces short epochs of the real training loop, in
which as many operations as there are cores run side by side, each on one thread. Times are milliseconds of a core in
one step, from the quickest epoch, and add up to the time of a step on all cores. The waiting includes operations of a
few microseconds, which TensorFlow leaves out of a trace.

The peak is the best of several large matrix products in the same process and precision, one on each core. The number of
floating-point operations follows from the shapes: a multiplication and an addition for each element of a filter or
matrix at each place where it is used, padding included. A bias or an activation that TensorFlow fused with a
convolution or a product takes time in its row.

Linux counts how long threads waited for a core. All times are without that; what other programs do to caches and memory
remains.
"""

import argparse
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, get_args

from stages import cluster
from stages.common import parameters
from stages.train import processor
from stages.train.params import Train

SIDE = 2048  # of the matrices whose product shows the peak
SMALL_TOO = 3  # the level at which TensorFlow traces small operations too
CONVOLUTIONS = {
    "Conv2D": "convolution",
    "Conv2DBackpropInput": "convolution, input gradient",
    "Conv2DBackpropFilter": "convolution, filter gradient",
    "DepthwiseConv2dNative": "depthwise",
    "DepthwiseConv2dNativeBackpropInput": "depthwise, input gradient",
    "DepthwiseConv2dNativeBackpropFilter": "depthwise, filter gradient",
}
PRODUCTS = {  # by which of the two matrices is transposed
    (False, False): "product",
    (False, True): "product, input gradient",
    (True, False): "product, weight gradient",
}
# The kind of any other operation is the first whose pattern is found in `FILE:FUNCTION` of the code that made it, …
MAKERS = {
    r"/dropout\.py:": "dropout and random numbers",
    r"/augmentation\.py:": "augmentation",
    r"/optimizers(/|\.py:)": "optimiser",
    r"/train/training\.py:update$": "weight averaging",
}
# … else in its own `NAME:TYPE`, since the same code makes all gradients.
TYPES = {
    r"/dropout": "dropout and random numbers",
    r"/batch_normalization": "batch normalisation",
    r":Cast$": "casts",
    r":.*Pool": "pooling and its gradient",
    r":.*(Relu|Tanh|BiasAdd)": "activation and bias",
    r":.*Gather": "gathering",
    r":AddN$": "sums over the parts",
}

Shape = tuple[int, ...]


class Timing(NamedTuple):
    """Seconds that something took without the time of other programs, and that time as a fraction of the whole."""

    seconds: float
    disturbed: float


class Event(NamedTuple):
    """One call of an operation in a trace."""

    name: str
    type: str
    seconds: float


class Work(NamedTuple):
    """What an operation does: its kind, its shapes for people to read and the floating-point operations of a call."""

    kind: str
    shape: str = ""
    flops: int = 0


class Row(NamedTuple):
    """All operations of one step that do the same work; `seconds` of one core."""

    work: Work
    calls: float
    seconds: float


class Step(NamedTuple):
    """A training step: its rows, seconds with a trace and without, and the matrix peak of all cores in FLOP/s."""

    rows: list[Row]
    traced: Timing
    plain: Timing
    peak: float


def main() -> None:
    """Print the table of the model that the command line chooses."""
    blocks = parameters.load(Path("comparison/params.yaml"))["models"]
    precisions = get_args(Train.model_fields["precision"].annotation)
    raw = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__, formatter_class=raw)
    options.add_argument(
        "model", nargs="?", default="default", choices=blocks, metavar="MODEL", help="a network of the comparison"
    )
    options.add_argument("--steps", type=int, default=20, help="of each epoch")
    options.add_argument("--rounds", type=int, default=5, help="epochs, of which the quickest counts")
    options.add_argument("--precision", choices=precisions, help="instead of the model's own")
    chosen = options.parse_args()

    from stages.train import environment
    from stages.train.__main__ import read

    p = Train.model_validate(blocks[chosen.model])
    precision = processor.choose_precision(chosen.precision or p.precision)
    environment.fix(p.seed, precision)
    step = measure(p, read("train"), precision, chosen.steps, chosen.rounds)
    cores = cluster.cores()
    print(f"{chosen.model}: {p.batch_size} images in {p.micro_batches} parts, {precision}, {cores} cores")
    print(*lines(step, cores), sep="\n")


def measure(p: Train, part: dict[str, Any], precision: str, steps: int, rounds: int) -> Step:
    """A training step on the images of `part`, from the quickest of `rounds` epochs of `steps` steps."""
    from stages.train import environment, models, training

    keras, tf = environment.keras, environment.tf
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    model = getattr(models, p.model)(10, **p.model_options)
    optimizer = training.make_optimizer(p, steps)
    optimizer.build(model.trainable_variables)
    average = training.WeightAverage(model, p.weight_average)
    graphs, not_inlined = [], training.not_inlined

    def noting(function: Callable[..., Any]) -> Any:
        def noted(*values: Any) -> Any:
            graphs.append(tf.compat.v1.get_default_graph())  # it knows the shapes, a trace only the names
            return function(*values)

        return not_inlined(noted)

    training.not_inlined = noting
    images = steps * p.batch_size
    block = tf.constant(part["images"]), tf.constant(part["labels"].astype("int32"))
    run = training.Run(precision)
    epoch = training.block_function(model, optimizer, average, images, p.batch_size, p, run)
    train = partial(epoch, *block, tf.constant(0), p.augmentation is not None)
    multiply = products(cluster.cores(), tf.bfloat16 if precision == "bfloat16" else tf.float32)
    train(), multiply()
    plain, multiplied, traces = [], [], []
    for _ in range(rounds):
        plain.append(timed(train))
        multiplied.append(timed(multiply))
        traces.append(traced(train))
    timing, events = min(traces)
    share = (1 - timing.disturbed) / steps  # of the time of all calls: what one step takes by itself
    rows = [Row(each, calls / steps, seconds * share) for each, (calls, seconds) in totals(events, graphs).items()]
    return Step(
        sorted(rows, key=lambda row: -row.seconds),
        Timing(timing.seconds / steps, timing.disturbed),
        Timing(min(plain).seconds / steps, min(plain).disturbed),
        cluster.cores() * product_flops(SIDE, SIDE, SIDE) / min(multiplied).seconds,
    )


def products(count: int, dtype: Any) -> Callable[[], Any]:
    """A function that computes `count` products of large matrices side by side, as a step computes its operations."""
    from stages.train.environment import tf

    matrices = tf.unstack(tf.cast(tf.random.stateless_uniform([count, SIDE, SIDE], [0, 0]), dtype))
    return partial(tf.function(lambda each: [tf.matmul(matrix, matrix) for matrix in each]), matrices)


def timed(call: Callable[[], Any]) -> Timing:
    """How long `call` takes."""
    start, before = time.perf_counter(), scheduled()
    call()
    seconds, after = time.perf_counter() - start, scheduled()
    ran, waited = (now - then for now, then in zip(after, before))
    disturbed = waited / (ran + waited)
    return Timing(seconds * (1 - disturbed), disturbed)


def scheduled() -> tuple[float, float]:
    """Seconds for which threads of this process ran, and for which they could have run but had no core."""
    files = list(Path("/proc/self/task").glob("*/schedstat"))
    if not files:  # another system than Linux
        return time.process_time(), 0
    ran, waited, _ = zip(*(map(int, file.read_text().split()) for file in files))
    return sum(ran) / 1e9, sum(waited) / 1e9


def traced(call: Callable[[], Any]) -> tuple[Timing, list[Event]]:
    """How long `call` takes while TensorFlow traces it, and its operations."""
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    from stages.train.environment import tf

    options = tf.profiler.experimental.ProfilerOptions(SMALL_TOO, python_tracer_level=0, device_tracer_level=0)
    with TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options):
            timing = timed(call)
        (file,) = Path(folder).rglob("*.xplane.pb")
        return timing, list(operations(XSpace.FromString(file.read_bytes()).planes))


def operations(planes: Iterable[Any]) -> Iterator[Event]:
    """The calls of operations in a trace: its events named `NAME:TYPE`."""
    for plane in planes:
        names = {key: re.fullmatch(r"([^: ]+):(\w+)", each.name) for key, each in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                if name := names[event.metadata_id]:
                    yield Event(name[1], name[2], event.duration_ps / 1e12)


def totals(events: Iterable[Event], graphs: Iterable[Any]) -> dict[Work, tuple[int, float]]:
    """Number and seconds of all calls that do the same work, in a trace of epochs whose steps compute `graphs`."""
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        durations[re.sub(r"^while/body/_\d+/", "", event.name), event.type].append(event.seconds)
    known = {operation.name: operation for graph in graphs for operation in graph.get_operations()}
    calls: dict[Work, list[float]] = defaultdict(list)
    for (name, type_), seconds in durations.items():
        calls[work(name, type_, known.get(name))] += seconds
    return {each: (len(seconds), sum(seconds)) for each, seconds in calls.items()}


def work(name: str, type_: str, operation: Any) -> Work:
    """What an operation of a trace does. `operation` is that of the graph, or nothing if TensorFlow added it later."""
    if re.search("conv2d|matmul", type_, re.IGNORECASE):
        operation = arithmetic(operation)
        inputs, output = [tuple(each.shape) for each in operation.inputs], tuple(operation.outputs[0].shape)
        if operation.type == "MatMul":
            return product(*inputs, operation.get_attr("transpose_a"), operation.get_attr("transpose_b"))
        return convolution(operation.type, inputs, output)
    makers = [f"{frame.filename}:{frame.name}" for frame in operation.traceback] if operation else []
    return Work(kind(name, type_, makers))


def arithmetic(operation: Any) -> Any:
    """The convolution or product among operations that TensorFlow fused into one, of which `operation` is the last."""
    if operation.type in CONVOLUTIONS or operation.type == "MatMul":
        return operation
    return next(filter(None, (arithmetic(each.op) for each in operation.inputs)), None)


def kind(name: str, type_: str, makers: list[str]) -> str:
    """The kind of an operation that is no convolution and no product; `makers` has `FILE:FUNCTION` of each caller."""
    made = (each for pattern, each in MAKERS.items() if any(re.search(pattern, maker) for maker in makers))
    typed = (each for pattern, each in TYPES.items() if re.search(pattern, f"{name}:{type_}"))
    return next(made, None) or next(typed, "rest")


def convolution(type_: str, inputs: list[Shape], output: Shape) -> Work:
    """The work of a convolution or of one of its gradients, which take the sizes of their result as an input."""
    if type_.endswith("BackpropInput"):
        image, kernel, result = output, inputs[1], inputs[2]
    elif type_.endswith("BackpropFilter"):
        image, kernel, result = inputs[0], output, inputs[2]
    else:
        image, kernel, result = inputs[0], inputs[1], output
    shape = f"{times(image)} → {times(result[1:])}, {times(kernel[:2])}"
    return Work(CONVOLUTIONS[type_], shape, convolution_flops(result, kernel))


def product(left: Shape, right: Shape, left_transposed: bool, right_transposed: bool) -> Work:
    """The work of a product of two matrices, of which one may be transposed."""
    rows, inner = reversed(left) if left_transposed else left
    columns = right[0] if right_transposed else right[1]
    shape = f"{rows}×{inner} · {inner}×{columns}"
    return Work(PRODUCTS[left_transposed, right_transposed], shape, product_flops(rows, inner, columns))


def convolution_flops(result: Shape, kernel: Shape) -> int:
    """Floating-point operations of a convolution, and of each of its gradients.

    `result` is (N, height, width, channels) of the forward pass; `kernel` has the filters as TensorFlow shapes them,
    depthwise or not.
    """
    return 2 * prod(result[:3]) * prod(kernel)


def product_flops(rows: int, inner: int, columns: int) -> int:
    """Floating-point operations of a product of matrices (rows, inner) and (inner, columns)."""
    return 2 * rows * inner * columns


def times(shape: Shape) -> str:
    """`28×28` for (28, 28)."""
    return "×".join(map(str, shape))


def lines(step: Step, cores: int) -> list[str]:
    """The table: a summary, convolutions and products, the other operations by kind, and the waiting."""
    flops = sum(row.work.flops * row.calls for row in step.rows)
    rate = flops / step.plain.seconds
    whole = step.traced.seconds * cores
    waiting = whole - sum(row.seconds for row in step.rows)

    def line(kind: str, shape: str, calls: str, seconds: float, rates: str = "") -> str:
        return f"{kind:29}{shape:33}{calls:>5}{seconds * 1e3:>9.2f}{seconds / whole:>7.1%}{rates}"

    def rates(row: Row) -> str:
        reached = row.work.flops * row.calls / row.seconds
        return f"{reached / 1e9:>9.1f}{reached * cores / step.peak:>7.0%}"

    heavy, others = ([row for row in step.rows if bool(row.work.flops) is wanted] for wanted in (True, False))
    return [
        f"{step.plain.seconds * 1e3:.2f} ms a step, {flops / 1e9:.3g} GFLOP, {rate / 1e9:.3g} GFLOP/s: "
        f"{rate / step.peak:.0%} of the matrix peak of {step.peak / 1e9:.3g} GFLOP/s",
        f"({step.traced.seconds * 1e3:.2f} ms while traced; other programs held the cores for "
        f"{step.plain.disturbed:.0%} and {step.traced.disturbed:.0%} of the time, which is left out)",
        f"{'operation':29}{'shape':33}{'calls':>5}{'core ms':>9}{'time':>7}{'GFLOP/s':>9}{'peak':>7}",
        *(line(*row.work[:2], f"{row.calls:.0f}", row.seconds, rates(row)) for row in heavy),
        *(line(row.work.kind, "", f"{row.calls:.0f}", row.seconds) for row in others),
        line("waiting, smallest operations", "", "", waiting),
        line("together", "", "", whole),
    ]


if __name__ == "__main__":
    main()
