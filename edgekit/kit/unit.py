"""The systemd unit of a deployed kit.

On the device its folder stands for @ROOT@, and multi-user or default for @TARGET@.
"""

from __future__ import annotations

UNIT = """\
[Unit]
Description=edgekit: what the cameras see
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=exec
ExecStart=@ROOT@/current/run
EnvironmentFile=-@ROOT@/env
StateDirectory=edgekit
Restart=on-failure
RestartSec=5
# A usage error and a mistake in the config do not mend themselves; 143 is the way out after SIGTERM.
RestartPreventExitStatus=2 78
SuccessExitStatus=143
NoNewPrivileges=yes

[Install]
WantedBy=@TARGET@.target
"""
