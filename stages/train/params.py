"""The `train` block of params.yaml. A key that the chosen option does not use is an error."""

import ast
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from stages.common.parameters import Block

OPTIONS: dict[str, tuple[Any, str]] = {
    "float": ((int, float), "a number"),
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
}


def model_functions() -> dict[str, dict[str, str]]:
    """The functions of models.py that build a model, with the types of their options; read without importing Keras."""
    module = ast.parse(Path(__file__).with_name("models.py").read_text(encoding="utf-8"))
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {
        node.name: {each.arg: ast.unparse(each.annotation) if each.annotation else "" for each in node.args.kwonlyargs}
        for node in functions
    }


def known_model(name: str) -> str:
    if name not in model_functions():
        raise ValueError(f"must be a function of stages/train/models.py: {', '.join(model_functions())}")
    return name


class Adam(Block):
    name: Literal["adam"]


class AdamW(Block):
    name: Literal["adamw"]
    weight_decay: float = Field(ge=0)


class Sgd(Block):
    name: Literal["sgd"]
    momentum: float = Field(ge=0, lt=1)


class Constant(Block):
    name: Literal["constant"]


class Step(Block):
    name: Literal["step"]
    every_epochs: int = Field(gt=0)
    factor: float = Field(gt=0, lt=1)


class Cosine(Block):
    name: Literal["cosine"]


class OneCycle(Block):
    name: Literal["one_cycle"]
    warmup_fraction: float = Field(gt=0, lt=1)


class ReduceOnPlateau(Block):
    name: Literal["reduce_on_plateau"]
    patience: int = Field(gt=0)  # epochs
    factor: float = Field(gt=0, lt=1)


class Augmentation(Block):
    rotation: float = Field(ge=0, le=180)  # degrees
    shift: float = Field(ge=0, le=14)  # pixels
    scale: float = Field(ge=0, lt=1)  # fraction of the size
    shear: float = Field(ge=0, le=45)  # degrees
    clean_epochs: int = Field(ge=0)


class EarlyStopping(Block):
    patience: int = Field(gt=0)  # epochs


class InitFrom(Block):
    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    frozen_layers: int = Field(ge=0)


class Train(Block):
    model: Annotated[str, AfterValidator(known_model)]
    model_options: dict[str, Any]
    epochs: int = Field(gt=0, le=100_000)
    batch_size: int = Field(gt=0, le=1_000_000)
    learning_rate: float = Field(gt=0, le=1_000_000)
    optimizer: Annotated[Adam | AdamW | Sgd, Field(discriminator="name")]
    schedule: Annotated[Constant | Step | Cosine | OneCycle | ReduceOnPlateau, Field(discriminator="name")]
    label_smoothing: float = Field(ge=0, lt=1)
    weight_average: float = Field(ge=0, lt=1)
    temperature_scaling: bool
    early_stopping: EarlyStopping | None
    augmentation: Augmentation | None
    init_from: InitFrom | None
    ensemble: int = Field(gt=0, le=100)
    folds: int = Field(ge=0, le=100)
    precision: Literal["auto", "float32", "bfloat16", "portable"]
    micro_batches: int = Field(gt=0, le=256)
    seed: int = Field(ge=0, le=1_000_000_000)

    @model_validator(mode="after")
    def fits_together(self) -> "Train":
        known = model_functions()[self.model]
        if unknown := self.model_options.keys() - known:
            options = ", ".join(sorted(known)) or "none"
            raise ValueError(f"model_options.{min(unknown)} is no option of {self.model}, must be one of: {options}")
        for name, value in self.model_options.items():
            kind, words = OPTIONS.get(known[name], (object, ""))
            if not isinstance(value, kind) or (isinstance(value, bool) and known[name] in ("int", "float")):
                raise ValueError(f"model_options.{name} is {value!r}, must be {words}")
        if self.micro_batches > self.batch_size:
            raise ValueError(f"micro_batches is {self.micro_batches}, must be at most batch_size, {self.batch_size}")
        if self.folds == 1:
            raise ValueError("folds is 1, must be 0 (no cross-validation) or at least 2")
        if self.folds and self.ensemble > 1:
            raise ValueError(f"folds is {self.folds}, must be 0 beside an ensemble: a fold is judged by one model")
        late = {
            "augmentation.clean_epochs": getattr(self.augmentation, "clean_epochs", 0),
            "schedule.every_epochs": getattr(self.schedule, "every_epochs", 0),
            "schedule.patience": getattr(self.schedule, "patience", 0),
        }
        for key, epochs in late.items():
            if epochs >= self.epochs:
                raise ValueError(f"{key} is {epochs}, must be less than epochs, {self.epochs}: else it changes nothing")
        return self
