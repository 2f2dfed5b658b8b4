"""An example image, run by one of the tiny networks."""

from __future__ import annotations

from typing import Any

from app import loaders
from app.records import Look, Model, Picture, Run


def example_run(
    name: str = "tiny_sact_tau0.005", image: str = "Cat", **options: Any
) -> tuple[Model, Picture, Run]:
    """The network, the image and the result of that network on that image."""
    model, picture = loaders.model(name), loaders.example(image)
    return model, picture, loaders.run(Look(model, picture, **options))
