"""How a network's weights lie in memory."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """Lay out a network's convolutions channels last, which they are fastest in; the network."""
    # Module.to takes a memory format at run time; its annotations do not know it.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
