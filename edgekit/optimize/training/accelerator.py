"""Where a training computes: on the CPU, or on an NVIDIA GPU where torch sees one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edgekit.errors import UsageError

NAMES = ("auto", "cpu", "cuda")


def accelerator(name: str = "auto") -> torch.device:
    """The device of that name; `auto` is `cuda` where torch sees a GPU, else `cpu`.

    UsageError for another name, and for `cuda` where torch sees no GPU.
    """
    if name not in NAMES:
        raise UsageError(f"accelerator: expected one of {', '.join(NAMES)}, not {name!r}")
    seen = torch.cuda.is_available()
    if name == "cuda" and not seen:
        raise UsageError(f"accelerator cuda: {_reason()}, or give --accelerator cpu")
    if name == "cpu" or not seen:
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False  # int8 is imitated in float32, whose last bits matter there
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda")


@contextmanager
def coarse_products(*, on: bool = True) -> Iterator[None]:
    """Within it an NVIDIA GPU rounds the factors of convolutions to 10 bits (TF32), which is much faster."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def layout(device: torch.device, *, bfloat16: bool = False) -> torch.memory_format:
    """How pictures lie in memory: channels last is faster, but for float32 on a GPU."""
    slow = device.type == "cuda" and not bfloat16
    return torch.contiguous_format if slow else torch.channels_last


def _reason() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: install a build with it"
    return "torch sees no NVIDIA GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES"


def title(device: torch.device) -> str:
    """What a run says of its device."""
    if device.type == "cuda":
        return f"on {torch.cuda.get_device_name(device)}"
    return f"on the CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


def maker(device: torch.device) -> str:
    """What a card says of what trained its model."""
    return f"{title(device)}, torch {torch.__version__}"
