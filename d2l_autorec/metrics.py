"""Metrics in plain NumPy; each docstring has the formula."""

import numpy as np


def rmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Root mean squared error, sqrt(mean((truth - prediction)^2)), in float64; NaN of nothing."""
    error = np.asarray(truth, dtype=np.float64) - np.asarray(prediction, dtype=np.float64)
    return float(np.sqrt(np.mean(np.square(error)))) if error.size else float("nan")


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute error, mean(|truth - prediction|), in float64; NaN of nothing."""
    error = np.asarray(truth, dtype=np.float64) - np.asarray(prediction, dtype=np.float64)
    return float(np.mean(np.abs(error))) if error.size else float("nan")
