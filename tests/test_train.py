"""The train stage: what models take and give, what augmentation does, and that the same input gives the same bytes.

TensorFlow is imported by the fixtures and not by this module, so that collecting the tests stays fast.
"""

import json
import platform
import signal
import socket
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import portable
from stages import cluster
from stages.common.entry import UserError
from stages.common.parameters import check
from stages.train import processor
from stages.train.params import Train, model_functions

pytestmark = pytest.mark.xdist_group("train")
ROOT = Path(__file__).parent.parent
WHITE = 255.0
# Twenty epochs of a dense net: enough to learn, and few seconds' work.
CHEAP = {"model": "fnn", "epochs": 20, "batch_size": 32, "micro_batches": 1}


@pytest.fixture(scope="module")
def tensorflow():
    from stages.train import environment

    return environment.tf


@pytest.fixture(scope="module")
def settings():
    """A function that gives the repository's `train` block, checked, with changes; `augmentation=0` is none at all."""

    def make(**changes):
        block = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]
        strengths = changes.pop("augmentation", {})
        if strengths == 0:
            strengths = {name: 0 for name, value in block["augmentation"].items() if isinstance(value, (int, float))}
        block["augmentation"] |= strengths
        return check("train", block | changes, Train)

    return make


@pytest.fixture(scope="module")
def project(tmp_path_factory, digits, settings):
    """A function that gives a folder with params.yaml and so many prepared training images (and 300 for validation)."""

    def make(count, **changes):
        folder = tmp_path_factory.mktemp("project")
        images, labels = digits
        for part, rows in (("train", slice(0, count)), ("validation", slice(-300, None))):
            prepared = folder / "data" / "prepared" / part
            prepared.mkdir(parents=True)
            np.save(prepared / "images.npy", images[rows])
            np.save(prepared / "labels.npy", labels[rows])
        parameters = {"train": changes["train"] if "train" in changes else settings(**changes).model_dump()}
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
        return folder

    return make


def start(folder, environment, *arguments, **variables):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Each alone would change the model or end the stage.
SETTINGS = {
    "KERAS_BACKEND": "jax",
    "KERAS_NNX_ENABLED": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "XLA_FLAGS": "--no_such_flag",
}
KERAS_JSON = {"backend": "torch", "floatx": "float64", "epsilon": 0.1, "image_data_format": "channels_first"}


@pytest.fixture(scope="module")
def trained(project, environment):
    """Two folders in which the stage has run on the same data, with what it wrote to the standard streams.

    The second run is that of another user, who has settings of TensorFlow and Keras.
    """
    runs = []
    for variables in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"} | SETTINGS):
        folder = project(1400, **CHEAP)
        (folder / "home/.keras").mkdir(parents=True)
        (folder / "home/.keras/keras.json").write_text(json.dumps(KERAS_JSON))
        variables |= {"HOME": str(folder / "home"), "KERAS_HOME": str(folder / "home/.keras")}
        runs.append((folder, start(folder, environment, "-m", "stages.train", **variables)))
    results = [(folder, *process.communicate(timeout=300), process.returncode) for folder, process in runs]
    for _, _, error, code in results:
        assert code == 0, error
    return [(folder, output, error) for folder, output, error, _ in results]


OUTPUTS = [
    "metrics/environment.json",
    "metrics/history.csv",
    "metrics/train.json",
    "models/model.keras",
    "models/model.sha256",
    "models/model.tflite",
    "models/out_of_fold.npz",
]


@pytest.mark.parametrize("output", OUTPUTS)
def test_two_runs_give_the_same_bytes_whatever_a_user_has_set(trained, output):
    (first, *_), (second, *_) = trained
    assert (first / output).read_bytes() == (second / output).read_bytes()


def test_the_keras_file_holds_no_date(trained):
    folder, *_ = trained[0]
    with zipfile.ZipFile(folder / "models" / "model.keras") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("metadata.json"))["date_saved"].startswith("1980-01-01")


def test_the_stage_writes_what_is_declared_and_nothing_else(trained):
    folder, *_ = trained[0]
    written = [path for name in ("models", "metrics") for path in (folder / name).rglob("*")]
    assert sorted(path.relative_to(folder).as_posix() for path in written) == OUTPUTS


def test_each_epoch_is_one_line_and_tensorflow_is_silent(trained):
    for _, output, error in trained:
        assert error == ""
        epochs = [line for line in output.splitlines() if line.startswith("epoch ")]
        assert len(epochs) == CHEAP["epochs"]
        assert all("loss" in line and "accuracy" in line for line in epochs)


def test_training_learns(trained):
    folder, *_ = trained[0]
    history = pd.read_csv(folder / "metrics" / "history.csv")
    assert history["epoch"].tolist() == list(range(1, CHEAP["epochs"] + 1))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] / 2
    assert history["validation_accuracy"].iloc[-1] > 0.9
    assert json.loads((folder / "metrics" / "train.json").read_text())["validation_accuracy"] > 0.9


def test_the_keras_and_the_litert_model_agree_and_score_what_the_metrics_say(tensorflow, trained, digits):
    import keras
    from ai_edge_litert.interpreter import Interpreter

    folder, *_ = trained[0]
    images, labels = digits[0][-300:, :, :, np.newaxis].astype(np.float32), digits[1][-300:]
    from_keras = keras.models.load_model(folder / "models" / "model.keras").predict(images, verbose=0)
    interpreter = Interpreter(model_path=str(folder / "models" / "model.tflite"))
    entry, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert entry["dtype"] == output["dtype"] == np.float32
    interpreter.resize_tensor_input(entry["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], images)
    interpreter.invoke()
    from_litert = interpreter.get_tensor(output["index"])

    assert np.abs(from_keras - from_litert).max() < 1e-5
    assert from_litert.sum(axis=1) == pytest.approx(1, abs=1e-5)
    accuracy = (from_litert.argmax(axis=1) == labels).mean()
    # Trained in bfloat16, perhaps, but shipped in float32: an image or two may differ.
    metrics = json.loads((folder / "metrics" / "train.json").read_text())
    assert accuracy == pytest.approx(metrics["validation_accuracy"], abs=0.01)


@pytest.mark.parametrize(
    ("asked", "flags", "chosen"),
    [
        ("auto", {"avx512f", "amx_bf16"}, "bfloat16"),
        ("auto", {"avx512f", "avx512_bf16"}, "bfloat16"),
        ("auto", {"avx2", "avx512f"}, "float32"),
        ("auto", set(), "float32"),
        ("float32", {"amx_bf16"}, "float32"),
        ("bfloat16", {"avx2"}, "bfloat16"),
        ("portable", {"avx2", "amx_bf16"}, "portable"),
        ("portable", set(), "portable"),  # not known
    ],
)
def test_precision_is_what_the_processor_is_fast_in_unless_it_is_forced(monkeypatch, asked, flags, chosen):
    monkeypatch.setattr(processor, "flags", lambda: flags)
    assert processor.choose_precision(asked) == chosen


@pytest.mark.parametrize(
    ("precision", "flags", "kind"),
    [
        ("bfloat16", {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}, "x86_64 with AMX"),
        ("bfloat16", {"avx2", "avx512f", "avx512_bf16"}, "x86_64 with AVX-512 BF16"),
        ("float32", {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}, "x86_64 with AVX-512"),
        ("float32", {"avx2"}, "x86_64 with AVX2"),
        ("portable", {"avx2", "avx512f", "amx_bf16"}, "x86_64 with AVX2"),
        ("float32", set(), "x86_64"),
    ],
)
def test_of_a_processor_only_what_decides_the_bits_is_recorded(monkeypatch, precision, flags, kind):
    monkeypatch.setattr(processor, "flags", lambda: flags)
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    assert processor.kind(precision) == kind


def test_a_processor_without_the_instructions_of_portable_is_told(monkeypatch):
    monkeypatch.setattr(processor, "flags", lambda: {"sse4_1", "avx"})
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    with pytest.raises(UserError, match="train.precision is portable, which needs AVX2, and this processor lacks it"):
        processor.choose_precision("portable")


def first(count, digits):
    """So many of the digits, as the training takes them."""
    images, labels = digits
    return {"images": images[:count, ..., np.newaxis], "labels": labels[:count]}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_that_is_asked_for_is_trained_in_and_recorded(project, environment, precision):
    folder = project(64, **CHEAP | {"epochs": 1, "folds": 2, "precision": precision})
    process = start(folder, environment, "-m", "stages.train")
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert output.splitlines()[0].endswith(f", {precision}")
    assert json.loads((folder / "metrics/environment.json").read_text())["precision"] == precision
    numbers = json.loads((folder / "metrics/train.json").read_text())
    assert 0 <= numbers["cross_validation_accuracy"] <= 1 and numbers["cross_validation_accuracy_sd"] >= 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_forced_precision_is_that_of_the_layers(tensorflow, settings, digits, precision):
    from stages.train import fitting, models, training

    part = first(32, digits)
    p = settings(**CHEAP | {"epochs": 1}, augmentation=0)
    model, _ = fitting.fit(lambda: models.fnn(10), part, part, p, training.Run(precision))
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {precision}


def test_the_fnn_has_its_109386_parameters(tensorflow):
    from stages.train import models

    assert models.fnn(10).count_params() == 109_386


CORES = """
import os, sys
from functools import partial

from stages.common.entry import run
from stages import cluster
from stages.train.__main__ import main

cluster.cores = lambda: int(os.environ["CORES"])
run("train", partial(main, sys.argv[1:]))
"""


@pytest.mark.parametrize("model", ["cnn", "mobilenet_mini"])
def test_the_number_of_threads_changes_no_byte(project, environment, model):
    """`cnn` has dropout, `mobilenet_mini` batch normalisation and depthwise convolutions."""
    runs = []
    for cores in ("1", "5"):
        folder = project(192, model=model, epochs=2, batch_size=64, micro_batches=4)
        (folder / "cores.py").write_text(CORES)
        runs.append((folder, start(folder, environment, "cores.py", CORES=cores)))
    for _, process in runs:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    for output in OUTPUTS:
        assert (runs[0][0] / output).read_bytes() == (runs[1][0] / output).read_bytes()


def test_the_parts_of_a_batch_have_the_gradient_of_the_whole(tensorflow, settings, digits):
    from stages.train import fitting, models, training

    part = first(100, digits)
    trained = []
    for parts in (1, 3):  # 32 images in 3 parts are not equally many
        p = settings(**CHEAP | {"epochs": 1, "micro_batches": parts}, augmentation=0)
        model, _ = fitting.fit(lambda: models.fnn(10, dropout=0), part, part, p, training.Run("float32"))
        trained.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
    np.testing.assert_allclose(*trained, atol=1e-4)
    assert (trained[0] != trained[1]).any()


def test_the_outputs_are_those_of_one_batch_in_order_on_any_number_of_cores(tensorflow, digits, monkeypatch):
    from stages.train import models, training

    images, model = digits[0][:250, ..., np.newaxis], models.fnn(10)
    whole = training.outputs(model, images)
    monkeypatch.setattr(training, "EVALUATION_BATCH", 16)
    for cores in (1, 5):
        monkeypatch.setattr(cluster, "cores", lambda cores=cores: cores)
        np.testing.assert_allclose(training.outputs(model, images), whole, atol=1e-5)


def test_workers_that_cannot_share_the_parts_equally_are_told(tensorflow, settings):
    import keras

    from stages.train import models, normalization, training

    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(UserError, match="train.micro_batches is 4, must be a multiple of the 3 workers"):
        p = settings(**CHEAP | {"micro_batches": 4})
        training.block_function(models.fnn(10), None, None, 64, 32, p, training.Run("float32", Three()))
    Three.num_replicas_in_sync = 4
    own, foreign = models.fnn(10), keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Dropout(0.5, name="own")])
    with pytest.raises(UserError, match="the layer own keeps a state"):
        training.block_function(foreign, None, None, 64, 32, p, training.Run("float32", Three()))
    assert not any(map(training.counts_calls, normalization.layers_of(own)))


def test_the_parts_of_a_batch_draw_random_numbers_of_their_own(tensorflow, settings, digits, monkeypatch):
    from stages.train import fitting, models, training

    seeds = []

    def noted(x, seed, p):
        tensorflow.numpy_function(lambda values: seeds.append(tuple(values)), [seed], [])
        return x

    monkeypatch.setattr(training, "augment", noted)
    part = first(64, digits)
    p = settings(**CHEAP | {"epochs": 2, "micro_batches": 4})
    fitting.fit(lambda: models.fnn(10), part, part, p, training.Run("float32"))
    assert len(seeds) == len(set(seeds)) == 2 * 2 * 4  # epochs, steps, parts


PORTABLE = """
import hashlib
from stages.train import environment

environment.fix(1, "portable")
import keras, numpy as np, tensorflow as tf

images = tf.constant(np.random.RandomState(0).rand(64, 28, 28, 1).astype("float32"))
layers = [keras.layers.Conv2D(32, 5, padding="same"), keras.layers.MaxPooling2D(), keras.layers.Conv2D(64, 3)]
model = keras.Sequential([keras.Input((28, 28, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(10)])

@tf.function
def gradients():
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(images)))
    return tape.gradient(loss, model.trainable_variables)

print(hashlib.sha256(b"".join(each.numpy().tobytes() for each in gradients())).hexdigest()[:12])
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or " avx2" not in Path("/proc/cpuinfo").read_text(),
    reason="other kernels, other bits",
)
@pytest.mark.parametrize("pose", ["this processor", "AVX2 only, small caches", "AMD with AVX2"])
def test_portable_kernels_give_the_same_bits_on_every_processor(tmp_path, environment, pose):
    variables = {"ONEDNN_MAX_CPU_ISA": "SSE41", "TF_ENABLE_ONEDNN_OPTS": "0"} | portable.POSES[pose]
    if "POSE" in variables:
        try:
            variables["LD_PRELOAD"] = str(portable.compiled(tmp_path))
        except UserError as error:
            pytest.skip(str(error))
    process = start(tmp_path, environment, "-c", PORTABLE, **variables)
    output, error = process.communicate(timeout=300)
    assert output.strip() == "f30c20d4394d", error  # another version of TensorFlow may need another


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (40, 24, 1)])
@pytest.mark.parametrize("name", model_functions())
def test_every_model_gives_finite_logits_for_raw_pixels(tensorflow, name, shape):
    import keras

    from stages.train import models

    keras.utils.set_random_seed(1)
    model = getattr(models, name)(7, shape)
    assert model.input_shape == (None, *shape)
    pixels = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(np.float32)
    logits = np.asarray(model(pixels, training=False))
    assert logits.shape == (4, 7)
    assert np.isfinite(logits).all()
    # Logits and not probabilities: rows that sum to 1 would be trained on twice softened.
    assert not np.allclose(logits.sum(axis=1), 1)
    # Raw pixels, scaled inside: of 0 to 255, an untrained model makes nothing large.
    assert np.abs(logits).max() < 20


def augmented(images, settings, seed=1, **strengths):
    """`images` (N, 28, 28) augmented by these strengths and nothing else."""
    from stages.train.augmentation import augment

    none = settings(augmentation=0).augmentation
    batch = np.asarray(images, np.float32)[..., np.newaxis]
    return np.asarray(augment(batch, np.array([seed, 0], np.int32), none.model_copy(update=strengths)))[..., 0]


def bars(count, height, width):
    """White bars in the middle of black images."""
    images = np.zeros((count, 28, 28), np.float32)
    images[:, 14 - height // 2 : 14 + height // 2, 14 - width // 2 : 14 + width // 2] = WHITE
    return images


def centres(images):
    """The mass centre (x, y) of each image, relative to the image's centre."""
    axis = np.arange(28) - 13.5
    mass = images.sum(axis=(1, 2))
    return np.stack([(images.sum(axis=1) @ axis) / mass, (images.sum(axis=2) @ axis) / mass], axis=1)


def tilts(images):
    """The degrees between each image's long axis and the vertical."""
    axis = np.arange(28) - 13.5
    xx = np.einsum("nyx,x->n", images, axis**2)
    yy = np.einsum("nyx,y->n", images, axis**2)
    xy = np.einsum("nyx,y,x->n", images, axis, axis)
    return np.degrees(np.arctan2(2 * xy, yy - xx) / 2)


def test_no_augmentation_leaves_images_as_they_are(tensorflow, digits, settings):
    images = digits[0][:50]
    assert (augmented(images, settings) == images).all()


def test_the_seed_decides_the_augmentation(tensorflow, digits, settings):
    images, strengths = digits[0][:50], {"rotation": 10.0, "shift": 2.0, "scale": 0.1}
    first = augmented(images, settings, seed=3, **strengths)
    assert (augmented(images, settings, seed=3, **strengths) == first).all()
    assert (augmented(images, settings, seed=4, **strengths) != first).any()
    # Each image of a batch is changed by its own amount.
    same = augmented(np.repeat(images[:1], 2, axis=0), settings, **strengths)
    assert (same[0] != same[1]).any()


def test_augmented_pixels_stay_pixels(tensorflow, digits, settings):
    result = augmented(digits[0][:300], settings, rotation=40.0, shift=5.0, scale=0.3, shear=20.0)
    assert result.min() >= 0
    assert result.max() <= WHITE
    assert np.isfinite(result).all()


def test_images_shift_both_ways_by_the_pixels_said_at_most(tensorflow, settings):
    moved = centres(augmented(bars(300, 8, 8), settings, shift=3.0))
    assert 2.7 < moved.max(axis=0).min() <= moved.max() < 3.01
    assert -2.7 > moved.min(axis=0).max() >= moved.min() > -3.01


def test_images_turn_both_ways_about_their_centre_by_the_degrees_said_at_most(tensorflow, settings):
    turned = augmented(bars(300, 20, 4), settings, rotation=30.0)
    assert 27 < tilts(turned).max() < 30.5
    assert -27 > tilts(turned).min() > -30.5
    assert np.abs(centres(turned)).max() < 0.05


def test_images_grow_and_shrink_by_the_fraction_said_at_most(tensorflow, settings):
    scaled = augmented(bars(300, 12, 12), settings, scale=0.2)
    sides = np.stack([scaled[:, 14, :].sum(axis=1), scaled[:, :, 14].sum(axis=1)], axis=1) / WHITE / 12
    assert 1.16 < sides.max(axis=0).min() <= sides.max() < 1.22
    assert 0.84 > sides.min(axis=0).max() >= sides.min() > 0.78
    assert np.abs(centres(scaled)).max() < 0.05


def test_images_shear_by_the_degrees_said_at_most(tensorflow, settings):
    sheared = augmented(bars(300, 20, 4), settings, shear=20.0)
    lower, upper = (
        centres(sheared * (np.arange(28) > 13.5)[:, np.newaxis]),
        centres(sheared * (np.arange(28) < 13.5)[:, np.newaxis]),
    )
    leaning = np.degrees(np.arctan2(lower[:, 0] - upper[:, 0], lower[:, 1] - upper[:, 1]))
    assert 17 < leaning.max() < 20.5
    assert -17 > leaning.min() > -20.5


def rates(p, steps):
    """The learning rate before each step, and after the last."""
    from stages.train.training import make_optimizer

    optimizer = make_optimizer(p, steps)
    found = []
    for step in range(p.epochs * steps + 1):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return found


def test_one_cycle_rises_to_the_learning_rate_then_falls_to_nothing(tensorflow, settings):
    schedule = {"name": "one_cycle", "warmup_fraction": 0.25}
    found = rates(settings(epochs=4, learning_rate=0.01, schedule=schedule), steps=10)
    assert found[10] == max(found) == pytest.approx(0.01)
    assert all(np.diff(found[:11]) > 0)
    assert all(np.diff(found[10:]) < 0)
    assert found[-1] == pytest.approx(0, abs=1e-9)


def test_cosine_only_falls(tensorflow, settings):
    found = rates(settings(epochs=4, learning_rate=0.01, schedule={"name": "cosine"}), steps=10)
    assert found[0] == pytest.approx(0.01)
    assert all(np.diff(found) < 0)


def test_constant_stays(tensorflow, settings):
    assert set(rates(settings(epochs=2, learning_rate=0.5, schedule={"name": "constant"}), steps=3)) == {0.5}


def test_step_multiplies_the_rate_every_so_many_epochs(tensorflow, settings):
    schedule = {"name": "step", "every_epochs": 2, "factor": 0.5}
    found = rates(settings(epochs=4, learning_rate=0.5, schedule=schedule), steps=3)
    assert found == [0.5] * 6 + [0.25] * 6 + [0.125]


def test_history_tells_the_rate_of_each_epochs_end(trained):
    folder, *_ = trained[0]
    rates = pd.read_csv(folder / "metrics" / "history.csv")["learning_rate"]
    assert rates.iloc[-1] == pytest.approx(0, abs=1e-9)
    assert rates.max() > 0


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_two_workers_give_the_bytes_of_one_process_and_only_the_first_writes(project, settings, environment):
    """With dropout, batch normalisation, augmentation and averaged weights."""
    options = {"epochs": 3, "batch_size": 32, "micro_batches": 2, "precision": "float32", "weight_average": 0.9}
    block = settings(model="tiny", **options).model_dump()
    workers = [f"localhost:{port}" for port in free_ports(2)]
    runs = []
    for index in (None, 0, 1):
        folder = project(330, train=block)
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        variables = {} if index is None else {"TF_CONFIG": json.dumps(task)}
        runs.append((folder, start(folder, environment, "-m", "stages.train", **variables)))
    try:
        errors = [process.communicate(timeout=200)[1] for _, process in runs]
    finally:
        for _, process in runs:
            process.kill()
    assert [process.returncode for _, process in runs] == [0, 0, 0], errors

    alone, first, second = (folder for folder, _ in runs)
    assert all((first / output).read_bytes() == (alone / output).read_bytes() for output in OUTPUTS)
    assert not (second / "models").exists()
    assert not (second / "metrics").exists()


def killed(folder, environment, lines, *arguments):
    """Start the stage in `folder` and kill it once it has printed so many lines about epochs; what it printed."""
    process = start(folder, environment, *(arguments or ("-m", "stages.train")))
    seen = []
    for line in process.stdout:
        seen.append(line)
        if sum(each.startswith("epoch") for each in seen) == lines:
            break
    process.kill()
    assert process.wait(timeout=60) != 0
    assert not (folder / "models").exists()
    return "".join(seen)


def finished(folder, environment):
    """What the stage prints in `folder`, to its end."""
    output, error = (process := start(folder, environment, "-m", "stages.train")).communicate(timeout=300)
    assert process.returncode == 0, error
    return output


ENSEMBLE = {
    "model": "fnn",
    "epochs": 6,
    "ensemble": 2,
    "early_stopping": {"patience": 2},
    "schedule": {"name": "reduce_on_plateau", "patience": 1, "factor": 0.5},
    "optimizer": {"name": "sgd", "momentum": 0.9},
}


@pytest.mark.parametrize(
    ("options", "lines"),
    [({"model": "tiny", "epochs": 5, "batch_size": 64}, 3), (ENSEMBLE, 8)],  # tiny: AdamW, one cycle, averages
    ids=["one model", "an ensemble"],
)
def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_bytes(project, environment, options, lines):
    undisturbed, disturbed = project(200, **options), project(200, **options)
    whole = finished(undisturbed, environment)
    killed(disturbed, environment, lines=lines)
    rest = finished(disturbed, environment)
    assert "goes on after epoch" in rest
    assert len(rest) < len(whole)
    for output in OUTPUTS:
        assert (disturbed / output).read_bytes() == (undisturbed / output).read_bytes()
    assert not list((disturbed / "data/.training").rglob("*.npz"))


def test_what_was_kept_of_another_training_is_not_used(project, settings, environment):
    options = CHEAP | {"epochs": 6}
    folder = project(200, **options)
    assert "goes on" not in killed(folder, environment, lines=2)
    (folder / "params.yaml").write_text(yaml.safe_dump({"train": settings(**options, seed=2).model_dump()}))
    assert "goes on" not in killed(folder, environment, lines=1)
    path = folder / "data/prepared/train/images.npy"
    images = np.load(path)
    images[7, 3, 3] ^= 1
    np.save(path, images)
    assert "goes on" not in killed(folder, environment, lines=1)


@pytest.mark.parametrize("content", ["nothing", "text", "an array", "another archive", "a list"])
def test_a_file_that_is_no_state_is_none(tmp_path, content):
    from stages.train import checkpoint

    store = checkpoint.Store(tmp_path, "f")
    path = tmp_path / "model.npz"
    path.write_text("" if content == "nothing" else "text")
    with path.open("wb") if content not in ("nothing", "text") else nullcontext() as file:
        {
            "an array": lambda: np.save(file, np.arange(3)),
            "another archive": lambda: np.savez(file, other=np.arange(3)),
            "a list": lambda: np.savez(file, about=np.array("[1]")),
        }.get(content, lambda: None)()
    assert checkpoint.load(store, "model") is None
    state = checkpoint.State([np.arange(3.0)], None, [{"loss": 0.5}], 12.5)
    checkpoint.save(store, "model", state)
    assert checkpoint.load(store, "model")[1:] == state[1:]
    assert checkpoint.load(store._replace(fingerprint="g"), "model") is None
    assert checkpoint.seconds(store, ["model", "another"]) == 12.5
    path.write_bytes(path.read_bytes()[:-100])
    assert checkpoint.load(store, "model") is None


def test_each_folder_of_models_has_a_state_of_its_own(tmp_path, monkeypatch):
    from stages.train import checkpoint

    monkeypatch.chdir(tmp_path)
    several = ["models", "..", ".", "a/b", "a-b", "ray", "/", str(tmp_path / "other")]
    folders = {checkpoint.folder(Path(each)) for each in several}
    assert len(folders) == len(several)
    assert {folder.parent for folder in folders} == {checkpoint.FOLDER}
    assert checkpoint.folder(Path("models/../models/")) == checkpoint.folder(tmp_path / "models")


def test_a_place_where_no_state_can_be_kept_is_told_before_the_first_epoch(tmp_path, monkeypatch):
    from stages.train import checkpoint

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(OSError, match="data"):
        checkpoint.opened(Path("models"), "f")


def test_layers_that_count_their_calls_are_refused_for_several_workers(tensorflow, settings):
    import keras

    from stages.train import dropout, normalization, training

    strange = [keras.layers.Dropout(0.5), keras.layers.BatchNormalization(), keras.layers.GaussianNoise(0.1)]
    own = [dropout.Dropout(0.5), normalization.BatchNormalization(), keras.layers.Dense(3)]
    assert [training.counts_calls(layer) for layer in (*strange, *own)] == [True] * 3 + [False] * 3


def test_a_set_in_blocks_is_trained_on_the_same_whether_it_is_in_memory_or_not(
    tensorflow, settings, digits, tmp_path, monkeypatch
):
    from stages.train import blocks, fitting, models, training

    monkeypatch.setattr(blocks, "BYTES", 28 * 28 * 400)
    part = first(1400, digits)
    np.save(tmp_path / "images.npy", part["images"])
    mapped = part | {"images": np.load(tmp_path / "images.npy", mmap_mode="r")}
    assert blocks.plan(part["images"], 32) == (3, 462, 7)
    trained = []
    for each in (part, mapped):
        p = settings(**CHEAP | {"epochs": 8})
        model, history = fitting.fit(lambda: models.fnn(10), each, each, p, training.Run("float32"))
        trained.append((np.concatenate([weight.ravel() for weight in model.get_weights()]), history))
    np.testing.assert_array_equal(trained[0][0], trained[1][0])
    assert trained[0][1] == trained[1][1]
    assert trained[0][1][-1]["validation_accuracy"] > 0.8


@pytest.mark.parametrize(
    ("count", "shape"),
    [
        (6_000_000, (28, 28, 1)),
        (200_000, (28, 28, 1)),
        (60_000, (192, 192, 3)),
        (9_000, (512, 512, 1)),
        (900, (1024, 1024, 3)),
    ],
)
@pytest.mark.parametrize("batch", [1, 100, 256])
def test_an_epoch_in_blocks_has_nearly_all_images_of_any_size(tensorflow, count, shape, batch):
    from stages.train import blocks

    images = np.broadcast_to(np.uint8(0), (count, *shape))  # in no memory
    plan = blocks.plan(images, batch)
    used = plan.blocks * (plan.images // batch) * batch
    assert plan.images % plan.piece == 0 and used <= count
    assert used >= 0.85 * count
    assert plan.blocks == 1 or plan.blocks * plan.images >= 0.98 * count


def test_every_epoch_has_other_pieces_in_another_order_and_none_twice(tensorflow):
    from stages.train import blocks

    plan = blocks.Plan(3, 320, piece=32)
    count = 31 * plan.piece + 7
    orders = [blocks.starts(count, plan, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0), (1, 0))]
    np.testing.assert_array_equal(orders[0], orders[3])
    assert len({tuple(order.ravel()) for order in orders}) == 3
    for order in orders:
        rows = (order.reshape(-1, 1) + np.arange(plan.piece)) % count
        assert order.shape == (3, 10)
        assert len(np.unique(rows)) == rows.size


def test_a_block_holds_the_images_with_their_labels_also_beyond_the_last_row(tensorflow, digits):
    from stages.train import blocks

    part = first(1300, digits)
    images, labels = blocks._read(part, np.array([200, 1200]), 512)
    expected = np.r_[200:712, np.arange(1200, 1712) % 1300]
    np.testing.assert_array_equal(images, part["images"][expected])
    np.testing.assert_array_equal(labels, part["labels"][expected])


def test_ctrl_c_says_that_whole_epochs_are_kept(project, environment):
    process = start(project(200, **CHEAP), environment, "-m", "stages.train")
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("train: interrupted: whole epochs are kept, and `dvc repro` goes on after the last one; ")
    assert len(error.splitlines()) == 1


def test_the_fingerprint_of_a_training_follows_its_code_its_data_and_what_is_decided(tmp_path, monkeypatch):
    from stages.train import checkpoint

    code = tmp_path / "train/training.py"
    code.parent.mkdir()
    code.write_text("1")
    monkeypatch.setattr(checkpoint, "STAGES", tmp_path)
    data = [np.zeros((3, 2), np.uint8), np.arange(3)]
    seen = [checkpoint.fingerprint({"seed": 1}, data), checkpoint.fingerprint({"seed": 2}, data)]
    seen.append(checkpoint.fingerprint({"seed": 1}, [data[0].reshape(2, 3), data[1]]))
    code.write_text("2")
    seen.append(checkpoint.fingerprint({"seed": 1}, data))
    assert len(set(seen)) == 4
    code.write_text("1")
    assert checkpoint.fingerprint({"seed": 1}, data) == seen[0]
