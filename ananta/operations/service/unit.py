"""The systemd unit, with a reason for what it leaves open."""

UNIT = """\
# Made by `ananta service install`, which replaces it. Own changes: systemctl edit {name}
[Unit]
Description=Ananta {role}: a language model's terminal, under control
Wants=network-online.target
After=network-online.target postgresql.service
# It goes on trying: what it needs, such as a database elsewhere, may be there later.
StartLimitIntervalSec=0

[Service]
# The program says itself when it answers, and goes on saying so while it answers itself.
Type=notify
NotifyAccess=main
WatchdogSec=60
ExecStart={program}
Restart=on-failure
RestartSec=5
# 2: a setting is not possible, or a file is damaged. Trying again would not help.
RestartPreventExitStatus=2
# It lets commands finish for a moment and records them; it is stopped within ten seconds.
KillMode=mixed
TimeoutStopSec=20
# A command that takes all memory is ended, not the service.
OOMPolicy=continue

User={user}
Group={user}
UMask=0077
StateDirectory={state}
StateDirectoryMode=0700
# Not a folder in which commands can write: `.env` and blacklist.txt are looked for here.
WorkingDirectory={etc}
Environment=DATA_DIR={data} WORK_DIR={work}
EnvironmentFile={etc}/ananta.env
# Secrets are files that only root can read; the service gets copies that no other one sees. Without its token it must not
# start: it would be open to everybody on this machine.
Environment=AGENT_TOKEN_FILE=/run/credentials/{name}.service/agent_token
{credentials}

# --- What commands may do. They run with these limits, too.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
# What holds back commands that nobody decided about.
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallFilter=~@mount @swap @reboot @module @raw-io @clock @cpu-emulation @debug @obsolete

# --- What is left open, and why. Each can be closed with `systemctl edit {name}`.
# PrivateNetwork, IPAddressDeny: it is called over the network, and calls models and its hub, wherever they are.
# RestrictAddressFamilies: IP as above; AF_UNIX for the journal and local databases, AF_NETLINK for `ip`, `ss` and looking up names.
# SocketBindDeny: a command may start a server; the policy asks about that first.
# PrivateUsers: `ls -l` would show nobody as the owner of almost everything.
# ProtectProc, ProcSubset: `ps`, `top`, `free` and `uptime` are what people ask for most.
# MemoryDenyWriteExecute: PowerShell, Node and Java translate programs while they run, and would not start.
# SystemCallFilter=~@privileged: `ping` sets its capabilities, `tar` and `cp -p` set owners; without capabilities both gain nothing.
# SystemCallFilter=~@resources: `nice`, `ulimit` and the time limits of commands use it.
# DeviceAllow: ProtectClock opens the clock for reading, nothing else.
# RootDirectory: commands are about this machine.
# A further folder for commands to change: ReadWritePaths=/srv/project; homes: ProtectHome=read-only

[Install]
WantedBy=multi-user.target
"""


def text(*, name: str, role: str, program: str, user: str, etc: str, data: str, work: str, state: str,
         credentials: dict[str, str]) -> str:
    """Returns the unit. state: folders below /var/lib; credentials: names of secrets and the files that hold them."""
    return UNIT.format(name=name, role=role, program=program, user=user, etc=etc, data=data, work=work, state=state,
                       credentials="\n".join(f"LoadCredential={each}:{file}" for each, file in sorted(credentials.items())))
