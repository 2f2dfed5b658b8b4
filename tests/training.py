"""What the tests of training share: tiny networks, images of noise, and flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sact_core.config import NetworkConfig
from sact_core.data.source import Examples
from sact_core.preprocess import normalise
from sact_core.train.batches import Batch

TINY = NetworkConfig(units_per_block=(2, 2, 2), base_channels=4, num_classes=3, halting="sact")


def draw_images(num: int, seed: int = 0, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter in the upper half (class 1) or in the lower half (class 2)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    images = rng.integers(0, 120, (num, side, side, 3))
    images[labels == 1, : side // 2] += 100
    images[labels == 2, side // 2 :] += 100
    return images.astype(np.uint8), labels


def examples(num: int, seed: int = 0) -> Examples:
    images, labels = draw_images(num, seed)
    return Examples(images, labels, ("flat", "upper", "lower"), "noise", "train")


def write_data_set(folder: Path, num_train: int) -> str:
    """A folder of class folders with the splits ``train`` and ``test`` (24)."""
    for split, num in (("train", num_train), ("test", 24)):
        for i, (image, label) in enumerate(zip(*draw_images(num, num), strict=True)):
            where = folder / split / f"class{label}"
            where.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(where / f"{i:03d}.png")
    return str(folder)


def flags(data_set: str, run_dir: Path, *more: str) -> list[str]:
    return [
        *("--dataset", data_set, "--run-dir", str(run_dir), "--num-threads", "1"),
        *("--halting", "sact", "--units", "2", "--base-channels", "4", "--batch-size", "24"),
        *("--preset", "fast", "--amp", "off", "--halting-bias", "-1", "--device", "cpu"),
        *more,
    ]


def batch(num: int = 12) -> Batch:
    images, labels = draw_images(num)
    return Batch(normalise(images, "cifar"), labels)
