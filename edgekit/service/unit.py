"""The systemd unit of a pipeline: started at boot, watched, and kept from all that it does not need.

It is `Type=notify` (`edgekit.service.notify` speaks to systemd): a pipeline that hangs is restarted, one
whose file is wrong (exit 78) is not tried again. As a service of the system it runs as a user of its own that
owns only its state folder. That of a user's own systemd is this user; the guards that need root are left out
there.
"""

from __future__ import annotations

from collections.abc import Iterable

_SERVICE = """\
[Unit]
Description=edgekit: {sees} sees, MQTT hears
Wants=network-online.target
After=network-online.target time-sync.target mosquitto.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=60
TimeoutStartSec=90
TimeoutStopSec=15
Restart=on-failure
RestartSec=5
# 78: the pipeline's file is wrong, 2: the command line is: another try would end the same way
RestartPreventExitStatus=78 2
SuccessExitStatus=143
StateDirectory={state}
StateDirectoryMode=0700
UMask=0077
"""
_OWN_USER = """
# a user of its own, who owns the state folder and sees cameras
DynamicUser=yes
SupplementaryGroups=video
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateMounts=yes
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RemoveIPC=yes
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-dma_heap rw
"""
_GUARDS = """
# nothing else
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

# the rest of the machine stays usable
MemoryMax=75%
TasksMax=256
OOMPolicy=stop

[Install]
WantedBy={target}.target
"""


def unit_of_kit(sees: str, credentials: Iterable[str], *, of_user: bool) -> str:
    """The unit of a deployed kit; on the device its folder stands for @ROOT@. Before each start
    `edgekit.kit.agent` looks whether the device has restarted since. `credentials` are files in
    @ROOT@/credentials.
    """
    more = [
        'ExecStartPre=-+/usr/bin/env python3 -I "@ROOT@/current/site/edgekit/kit/agent.py" boot "@ROOT@"',
        "EnvironmentFile=-@ROOT@/env",
    ]
    if not of_user:  # who may not look into homes, but for that folder
        more += ['BindReadOnlyPaths="@ROOT@"']
        more += [f"LoadCredential={name}:@ROOT@/credentials/{name}" for name in credentials]
    return unit_text(sees, '"@ROOT@/current/run" --quiet', more, home="tmpfs", of_user=of_user)


def unit_text(
    sees: str,
    start: str,
    more: Iterable[str] = (),
    *,
    state: str = "edgekit",
    home: str = "yes",
    of_user: bool = False,
) -> str:
    """A unit file. `sees` names the pipeline and `start` is the command line, both escaped for systemd;
    `more` are lines for [Service], `state` is the folder in /var/lib, and `home` is how much is seen of homes
    (ProtectHome).
    """
    head = _SERVICE.format(sees=sees, start=start, state=state) + "".join(f"{line}\n" for line in more)
    guards = _GUARDS.format(target="default" if of_user else "multi-user")
    return head + ("" if of_user else _OWN_USER.format(home=home)) + guards
