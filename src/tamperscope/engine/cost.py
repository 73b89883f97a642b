"""What a network costs: multiply-accumulates of one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def macs(network: nn.Module, run: Callable[[], Any]) -> tuple[int, int]:
    """Return the multiply-accumulates of matrix products and convolutions in a call, and of these in attention.

    Args:
        network: Whose gradients are left out of account.
        run: The call, such as `lambda: network(image)`.
    """

    def attention(query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    # The library does not know the kernel of CPUs.
    known = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)  # the counter follows gradients where there could be some
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=known) as counter:
            run()
    finally:
        for parameter, before in zip(network.parameters(), wanted, strict=True):
            parameter.requires_grad_(before)
    counts = counter.get_flop_counts().get("Global", {})
    return counter.get_total_flops() // 2, sum(v for op, v in counts.items() if "attention" in str(op)) // 2
