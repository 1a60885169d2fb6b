"""What embeddings must be before anything is computed from them: finite, not zero, of one dimension, of unit length."""

import numpy as np

from clip_italian.errors import UserError

_ROWS = 8192  # at a time, so that float64 copies stay small
_UNIT = 1e-6  # a length this near to 1 is a float32 vector that was normalised


def unit(embeddings: np.ndarray, what: str = "embeddings") -> np.ndarray:
    """The rows scaled to unit length: (n, d) float32; the array itself where they have it already.

    Raises UserError, which names the rows by `what`, where there is none, or one is zero or not finite.
    """
    if embeddings.ndim != 2 or not embeddings.size:
        shape = " x ".join(map(str, embeddings.shape))
        raise UserError(f"{what}: no embeddings to compare (an array of {shape}); check that anything could be read")
    lengths = np.empty(len(embeddings))
    for start in range(0, len(embeddings), _ROWS):
        part = embeddings[start : start + _ROWS]
        lengths[start : start + _ROWS] = np.sqrt(np.einsum("nd,nd->n", part, part, dtype=np.float64))
    for bad, name in ((~np.isfinite(lengths), "not finite (NaN or infinite)"), (lengths == 0, "zero")):
        if bad.any():
            raise UserError(
                f"{what}: {np.count_nonzero(bad):,} of {len(bad):,} embeddings are {name}, the first is "
                f"number {np.flatnonzero(bad)[0] + 1}; the model is damaged or its training diverged, use another one"
            )
    if embeddings.dtype == np.float32 and np.abs(lengths - 1).max() <= _UNIT:
        return embeddings
    scaled = np.empty(embeddings.shape, np.float32)
    for start in range(0, len(embeddings), _ROWS):
        some = slice(start, start + _ROWS)
        scaled[some] = embeddings[some] / lengths[some, None]
    return scaled


def same_dimension(first: np.ndarray, second: np.ndarray, first_name: str, second_name: str) -> None:
    """Raises UserError where two sets of embeddings cannot be of one model."""
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"{first_name} have {first.shape[1]} dimensions, {second_name} {second.shape[1]}: they come from different "
            "models; embed both with the same one"
        )
