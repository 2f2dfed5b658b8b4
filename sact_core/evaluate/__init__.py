"""Evaluation of a checkpoint, once or continuously while it trains.

``python -m sact_core.evaluate --checkpoint pretrained/NAME.h5``
"""

from sact_core.evaluate.run import classes_of, evaluate, loss_terms, trained_prices

__all__ = ["classes_of", "evaluate", "loss_terms", "trained_prices"]
