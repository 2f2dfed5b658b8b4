"""A network over one image at every price that fits in a file to hand on."""

from __future__ import annotations

from app import handing
from app.folders import InputError, sentence
from app.loaders.any_tau import num_taus
from app.loaders.checkpoints import net
from app.loaders.running import forward
from app.records import Look, Run
from sact_core.handout import Thought, think


def thought(look: Look, run: Run, name: str) -> Thought:
    """What a network did with an image; one that takes any tau runs at many.

    Parameters
    ----------
    look, run : Look and Run
        What is shown.
    name : str
        What the network is called.

    Raises
    ------
    InputError
        If the network cannot run.
    """
    tau = look.model.tau if look.model.tau_range is None else look.tau
    try:
        network = net(look.model, run.backend, run.result.precision)
        if tau is None:
            tau = network.tau
        return think(
            network,
            run.seen.x,
            run.result,
            name=name,
            tau=tau,
            about=handing.rows(look, run),
            most=num_taus(look, run.backend),
            forward=lambda x, tau: forward(network, x, tau),
        )
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None
