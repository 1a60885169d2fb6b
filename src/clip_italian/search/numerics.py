"""The few functions of scipy that searching needs. scipy itself takes 143 MB, and is not installed with the core."""

import numpy as np

_REACH = 4  # standard deviations


def softmax(values: np.ndarray) -> np.ndarray:
    """Probabilities (n, c) that sum to 1 in each row of values (n, c)."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def expit(values: np.ndarray) -> np.ndarray:
    """The logistic curve 1 / (1 + exp(-x)) of values of any shape."""
    small = np.exp(-np.abs(values))  # at most 1, so nothing overflows
    return np.where(values >= 0, 1, small) / (1 + small)


def smooth(grid: np.ndarray, sigma: float) -> np.ndarray:
    """A grid (rows, columns) float64 after a Gaussian filter; outside the grid are copies of its edge."""
    reach = int(_REACH * sigma + 0.5)
    weights = np.exp(-0.5 / sigma**2 * np.arange(-reach, reach + 1) ** 2)
    weights = (weights / weights.sum())[reach:]
    for _ in range(2):
        length = len(grid)
        padded = np.pad(grid, ((reach, reach), (0, 0)), mode="edge")
        total = weights[0] * grid
        # In pairs, as in scipy: the sum over a symmetric grid is symmetric to the last bit.
        for far in range(reach, 0, -1):
            total += weights[far] * (padded[reach - far :][:length] + padded[reach + far :][:length])
        grid = total.T
    return grid


def connected(mask: np.ndarray, row: int, column: int) -> np.ndarray:
    """The part of a mask (rows, columns) that is connected to a cell of it, over sides and not over corners."""
    part = np.zeros_like(mask)
    part[row, column] = True
    while True:
        grown = part.copy()
        grown[1:] |= part[:-1]
        grown[:-1] |= part[1:]
        grown[:, 1:] |= part[:, :-1]
        grown[:, :-1] |= part[:, 1:]
        grown &= mask
        if np.array_equal(grown, part):
            return part
        part = grown
