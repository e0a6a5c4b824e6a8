#!/bin/bash
# What must hold on a machine with a real systemd as its first process. Runs as root in the booted container, where
# /test is this folder, /dist the packages, /source the checkout and /wheels what pip needs offline.
set -euo pipefail
unit=capture-agent.service
etc=/etc/capture-agent
data=/var/lib/capture-agent

step() { echo "[$SECONDS s] $*"; }
fail() {
    echo "FAILED: $*"
    systemctl status $unit --no-pager || true
    journalctl -u $unit --no-pager -n 30 || true
    echo "FAILED: $*"
    exit 1
}
holds() { local what="$1"; shift; "$@" || fail "$what"; }
fails() { local what="$1"; shift; if "$@"; then fail "$what"; fi; }
within() {  # within SECONDS WHAT COMMAND...: it holds by then
    local until=$((SECONDS + $1)) what="$2"; shift 2
    until "$@" 2>/dev/null; do [ $SECONDS -lt $until ] || fail "$what"; sleep 0.2; done
}
shows() { [ "$(systemctl show -P "$1" $unit)" = "$2" ]; }
status() {  # status EXPRESSION: of `s`, what `capture-agent status --json` says
    capture-agent status --json | python3 -c "import json, sys; s = json.load(sys.stdin); sys.exit(not ($1))"
}
captures() { find $data/captures -name '*.json' 2>/dev/null | wc -l; }
configure() { install -m 640 -o root -g capture-agent /test/config.toml $etc/config.toml; }
. /test/guest_trouble.sh

begin() {  # a first start, as after a boot
    configure
    install -m 600 <(echo sesame) $etc/secrets/lab-token
    mkdir -p /mnt/archive && chown capture-agent: /mnt/archive
    systemctl is-active --quiet lab || systemd-run --quiet --unit=lab python3 /test/server.py /tmp/received sesame
    systemctl enable --quiet --now $unit
    holds "it has told systemd that it is ready" shows ActiveState active
    holds "it is known by its notifications" shows NotifyAccess main
    within 30 "all streams run" status 'all(x["state"] == "running" for x in s["streams"].values())'
    within 30 "captures arrive in a mounted folder" sh -c 'find /mnt/archive -name "*.csv" | grep -q .'
    within 30 "the credential is read, captures arrive over HTTP" sh -c 'ls /tmp/received | grep -q csv'
}

check_access() {
    step "who may ask, who may read"
    useradd --groups capture-agent insider
    useradd outsider
    holds "a member of the group asks" runuser -u insider -- capture-agent status >/dev/null
    holds "a member of the group reads" runuser -u insider -- capture-agent captures list >/dev/null
    fails "others do not" runuser -u outsider -- capture-agent status 2>/dev/null
    fails "the daemon's user does not read secrets" runuser -u capture-agent -- cat $etc/secrets/lab-token 2>/dev/null
    fails "nor does a member of its group" runuser -u insider -- cat $etc/secrets/lab-token 2>/dev/null
    fails "no secret is said" sh -c "{ capture-agent status --json; journalctl -u $unit; grep -r . /mnt/archive $data --include=*.json; } | grep sesame"
}

check_sandbox() {
    step "nothing is writable but its own folders"
    local pid writable
    pid=$(systemctl show -P MainPID $unit)
    # as root in its mount namespace: what is found is what the mounts allow, whoever one is
    writable=$(nsenter -t "$pid" -m find / \( -path /proc -o -path /sys -o -path /dev -o -path $data \
        -o -path /run/capture-agent -o -path /tmp -o -path /var/tmp -o -path /mnt -o -path /media \) -prune \
        -o \( -type d -o -type f \) -writable -print 2>/dev/null | grep -v '^/run/credentials' | head -5 || true)
    [ -z "$writable" ] || fail "writable for it: $writable"
    holds "its own data is" nsenter -t "$pid" -m test -w $data
    holds "its privileges are gone" grep -q 'CapBnd:\s*0000000000000000' "/proc/$pid/status"
    holds "system calls are filtered" grep -q 'Seccomp:\s*2' "/proc/$pid/status"
    holds "no new privileges" grep -q 'NoNewPrivs:\s*1' "/proc/$pid/status"
    mkdir -p /mnt/stick
    mount -t tmpfs stick /mnt/stick
    holds "a stick that is plugged in later is there for it" nsenter -t "$pid" -m sh -c 'mountpoint -q /mnt/stick && test -w /mnt/stick'
    umount /mnt/stick
    fails "and gone when it is pulled out" nsenter -t "$pid" -m mountpoint -q /mnt/stick
    systemd-analyze security --no-pager --threshold=20 $unit | tail -1
}

check_journal() {
    step "the journal"
    journalctl -u $unit -o json --no-pager >/tmp/journal.json
    holds "entries have priority, logger and thread" python3 - <<'PYTHON'
import json, sys
lines = [json.loads(line) for line in open("/tmp/journal.json")]
ours = [line for line in lines if line.get("SYSLOG_IDENTIFIER") == "capture-agent"]
sys.exit(not (ours and all({"PRIORITY", "LOGGER", "THREAD_NAME"} <= line.keys() for line in ours)))
PYTHON
}

check_reload() {
    step "reload"
    local pid
    pid=$(systemctl show -P MainPID $unit)
    sed -i 's/rate_hz = 200/rate_hz = 100/' $etc/config.toml
    holds "a changed configuration is taken" systemctl reload $unit
    holds "the stream has restarted" status 's["streams"]["imu"]["samples"] < 2000'
    within 20 "at the new rate" status 's["streams"]["imu"]["nominal_hz"] == 100'
    sed -i 's/rate_hz = 100/rate_hz = "fast"/' $etc/config.toml
    fails "a wrong configuration is refused" systemctl reload $unit 2>/dev/null
    holds "and nothing has changed" status 's["streams"]["imu"]["state"] == "running" and "rate_hz" in s["configuration"]["error"]'
    holds "the journal says why" sh -c "journalctl -u $unit | grep -q 'stream.imu.rate_hz'"
    configure
    systemctl kill --kill-whom=main --signal=HUP $unit 2>/dev/null || systemctl kill --kill-who=main --signal=HUP $unit
    within 20 "SIGHUP does the same" status 's["streams"]["imu"]["nominal_hz"] == 200 and not s["configuration"]["error"]'
    holds "it is still the same process" shows MainPID "$pid"
    holds "systemd knows that reloading is over" shows ActiveState active
}

check_watchdog() {
    step "a hung daemon is killed and comes back (with the watchdog's minute cut to 3 s)"
    mkdir -p /run/systemd/system/$unit.d
    cat >/run/systemd/system/$unit.d/quick.conf <<'DROPIN'
[Service]
WatchdogSec=3
TimeoutAbortSec=1
RestartSec=0
# in the sandbox, too, one may ask whether the clock is synchronised
ExecStartPre=python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) == -1)'
DROPIN
    systemctl daemon-reload
    systemctl restart $unit
    local before restarts
    before=$(captures)
    restarts=$(systemctl show -P NRestarts $unit)
    kill -STOP "$(systemctl show -P MainPID $unit)"
    within 30 "it is started again" shows NRestarts $((restarts + 1))
    within 30 "it runs again" status 'all(x["state"] == "running" for x in s["streams"].values())'
    holds "that was the watchdog" sh -c "journalctl -u $unit | grep -q 'Watchdog timeout'"
    holds "no capture is gone" [ "$(captures)" -ge "$before" ]
    kill -KILL "$(systemctl show -P MainPID $unit)"
    within 30 "after SIGKILL, too" shows NRestarts $((restarts + 2))
    within 30 "it runs again" status 'all(x["state"] == "running" for x in s["streams"].values())'
    rm -r /run/systemd/system/$unit.d
    systemctl daemon-reload
    holds "none of the killed one's children is left" [ "$(pgrep -c -f 'drivers.ports.virtual')" -le 3 ]
}

check_configuration_error() {
    step "a configuration that is wrong at the start: exit 78, not started again, said line by line"
    systemctl stop $unit
    printf 'nonsense = 1\n' >>$etc/config.toml
    sed -i '1i bad = 1' $etc/config.toml
    fails "it does not start" systemctl start $unit 2>/dev/null
    holds "exit code 78" shows ExecMainStatus 78
    sleep 6  # longer than RestartSec
    holds "it is not started again" shows SubState failed
    holds "the journal says what is wrong, as an error" sh -c "journalctl -u $unit -p err | grep -q 'bad = 1: there is no such table'"
    configure
    systemctl start $unit
}

check_stop() {
    step "systemctl stop"
    within 30 "it records" status 's["recordings"]["motion"]["state"] == "recording"'
    local begun=${EPOCHREALTIME/./}
    systemctl stop $unit
    local took=$(((${EPOCHREALTIME/./} - begun) / 1000))
    echo "  stopped in $took ms"
    [ $took -lt 10000 ] || fail "stopping took $took ms"
    holds "with success" shows Result success
    fails "nothing of it is left" pgrep -u capture-agent
}

owe() {  # the server is away until something is owed to it
    systemctl stop lab
    within 60 "captures are owed" status 's["targets"]["lab"]["owed"] >= 2'
}

delivered_again() {
    systemd-run --quiet --unit=lab python3 /test/server.py /tmp/received sesame
    capture-agent sync >/dev/null
    within 60 "what was owed is delivered" status 's["targets"]["lab"]["owed"] <= 1'
    local name
    for name in $(cat /tmp/owed); do holds "$name has arrived" test -e "/tmp/received/$name.csv"; done
}

remember_owed() {
    capture-agent outbox list --target lab --json >/tmp/outbox.json || fail "the outbox cannot be listed"
    python3 -c 'import json; print(*(x["name"] for x in json.load(open("/tmp/outbox.json"))["parcels"]), sep="\n")' >/tmp/owed
    [ -s /tmp/owed ] || fail "nothing is owed: $(cat /tmp/outbox.json)"
}

package() {
    local old=/dist/old.deb new=/dist/new.deb
    step "the package, on Debian $(cat /etc/debian_version): not configured, not started"
    dpkg -i "$old" 2>&1 | tail -4
    fails "it is not enabled" systemctl is-enabled --quiet $unit
    fails "nor running" systemctl is-active --quiet $unit
    capture-agent --version
    /usr/lib/capture-agent/bin/python3 -c 'import numpy, PIL, urllib3; print("numpy", numpy.__version__, "Pillow", PIL.__version__, "urllib3", urllib3.__version__)'
    holds "systemd has nothing to say about the unit" [ -z "$(systemd-analyze verify --man=no /usr/lib/systemd/system/$unit 2>&1)" ]
    if [ "$(udevadm --version)" -ge 254 ]; then udevadm verify /usr/lib/udev/rules.d/60-capture-agent.rules || fail "rules"; fi
    step "start"
    begin
    check_access
    check_sandbox
    check_journal
    check_reload
    check_watchdog
    check_configuration_error
    check_other_folder
    step "upgrade in place, with owed captures"
    owe
    remember_owed
    dpkg -i "$new" 2>&1 | tail -2
    holds "the new version is installed" [ "$(dpkg-query -W -f '${Version}' capture-agent)" = 999 ]
    holds "it was started again by itself" status 's["uptime_s"] < 60'
    holds "it is enabled as before" systemctl is-enabled --quiet $unit
    holds "the configuration is the person's" cmp -s /test/config.toml $etc/config.toml
    delivered_again
    check_upgrade_of_one_that_is_not_active "$new"
    check_stop
    step "remove, while it waits for its disk, install again, purge"
    local before
    before=$(captures)
    cannot_begin
    dpkg -r capture-agent 2>&1 | tail -1
    fails "it does not run on" pgrep -u capture-agent
    can_begin
    fails "the program is gone" test -e /usr/lib/capture-agent
    holds "captures and configuration are not" [ "$(captures)" -ge "$before" ] && [ -e $etc/config.toml ] && [ -e $etc/secrets/lab-token ]
    dpkg -i "$new" 2>&1 | tail -1
    holds "what was enabled still is" systemctl is-enabled --quiet $unit
    systemctl start $unit
    within 30 "it runs on the same data" status 's["streams"]["imu"]["samples"] > 0'
    dpkg -P capture-agent 2>&1 | tail -1
    for left in $etc $data /usr/lib/capture-agent /etc/systemd/system/multi-user.target.wants/$unit; do
        fails "$left is gone after purge" test -e "$left"
    done
}

checkout() {
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
    [ -e /root/source ] || cp -r /source /root/source
    cd /root/source
}

other_root() {
    step "make install in another root"
    checkout
    make --silent install DESTDIR=/tmp/root
    holds "nothing of the place where it was made is in it" [ -z "$(grep -rIl /tmp/root /tmp/root/opt/capture-agent/bin /tmp/root/opt/capture-agent/pyvenv.cfg)" ]
    make --silent uninstall DESTDIR=/tmp/root PURGE=1
    holds "uninstall leaves nothing" [ -z "$(find /tmp/root -type f)" ]
}

from_source() {
    hash -r  # where the package had its command
    systemctl stop lab 2>/dev/null || true
    rm -rf /tmp/received /mnt/archive
    checkout
    step "make install, by a root with a tight umask"
    (umask 077; make --silent install)
    fails "not configured, not started" systemctl is-active --quiet $unit
    begin
    step "make install again, with owed captures"
    owe
    remember_owed
    make --silent install
    holds "it runs" systemctl is-active --quiet $unit
    holds "the configuration is the person's" cmp -s /test/config.toml $etc/config.toml
    delivered_again
    check_sandbox
    step "the package in its place"
    fails "it does not go over an installation from source" dpkg -i /dist/old.deb >/tmp/refused 2>&1
    holds "that is for this reason" grep 'sudo make uninstall' /tmp/refused
    holds "which runs on" systemctl is-active --quiet $unit
    check_stop
    step "make uninstall"
    mkdir /usr/lib/capture-agent  # as if the package were there, too
    fails "there is no installing beside the package" make --silent install 2>/dev/null
    fails "nor deleting what it uses" make --silent uninstall PURGE=1 2>/dev/null
    make --silent uninstall
    rmdir /usr/lib/capture-agent
    fails "the program is gone" test -e /opt/capture-agent
    holds "captures and configuration are not" [ "$(captures)" -gt 0 ] && [ -e $etc/config.toml ]
    make --silent uninstall PURGE=1
    fails "now they are" test -e $data -o -e $etc
}

for part in "$@"; do $part; done
step "all of it holds on Debian $(cat /etc/debian_version), systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')"
