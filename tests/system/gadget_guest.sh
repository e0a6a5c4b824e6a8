#!/bin/bash
# In the guest: a serial gadget is pulled out of a running recording and put in again, and comes under another name.
# /mnt has this folder as test/, and the package's files as package/.
set -euo pipefail
. /mnt/test/in_guest.sh
python=/usr/lib/capture-agent/bin/python3
stream_is() { status "(lambda s: $1)(s['streams']['mcu'])"; }
by_id() { ls /dev/serial/by-id/* | grep -q .; }
plug_in() {
    modprobe g_serial
    $python /mnt/test/gadget.py play "$1" 2>>/mnt/daemon.log & device=$!
}

cp -a /mnt/package/. /
/usr/lib/systemd/systemd-udevd --daemon
modprobe dummy_hcd
modprobe cdc-acm
plug_in 1
within 20 "udev names the port" by_id
sed "s|PORT|$(basename "$(ls /dev/serial/by-id/*)")|" /mnt/test/gadget.toml >"$config"
mkdir -p /srv/archive /var/lib/capture-agent
step "it is $(ls /dev/serial/by-id), which is $(readlink -f /dev/serial/by-id/*)"
capture-agent run --config "$config" >/mnt/daemon.log 2>&1 & daemon=$!
within 60 "the stream runs" stream_is 's["state"] == "running"'
within 60 "captures arrive" files /srv/archive "*.csv" 2
first="$(readlink -f /dev/serial/by-id/*)"
sleep 1000 <"$first" & holder=$!  # who keeps the old port open keeps its name

step "unplugged"
modprobe -r g_serial & removal=$!  # in the middle of what it says
sleep 1
kill $device 2>/dev/null || true  # which may have heard of it already
wait $removal $device || true
step "the gadget has gone"
within 20 "the stream is lost, and says why" stream_is 's["state"] == "lost" and s["error"]'
shows 's["streams"]["mcu"]["error"]'

step "plugged in again"
plug_in 2
within 20 "udev names the port again" by_id
[ "$(readlink -f /dev/serial/by-id/*)" != "$first" ] || fail "it has its old name, and should have another"
step "now it is $(readlink -f /dev/serial/by-id/*)"
within 60 "the stream runs again" stream_is 's["state"] == "running" and s["reopened"] >= 1'
more 60 "captures arrive again" /srv/archive "*.csv" 2
kill $daemon $holder
wait $daemon || fail "the daemon did not end well"
$python /mnt/test/gadget.py check /srv/archive || fail "the captures are not what was sent"
step "all of it held"
