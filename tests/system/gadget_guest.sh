#!/bin/bash
# In the guest: a serial gadget is pulled out of a running recording and put in again, and comes under another name.
# /mnt has this folder as test/, and the installed package as package/.
set -euo pipefail
export PYTHONPATH=/mnt/package/usr/lib/capture-agent/lib/python3/site-packages
capture_agent() { python3 -P -m agent.cli "$@"; }
step() { echo "[$SECONDS s] $*"; }
fail() { echo "FAILED: $*"; capture_agent status --config /root/config.toml || true; tail -n 30 /root/daemon.log /root/device.log || true; exit 1; }
within() {  # within SECONDS WHAT COMMAND...: it holds by then
    local until=$((SECONDS + $1)) what="$2"; shift 2
    until "$@" 2>/dev/null; do [ $SECONDS -lt $until ] || fail "$what"; sleep 0.5; done
}
stream_is() {
    capture_agent status --json --config /root/config.toml |
        python3 -c "import json, sys; s = json.load(sys.stdin)['streams']['mcu']; sys.exit(not ($1))"
}
by_id() { ls /dev/serial/by-id/* | grep -q .; }
captures() { [ "$(find /srv/archive -name '*.csv' 2>/dev/null | wc -l)" -ge "$1" ]; }
plug_in() {
    modprobe g_serial
    python3 /mnt/test/gadget.py play "$1" 2>>/root/device.log & device=$!
}

/usr/lib/systemd/systemd-udevd --daemon
modprobe dummy_hcd
modprobe cdc-acm
plug_in 1
within 20 "udev names the port" by_id
sed "s|PORT|$(basename "$(ls /dev/serial/by-id/*)")|" /mnt/test/gadget.toml >/root/config.toml
mkdir -p /srv/archive /var/lib/capture-agent
step "it is $(ls /dev/serial/by-id), which is $(readlink -f /dev/serial/by-id/*)"
python3 -P -m agent.cli run --config /root/config.toml >/root/daemon.log 2>&1 & daemon=$!
within 60 "the stream runs" stream_is 's["state"] == "running"'
within 60 "captures arrive" captures 2
first="$(readlink -f /dev/serial/by-id/*)"
sleep 1000 <"$first" & holder=$!  # who keeps the old port open keeps its name

step "unplugged"
modprobe -r g_serial & removal=$!  # in the middle of what it says
sleep 1
kill $device 2>/dev/null || true  # which may have heard of it already
wait $removal $device || true
step "the gadget has gone"
within 20 "the stream is lost, and says why" stream_is 's["state"] == "lost" and s["error"]'
capture_agent status --json --config /root/config.toml | python3 -c "import json, sys; print(json.load(sys.stdin)['streams']['mcu']['error'])"

step "plugged in again"
plug_in 2
within 20 "udev names the port again" by_id
[ "$(readlink -f /dev/serial/by-id/*)" != "$first" ] || fail "it has its old name, and should have another"
step "now it is $(readlink -f /dev/serial/by-id/*)"
within 60 "the stream runs again" stream_is 's["state"] == "running" and s["reopened"] >= 1'
before=$(find /srv/archive -name '*.csv' | wc -l)
within 60 "captures arrive again" captures $((before + 2))
kill $daemon $holder
wait $daemon || fail "the daemon did not end well"
python3 /mnt/test/gadget.py check /srv/archive || fail "the captures are not what was sent"
step "all of it held"
