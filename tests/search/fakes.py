"""A picture encoder without a neural network: a fixed random projection of an 8 x 8 picture."""

import hashlib
from pathlib import Path

import numpy as np

from clip_italian.models.precision import Identity
from clip_italian.pictures.decoding import open_picture

DIM = 24


class FakeEncoder:
    """What `search.embed` needs of an encoder; counts what it embeds."""

    dim = DIM
    at_least = None
    picture_batch = 8

    def __init__(self, seed=0):
        self.embedded = 0
        self.projection = np.random.default_rng(seed).standard_normal((192, DIM)).astype(np.float32)
        self.weights_hash = hashlib.sha256(self.projection.tobytes()).hexdigest()[:16]
        self.identity = Identity(self.weights_hash, self.weights_hash)

    def preprocess(self, image):
        return np.asarray(image.convert("RGB").resize((8, 8)), np.float32).ravel() / 255 - 0.5

    def encode_pixels(self, pixels):
        self.embedded += len(pixels)
        vectors = np.stack(pixels) @ self.projection + 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_images(self, images):
        opened = (open_picture(image) if isinstance(image, Path) else image for image in images)
        return self.encode_pixels([self.preprocess(image) for image in opened])
