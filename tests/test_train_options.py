"""What a training run can be asked to do, each shown by what it does to a tiny run."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.common.entry import UserError
from stages.common.parameters import check
from stages.train import initialization
from stages.train.folds import held_out
from stages.train.params import InitFrom, Train

pytestmark = pytest.mark.xdist_group("options")
ROOT = Path(__file__).parent.parent
PLAIN = {
    "model": "fnn",
    "model_options": {"dropout": 0.0},
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 0.003,
    "optimizer": {"name": "adam"},
    "schedule": {"name": "constant"},
    "weight_average": 0,
    "augmentation": None,
    "precision": "float32",
}


@pytest.fixture(scope="module")
def run(digits):
    """A function that trains on 400 digits with changes to a plain configuration: parameters, members, history."""
    from stages.train import environment, fitting, models
    from stages.train.training import Run

    environment.tf.get_logger().setLevel("ERROR")
    images, labels = digits[0][..., np.newaxis], digits[1]
    train = {"images": images[:400], "labels": labels[:400]}
    validation = {"images": images[-200:], "labels": labels[-200:]}
    block = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]

    def make(**changes):
        p = check("train", block | PLAIN | changes, Train)
        build = partial(getattr(models, p.model), 10, **p.model_options)
        members, history = fitting.fit_members(build, train, validation, p, Run(p.precision))
        return p, members, history

    make.build, make.block = partial(models.fnn, 10), block | PLAIN
    make.train, make.validation = train, validation
    return make


def accuracy(model, part):
    from stages.train import training

    return np.mean(training.outputs(model, part["images"]).argmax(axis=1) == part["labels"])


def weights(model):
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "adamw", "weight_decay": 0.5}, {"name": "sgd", "momentum": 0.9}, {"name": "sgd", "momentum": 0}],
)
def test_each_optimizer_learns_in_a_way_of_its_own(run, optimizer):
    _, [adam], _ = run()
    _, [other], history = run(optimizer=optimizer, learning_rate=0.003 if optimizer["name"] == "adamw" else 0.1)
    assert history[-1]["loss"] < history[0]["loss"]
    assert not np.allclose(weights(adam), weights(other), atol=1e-3)


def test_momentum_carries_a_small_rate_further(run):
    _, [start], _ = run(learning_rate=1e-9)
    still, moving = (run(optimizer={"name": "sgd", "momentum": m}, learning_rate=0.01)[1][0] for m in (0, 0.9))
    assert np.linalg.norm(weights(moving) - weights(start)) > 2 * np.linalg.norm(weights(still) - weights(start))


def test_the_fused_update_is_that_of_keras(run, monkeypatch):
    import keras

    from stages.train import optimizers

    _, [fused], _ = run(epochs=2, optimizer={"name": "adamw", "weight_decay": 0.1})
    monkeypatch.setattr(optimizers, "Adam", keras.optimizers.Adam)
    _, [plain], _ = run(epochs=2, optimizer={"name": "adamw", "weight_decay": 0.1})
    np.testing.assert_allclose(weights(fused), weights(plain), atol=2e-4)


def test_weight_decay_keeps_weights_small(run):
    _, [free], _ = run(optimizer={"name": "adamw", "weight_decay": 0})
    _, [decayed], _ = run(optimizer={"name": "adamw", "weight_decay": 2})
    assert np.linalg.norm(weights(decayed)) < 0.9 * np.linalg.norm(weights(free))


def test_reduce_on_plateau_lowers_the_rate_once_the_validation_loss_stays(run):
    schedule = {"name": "reduce_on_plateau", "patience": 1, "factor": 0.5}
    _, _, history = run(epochs=8, learning_rate=0.1, schedule=schedule)
    losses, rates = ([row[name] for row in history] for name in ("validation_loss", "learning_rate"))
    expected, best, rate = [], float("inf"), 0.1
    for loss in losses:
        expected.append(rate)
        rate = rate if loss < best else rate * 0.5
        best = min(best, loss)
    assert rates == pytest.approx(expected)
    assert rates[-1] < 0.1


def test_early_stopping_ends_the_training_and_ships_the_best_weights(run):
    p, members, history = run(epochs=60, early_stopping={"patience": 2})
    accuracies = [row["validation_accuracy"] for row in history]
    assert len(history) < 60
    assert accuracies.index(max(accuracies)) == len(history) - 1 - p.early_stopping.patience
    assert accuracy(members[0], run.validation) == pytest.approx(max(accuracies))


def test_averaged_weights_are_the_moving_average_of_those_of_each_step_and_are_what_is_validated(run):
    one_step = {"batch_size": 400}  # an epoch is one, so that a shorter training ends with the weights of a step before
    _, [averaged], history = run(epochs=5, weight_average=0.3, **one_step)
    expected = weights(run(epochs=1, learning_rate=1e-12, **one_step)[1][0])
    for done in range(5):
        momentum = min(0.3, (1 + done) / (10 + done))
        expected = momentum * expected + (1 - momentum) * weights(run(epochs=done + 1, **one_step)[1][0])
    np.testing.assert_allclose(weights(averaged), expected, atol=1e-5)
    assert accuracy(averaged, run.validation) == pytest.approx(history[-1]["validation_accuracy"])


def test_label_smoothing_makes_the_model_less_sure(run):
    from stages.train import training

    def confidence(model):
        logits = training.outputs(model, run.train["images"]).astype(np.float64)
        return np.mean(1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))

    _, [plain], _ = run(epochs=12)
    _, [smooth], _ = run(epochs=12, label_smoothing=0.3)
    assert confidence(smooth) < confidence(plain) - 0.1


def test_dropout_makes_training_harder(run):
    _, _, plain = run()
    _, _, dropped = run(model_options={"dropout": 0.8})
    assert dropped[-1]["loss"] > plain[-1]["loss"] + 0.1


def test_batch_normalization_adds_its_weights_and_learns_the_mean_and_variance_of_what_it_sees(run):
    _, [plain], _ = run(model="cnn", model_options={}, epochs=1)
    _, [normalized], _ = run(model="cnn", model_options={"batch_normalization": True}, epochs=1)
    assert normalized.count_params() - plain.count_params() == 4 * (32 + 64 + 128)
    seen = [layer for layer in normalized.layers if "batch_normalization" in layer.name]
    assert len(seen) == 3
    for layer in seen:
        assert np.abs(layer.moving_mean.numpy()).max() > 0.01 and np.abs(layer.moving_variance.numpy() - 1).max() > 0.1


def test_clean_epochs_at_the_end_see_the_images_as_they_are(run):
    strong = {"rotation": 180, "shift": 8, "scale": 0.5, "shear": 30}
    _, _, plain = run(epochs=2)
    _, _, to_the_end = run(epochs=2, augmentation=strong | {"clean_epochs": 0})
    _, _, then_clean = run(epochs=2, augmentation=strong | {"clean_epochs": 1})
    assert to_the_end[0]["loss"] == then_clean[0]["loss"] > plain[0]["loss"]
    assert then_clean[1]["loss"] < to_the_end[1]["loss"] - 0.1


def test_an_ensemble_is_its_seeds_models_averaged_in_one(run):
    from stages.train import export, training

    _, members, history = run(ensemble=2, epochs=1, seed=7)
    singles = [run(epochs=1, seed=seed)[1][0] for seed in (7, 8)]
    for member, single in zip(members, singles):
        assert weights(member).tolist() == weights(single).tolist()
    assert len(history) == 1
    outputs = [export.tf.nn.softmax(training.outputs(member, run.validation["images"])).numpy() for member in members]
    shipped = export.shippable(run.build, members, "ensemble")
    together = shipped(run.validation["images"].astype("float32")).numpy()
    np.testing.assert_allclose(together, np.mean(outputs, axis=0), atol=1e-5)


def test_a_start_from_an_ensemble_brings_the_first_members_weights(run, tmp_path):
    from stages.train import export

    _, members, _ = run(epochs=1, ensemble=2)
    saved = tmp_path / "saved.keras"
    export.save_keras(export.shippable(run.build, members, "fnn"), saved)
    model = run.build()
    start = InitFrom(path=str(saved), sha256=hashlib.sha256(saved.read_bytes()).hexdigest(), frozen_layers=0)
    initialization.start_from(model, start)
    assert weights(model).tolist() == weights(members[0]).tolist()


def test_a_start_from_another_model_brings_its_weights_and_keeps_frozen_ones(run, tmp_path):
    from stages.train import export

    _, members, _ = run(epochs=5)
    saved = tmp_path / "saved.keras"
    export.save_keras(export.shippable(run.build, members, "fnn"), saved)
    start = {"path": str(saved), "sha256": hashlib.sha256(saved.read_bytes()).hexdigest(), "frozen_layers": 1}
    cold = run(epochs=1)[2]
    _, [model], warm = run(epochs=1, init_from=start)
    assert warm[0]["loss"] < cold[0]["loss"] / 2
    kernels = [[layer.kernel.numpy() for layer in each.layers if layer.weights] for each in (members[0], model)]
    assert kernels[1][0].tolist() == kernels[0][0].tolist()
    assert not np.allclose(kernels[1][-1], kernels[0][-1])


@pytest.mark.parametrize("present", [True, False])
def test_a_start_that_is_another_file_than_params_says_is_refused(tmp_path, present):
    file = tmp_path / "start.keras"
    if present:
        file.write_bytes(b"something else")
    start = InitFrom(path=str(file), sha256="0" * 64, frozen_layers=0)
    wrong, missing = "sha256 is not the checksum of .*, which is [0-9a-f]{64}", "must be a .keras file that exists"
    with pytest.raises(UserError, match=f"params.yaml: train.init_from.*{wrong if present else missing}"):
        initialization.check(start)


def test_a_start_that_does_not_fit_is_told_of_the_block_that_names_it(run, tmp_path):
    from stages.train import fitting, models

    start = {"path": str(tmp_path / "start.keras"), "sha256": hashlib.sha256(b"no model").hexdigest()}
    p = check("train", run.block | {"init_from": start | {"frozen_layers": 0}}, Train)
    with pytest.raises(UserError, match=r"^comparison/params.yaml: models.net.init_from.path is .*, must be a"):
        initialization.check(p.init_from, "comparison/params.yaml: models.net")
    (tmp_path / "start.keras").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"^comparison/params.yaml: models.net.init_from.path is .*, not a Keras model"):
        fitting.checked(run.build, p, models.STANDARD, "comparison/params.yaml: models.net")


@pytest.mark.parametrize(("frozen", "most"), [(3, 2), (2, 1)])
def test_layers_that_learnt_nothing_are_not_frozen_and_one_is_left_to_train(run, tmp_path, frozen, most):
    from stages.train import export

    build = run.build if most == 2 else narrow_in_the_middle
    saved = tmp_path / "saved.keras"
    export.save_keras(export.shippable(build, [build()], "fnn"), saved)
    start = InitFrom(path=str(saved), sha256=hashlib.sha256(saved.read_bytes()).hexdigest(), frozen_layers=frozen)
    with pytest.raises(UserError, match=f"frozen_layers is {frozen}, must be at most {most}: .* 3 layers"):
        initialization.start_from(run.build(), start)


def narrow_in_the_middle():
    """The dense 128-64 network with half as many units in its second layer."""
    from keras import Input, Sequential, layers

    dense = [layers.Dense(128, activation="relu"), layers.Dense(32, activation="relu"), layers.Dense(10)]
    return Sequential([Input((28, 28, 1)), layers.Flatten(), *dense])


def test_a_start_that_is_no_keras_file_is_told(run, tmp_path):
    file = tmp_path / "start.keras"
    file.write_bytes(b"no model")
    start = InitFrom(path=str(file), sha256=hashlib.sha256(b"no model").hexdigest(), frozen_layers=0)
    with pytest.raises(UserError, match="train.init_from.path is '.*start.keras', not a Keras model"):
        initialization.start_from(run.build(), start)


@pytest.mark.parametrize("weight_average", [0, 0.9])
def test_a_training_that_diverges_ends_at_once_and_says_so(run, weight_average):
    sgd = {"optimizer": {"name": "sgd", "momentum": 0.9}, "learning_rate": 1e6, "epochs": 90}
    with pytest.raises(UserError, match="diverged in epoch [1-9]: a smaller learning_rate may help"):
        run(**sgd, weight_average=weight_average)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model_options": {"dropout": 30}}, r"model_options is {'dropout': 30}, not for fnn: .*30"),
        (
            {"model_options": {"dropout": 0.999}},
            r"model_options is .*, not for fnn: a dropout of 0.999 drops everything",
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_told(run, changes, line):
    from stages.train import fitting, models

    p = check("train", run.block | changes, Train)
    with pytest.raises(UserError, match=f"^here.{line}"):
        fitting.checked(partial(getattr(models, p.model), 10, **p.model_options), p, models.STANDARD, "here")


@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 20, 3)])
def test_images_that_are_too_small_for_the_network_are_told(run, shape):
    from stages.train import fitting, models

    p = check("train", run.block | {"model": "cnn", "model_options": {}}, Train)
    size = "×".join(map(str, shape))
    with pytest.raises(UserError, match=f"^here.model is cnn, which does not take images of {size}: "):
        fitting.checked(partial(models.cnn, 10, shape), p, shape, "here")


def test_a_fault_of_a_network_is_no_mistake_of_the_user(run):
    from stages.train import fitting, models

    def faulty():
        raise ValueError("forgotten")

    with pytest.raises(ValueError, match="forgotten"):
        fitting.checked(faulty, check("train", run.block | {"model_options": {}}, Train), models.STANDARD, "here")


def test_more_folds_than_the_images_allow_are_told():
    with pytest.raises(UserError, match="train.folds is 6, too many for these images: "):
        held_out(np.repeat([0, 1], 5), None, folds=6, seed=1)
    with pytest.raises(UserError, match="train.folds is 3, too many for these images: "):
        held_out(np.repeat([0, 1], 5), np.repeat([7, 8], 5), folds=3, seed=1)


def test_folds_keep_each_writer_on_one_side_and_use_every_image_once():
    generator = np.random.default_rng(0)
    writers, labels = generator.integers(0, 40, 1000), generator.integers(0, 10, 1000)
    folds = held_out(labels, writers, folds=4, seed=1)
    assert sorted(np.concatenate(folds)) == list(range(1000))
    for fold in folds:
        assert not set(writers[fold]) & set(np.delete(writers, fold))


def test_folds_without_writers_keep_every_class_in_each():
    folds = held_out(np.repeat([0, 1], [90, 10]), None, folds=5, seed=1)
    assert [int((fold >= 90).sum()) for fold in folds] == [2] * 5


def of_both(folds):
    """The probabilities out of fold, of the training images first."""
    return np.concatenate([folds.out_of_fold["train"], folds.out_of_fold["validation"]])


def test_cross_validation_gives_mean_and_standard_deviation(run):
    from stages.train import fitting
    from stages.train.training import Run

    p = run(folds=3, epochs=2)[0]
    folds = fitting.cross_validate(run.build, run.train, run.validation, p, Run("float32"))
    numbers, out_of_fold = folds.metrics, of_both(folds)
    assert 0.5 < numbers["cross_validation_accuracy"] <= 1
    labels = np.concatenate([run.train["labels"], run.validation["labels"]])
    right = out_of_fold.argmax(axis=1) == labels
    assert right.mean() == pytest.approx(numbers["cross_validation_accuracy"])
    each = [right[part].mean() for part in held_out(labels, None, folds=3, seed=p.seed)]
    assert numbers["cross_validation_accuracy_sd"] == pytest.approx(np.std(each, ddof=1))


def test_cross_validation_keeps_each_writer_in_one_fold(run, monkeypatch):
    from stages.train import fitting
    from stages.train.training import Run

    fit, sides = fitting.fit, []

    def watched(build, train, validation, p, *rest):
        sides.append((set(train["writers"]), set(validation["writers"])))
        return fit(build, train, validation, p, *rest)

    p = run(folds=3, epochs=1)[0]
    monkeypatch.setattr(fitting, "fit", watched)
    writers = np.random.default_rng(0).integers(0, 30, 600)
    parts = run.train | {"writers": writers[:400]}, run.validation | {"writers": writers[400:]}
    fitting.cross_validate(run.build, *parts, p, Run("float32"))
    assert len(sides) == 3 and not any(learnt & judged for learnt, judged in sides)
    assert set.union(*(judged for _, judged in sides)) == set(writers)


def test_the_probabilities_out_of_fold_come_from_a_model_that_did_not_see_the_image(run):
    from stages.train import fitting
    from stages.train.training import Run

    generator = np.random.default_rng(0)
    labels = generator.permutation(run.train["labels"])  # nothing to learn but by heart
    p = run(epochs=90, folds=2, learning_rate=0.005)[0]
    planted, build = run.train | {"labels": labels}, partial(run.build, dropout=0)
    out_of_fold = of_both(fitting.cross_validate(build, planted, run.validation, p, Run("float32")))
    by_heart, _ = fitting.fit(build, planted, run.validation, p, Run("float32"))
    assert accuracy(by_heart, planted) > 0.6
    assert np.mean(out_of_fold[: len(labels)].argmax(axis=1) == labels) < 0.3


@pytest.mark.parametrize(
    "learns",
    [
        {"early_stopping": {"patience": 1}},
        {"schedule": {"name": "reduce_on_plateau", "patience": 1, "factor": 0.5}},
    ],
)
def test_what_learns_from_validation_images_never_sees_the_fold_that_is_judged(run, monkeypatch, learns):
    from stages.train import fitting
    from stages.train.training import Run

    fit, looked_at = fitting.fit, []

    def watched(build, train, validation, p, *rest):
        looked_at.append({*train["number"], *validation["number"]})
        return fit(build, train, validation, p, *rest)

    p = run(folds=3, epochs=2, **learns)[0]
    monkeypatch.setattr(fitting, "fit", watched)
    parts = [run.train | {"number": np.arange(400)}, run.validation | {"number": np.arange(400, 600)}]
    fitting.cross_validate(run.build, *parts, p, Run("float32"))
    labels = np.concatenate([run.train["labels"], run.validation["labels"]])
    judged = [set(fold) for fold in held_out(labels, None, folds=3, seed=p.seed)]
    assert [len(seen & fold) for seen, fold in zip(looked_at, judged, strict=True)] == [0, 0, 0]


def test_wrong_labels_are_found_out_of_fold(run, tmp_path):
    from stages.evaluate import suspects
    from stages.train import fitting
    from stages.train.training import Run

    generator = np.random.default_rng(1)
    wrong = generator.choice(400, 12, replace=False)  # 2 % of all
    labels = run.train["labels"].copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, len(wrong))) % 10
    p = run(epochs=20, folds=4)[0]
    folds = fitting.cross_validate(run.build, run.train | {"labels": labels}, run.validation, p, Run("float32"))
    np.savez(tmp_path / "out_of_fold.npz", **folds.out_of_fold)
    found = suspects.find_in_training(tmp_path / "out_of_fold.npz").head(len(wrong))
    assert sum(found["part"].eq("train") & found["index"].isin(wrong)) >= 0.75 * len(wrong)


def test_fitted_temperature_undoes_overconfidence_and_the_shipped_model_carries_it(run, tmp_path):
    from stages.train import calibration, export, fitting, training

    _, members, _ = run(epochs=60, ensemble=2)
    for member in members:  # five times too sure
        member.layers[-1].set_weights([5 * weight for weight in member.layers[-1].get_weights()])
    shipped = export.shippable(run.build, members, "fnn")
    before = training.outputs(shipped, run.validation["images"])
    temperature = calibration.fit_temperature(before, run.validation["labels"])
    assert temperature > 1.5
    saved = tmp_path / "model.keras"
    export.save_keras(export.tempered(shipped, temperature), saved)
    after = training.outputs(export.keras.models.load_model(saved), run.validation["images"])
    labels = run.validation["labels"]
    assert fitting.score(after, labels)[0] < fitting.score(before, labels)[0] - 0.05
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_dropout_keeps_its_share_and_the_expected_sum(run):
    from stages.train.dropout import Dropout, seeded

    with seeded(np.array([1, 2], np.int32)):
        kept = Dropout(0.3)(np.ones((500, 401), np.float32), training=True).numpy()
    assert np.mean(kept == 0) == pytest.approx(0.3, abs=0.01)
    assert kept.mean() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(kept[:, 0], kept[:, 1])[0, 1] == pytest.approx(0, abs=0.2)
    assert (Dropout(0.3)(np.ones((3, 3)), training=False).numpy() == 1).all()


def test_dropout_depends_on_the_step_the_part_of_the_batch_and_the_layer_and_on_nothing_else(run):
    from stages.train.dropout import Dropout, seeded

    layer, ones = Dropout(0.5), np.ones((40, 40), np.float32)

    def masks(*seed):
        with seeded(np.array(seed, np.int32)):
            return [layer(ones, training=True).numpy().tobytes() for _ in range(2)]

    assert masks(3, 0) == masks(3, 0)
    assert len({*masks(3, 0), *masks(3, 1), *masks(4, 0)}) == 6


def test_the_shipped_model_has_only_layers_of_keras(run):
    from stages.train import export

    _, members, _ = run(epochs=1)
    kinds = {type(layer).__module__.split(".")[0] for layer in export.shippable(run.build, members, "fnn").layers}
    assert kinds == {"keras"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"optimizer": {"name": "adam", "weight_decay": 1}}, "train.optimizer.weight_decay is unknown"),
        ({"optimizer": {"name": "adamw"}}, "train.optimizer.weight_decay is missing"),
        ({"optimizer": {"name": "lion"}}, "train.optimizer.name is 'lion', must be one of 'adam', 'adamw', 'sgd'"),
        ({"schedule": {}}, "train.schedule.name is missing"),
        ({"schedule": {"name": "cosine", "factor": 0.5}}, "train.schedule.factor is unknown"),
        ({"model_options": {"width": 2}}, "train.model_options.width is no option of fnn, must be one of: dropout"),
        ({"folds": 1}, "train.folds is 1, must be 0"),
        ({"folds": 3, "ensemble": 2}, "train.folds is 3, must be 0 beside an ensemble"),
        ({"seed": 2**32}, "train.seed is 4294967296, must be less than or equal to 1000000000"),
    ],
)
def test_a_key_that_the_chosen_option_does_not_use_is_an_error(changes, line):
    block = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]
    with pytest.raises(UserError, match=f"params.yaml: {line}"):
        check("train", block | PLAIN | changes, Train)
