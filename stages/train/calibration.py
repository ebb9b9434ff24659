"""Temperature scaling: confidence that matches accuracy."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

RANGE = (0.1, 10.0)  # a temperature at an end says that something else is wrong


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T for which softmax(log p / T) gives `labels` (N,) the least log loss (Guo et al. 2017).

    `probabilities` is float32 (N, classes). Above 1: the model was too confident. No prediction
    changes, only its confidence.
    """
    log_probabilities = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))

    def loss(log_temperature: float) -> float:
        tempered = log_softmax(log_probabilities / np.exp(log_temperature), axis=1)
        return -float(tempered[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(loss, bounds=(math.log(RANGE[0]), math.log(RANGE[1])), method="bounded")
    return round(float(np.exp(found.x)), 4)
