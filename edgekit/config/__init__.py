"""The pipeline's YAML file, checked: `load_config(path) -> Config`."""

from __future__ import annotations

from edgekit.config.loading import (
    BudgetConfig,
    CameraConfig,
    Config,
    ConfirmConfig,
    DeviceConfig,
    MqttConfig,
    config_hash,
    config_of,
    config_schema,
    load_config,
    mask_url,
    override_config,
    parse_config,
    quick_config,
    resolved_yaml,
)

__all__ = [
    "BudgetConfig",
    "CameraConfig",
    "Config",
    "ConfirmConfig",
    "DeviceConfig",
    "MqttConfig",
    "config_hash",
    "config_of",
    "config_schema",
    "load_config",
    "mask_url",
    "override_config",
    "parse_config",
    "quick_config",
    "resolved_yaml",
]
