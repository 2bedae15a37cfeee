"""What is known of each phone, board, browser and of this machine: one TOML file per device.

Importable as ``edgesparse.devices`` only (see edgesparse/ and setup.py). To add a device, copy a
``.toml`` file: its name is the device's name.
"""

from __future__ import annotations

if __name__ != "edgesparse.devices":
    raise ImportError("import edgesparse.devices instead of devices")

from edgesparse.devices.device import Cluster, Device, known_devices, load_device

__all__ = ["Cluster", "Device", "known_devices", "load_device"]
