"""The table of a training step: how much each operation computes, what kind it is, and where its time goes."""

import pytest
import yaml

from benchmarks.roofline import (
    Row,
    Step,
    Timing,
    Work,
    convolution,
    convolution_flops,
    kind,
    lines,
    measure,
    product,
    product_flops,
)
from helpers.clone import ROOT
from stages.train.params import Train


def test_a_product_multiplies_and_adds_along_the_inner_side():
    assert product_flops(2, 3, 5) == 60


@pytest.mark.parametrize(
    ("result", "kernel", "flops"),
    [
        pytest.param((1, 1, 1, 1), (3, 3, 1, 1), 18, id="one-place"),
        pytest.param((2, 28, 28, 6), (5, 5, 1, 6), 470_400, id="lenet5"),  # 117,600 multiplications an image
        pytest.param((1, 14, 14, 32), (3, 3, 32, 1), 112_896, id="depthwise"),
    ],
)
def test_a_convolution_uses_its_filters_at_every_place(result, kernel, flops):
    assert convolution_flops(result, kernel) == flops


@pytest.mark.parametrize(
    ("left", "right", "transposed", "name"),
    [
        ((8, 3), (3, 5), (False, False), "product"),
        ((8, 5), (3, 5), (False, True), "product, input gradient"),
        ((8, 3), (8, 5), (True, False), "product, weight gradient"),
    ],
)
def test_a_layer_and_its_gradients_compute_as_much(left, right, transposed, name):
    work = product(left, right, *transposed)
    assert (work.kind, work.flops) == (name, 240)


@pytest.mark.parametrize(
    ("type_", "inputs", "output"),
    [
        ("Conv2D", [(8, 28, 28, 1), (5, 5, 1, 32)], (8, 24, 24, 32)),
        ("Conv2DBackpropInput", [(4,), (5, 5, 1, 32), (8, 24, 24, 32)], (8, 28, 28, 1)),
        ("Conv2DBackpropFilter", [(8, 28, 28, 1), (4,), (8, 24, 24, 32)], (5, 5, 1, 32)),
    ],
)
def test_gradients_have_the_shape_of_their_convolution(type_, inputs, output):
    assert convolution(type_, inputs, output)[1:] == ("8×28×28×1 → 24×24×32, 5×5", 2 * 8 * 24 * 24 * 25 * 32)


@pytest.mark.parametrize(
    ("name", "type_", "makers", "expected"),
    [
        ("while/mul_44", "Mul", ["/a/stages/train/training.py:update"], "weight averaging"),
        ("while/Tan", "Tan", ["/a/stages/train/augmentation.py:augment"], "augmentation"),
        ("while/adam/Pow", "Pow", ["/b/keras/src/optimizers/base_optimizer.py:apply"], "optimiser"),
        ("while/sequential/dropout_1/Cast_2", "Cast", [], "dropout and random numbers"),
        ("gradient_tape/sequential/batch_normalization/mul", "Mul", [], "batch normalisation"),
        ("while/Cast", "Cast", ["/a/stages/train/training.py:micro_batch"], "casts"),
        ("gradient_tape/max_pooling2d/MaxPoolGrad", "_MklNativeMaxPoolGrad", [], "pooling and its gradient"),
        ("gradient_tape/re_lu/ReluGrad", "ReluGrad", [], "activation and bias"),
        ("while/ArgMax", "ArgMax", [], "rest"),
    ],
)
def test_other_operations_have_a_kind(name, type_, makers, expected):
    assert kind(name, type_, makers) == expected


def test_the_waiting_is_what_the_operations_leave_of_all_cores():
    rows = [Row(Work("product", "2×3 · 3×5", 6_000_000), 2, 0.004), Row(Work("casts"), 1, 0.001)]
    step = Step(rows, Timing(0.005, 0), Timing(0.004, 0), 6e9)
    head, _, _, product, casts, waiting, together = lines(step, cores=2)
    assert head == "4.00 ms a step, 0.012 GFLOP, 3 GFLOP/s: 50% of the matrix peak of 6 GFLOP/s"
    assert product.split()[-5:] == ["2", "4.00", "40.0%", "3.0", "100%"]
    assert casts.split()[-2:] == ["1.00", "10.0%"]
    assert waiting.split()[-2:] == ["5.00", "50.0%"]
    assert together.split()[-2:] == ["10.00", "100.0%"]


@pytest.mark.xdist_group("train")
def test_the_trace_of_a_real_step_has_every_convolution_and_product(digits):
    block = yaml.safe_load((ROOT / "comparison/params.yaml").read_text(encoding="utf-8"))["models"]["cnn_5x5"]
    images, labels = digits
    step = measure(Train.model_validate(block), {"images": images, "labels": labels}, "float32", steps=2, rounds=1)
    first, *others = (24 * 24 * 25 * 32, 10 * 10 * 9 * 32 * 64, 1600 * 128, 128 * 10)
    assert sum(row.work.flops * row.calls for row in step.rows) == 2 * 128 * (2 * first + 3 * sum(others))
    assert {"pooling and its gradient", "optimiser", "gathering"} <= {row.work.kind for row in step.rows}
