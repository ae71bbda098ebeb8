"""How a training saves a board's memory: from what is fastest to what takes least."""

from collections.abc import Callable
from typing import Any

from ..errors import Attn8Error
from ..plan.inference import Plan

CHOICES = {
    "fast": "keeps what a pass computes",
    "recompute": "computes part of it again, to the same bit",
    "plain": "computes part of it again, and has no momentum",
    "direct": "has no momentum and no gradients: one sample a step, each parameter trains "
              "at once",
}


def saving(config: dict[str, Any], how: str) -> dict[str, Any]:
    """The config of a training file that saves memory so.

    Raises:
        Attn8Error: its optimizer has a memory that it cannot do without.
    """
    optimizer = config["optimizer"]
    if how in ("plain", "direct") and optimizer["type"] != "sgd":
        raise Attn8Error(f"--memory {how}: {optimizer['type']} keeps means of gradients; give "
                         "--optimizer sgd")
    if how != "fast":
        config = {**config, "recompute": True}
    if how in ("plain", "direct"):
        config["optimizer"] = {"type": "sgd", "lr": optimizer["lr"]}
    if how == "direct":
        config["optimizer"]["direct"] = True
        config["batch"] = 1
    return config


def choose(planned: Callable[[str], Plan], optimizer: str) -> tuple[str, Plan]:
    """The fastest of CHOICES that fits a chip, else "fast"; and its plan. What has layers that do
    not train "direct" has the others.

    Args:
        planned: what a training takes that saves memory so.
        optimizer: "sgd" or "adam", which has the first two alone.
    """
    first = None
    for how in list(CHOICES) if optimizer == "sgd" else list(CHOICES)[:2]:
        try:
            plan = planned(how)
        except Attn8Error:
            if how == "direct":
                break
            raise
        first = first or plan
        if any(plan.fits.values()):
            return how, plan
    assert first
    return "fast", first
