"""What numbers come from: the hardware and the versions behind them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "torch", "tensorflow-datasets", "Pillow", "h5py")


def hardware(device: str = "cpu") -> str:
    """Name the processor, its cores, and the GPU where one was used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    text = f"{name}, {os.cpu_count()} cores"
    if device.startswith("cuda"):
        import torch

        text = f"{torch.cuda.get_device_name()}; {text}"
    return text


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of packages, by default those that decide the numbers, and of Python."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
