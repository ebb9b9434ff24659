"""The `train` block of params.yaml."""

import ast
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stages.common.parameters import Block


def model_names() -> list[str]:
    """The functions of models.py that build a model, found without importing Keras."""
    module = ast.parse(Path(__file__).with_name("models.py").read_text(encoding="utf-8"))
    return [node.name for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def known_model(name: str) -> str:
    if name not in model_names():
        raise ValueError(f"must be a function of stages/train/models.py: {', '.join(model_names())}")
    return name


class Augmentation(Block):
    rotation: float = Field(ge=0, le=180)  # degrees
    shift: float = Field(ge=0, le=14)  # pixels
    scale: float = Field(ge=0, lt=1)  # fraction of the size
    shear: float = Field(ge=0, le=45)  # degrees


class Train(Block):
    model: Annotated[str, AfterValidator(known_model)]
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_fraction: float = Field(ge=0, lt=1)
    weight_average: float = Field(ge=0, lt=1)
    augmentation: Augmentation
    precision: Literal["auto", "float32", "bfloat16"]
    threads: int = Field(gt=0, le=256)
    seed: int = Field(ge=0)
