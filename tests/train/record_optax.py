"""Record what optax does to a few weights in 50 steps: the numbers in data/optax_trajectory.json.

    python -m venv /tmp/optax && /tmp/optax/bin/pip install optax==0.2.8
    /tmp/optax/bin/python tests/train/record_optax.py > tests/train/data/optax_trajectory.json

The chain is the published training script's. Weights have flax's shapes: a linear layer is (in,
out), a convolution (height, width, in, out), an embedding table (number, features).
"""

import json

import numpy as np

STEPS, WARMUP, RATE = 50, 5, 2e-3
SHAPES = {"number": (), "bias": (7,), "linear": (5, 4), "column": (6, 1), "table": (6, 3), "convolution": (2, 2, 3, 2)}


def start(shape: tuple[int, ...]) -> np.ndarray:
    """Weights before the first step; a linear layer's first output starts at 0."""
    weights = 0.2 * np.cos(1.3 * np.arange(np.prod(shape, dtype=int)) + len(shape)).reshape(shape)
    if len(shape) == 2:
        weights[:, 0] = 0
    return weights


def gradient(weights: np.ndarray, step: int) -> np.ndarray:
    """Of a bowl that is shaken: it depends on the weights, and some units' is beyond the clipping, some within."""
    index = np.arange(weights.size).reshape(weights.shape)
    size = 10.0 ** (np.indices(weights.shape)[-1] - 4.0) if weights.ndim else 1e-3
    return size * (weights + np.sin(1.7 * index + 0.9 * step))


def main() -> None:
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    schedule = optax.warmup_cosine_decay_schedule(0.0, RATE, WARMUP, STEPS)
    chain = optax.chain(
        optax.adaptive_grad_clip(0.01, eps=1e-3),
        optax.scale_by_belief(),
        optax.scale_by_schedule(schedule),
        optax.scale(-1.0),
    )
    weights = {name: jnp.asarray(start(shape)) for name, shape in SHAPES.items()}
    state = chain.init(weights)
    steps = []
    for step in range(STEPS):
        gradients = {name: jnp.asarray(gradient(np.asarray(value), step)) for name, value in weights.items()}
        updates, state = chain.update(gradients, state, weights)
        weights = optax.apply_updates(weights, updates)
        flat = {name: np.round(np.asarray(value).ravel(), 9).tolist() for name, value in weights.items()}
        steps.append({"rate": float(schedule(step)), "weights": flat})
    lines = ",\n".join(json.dumps(step, separators=(",", ":")) for step in steps)
    print(f'{{"optax": "{optax.__version__}", "steps": [\n{lines}\n]}}')


if __name__ == "__main__":
    main()
