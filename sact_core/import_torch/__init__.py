"""Import a network from a state dict of PyTorch, reading tensors and nothing else.

    python -m sact_core.import_torch lite0.pth --as efficientnet-lite0 --out lite0.h5
    python -m sact_core.import_torch mine.pth --as cifar --names names.json --out mine.h5

``--as`` names a published network, whose names are known, or one of our families. Of a
family the network is found from names and shapes: units per block, width, classes,
halting. ``--names`` is a table from our names to those of the file (`sact_core.
import_torch.names`); without it they are those of `sact_core.backends.dense.Network`.
Weights are taken over bit for bit; only their axes change places.

Source: names of ``efficientnet-lite-pytorch`` (Apache-2.0), as of ``efficientnet_pytorch``.
"""

from sact_core.import_torch.convert import import_state_dict

__all__ = ["import_state_dict"]
