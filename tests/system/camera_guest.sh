#!/bin/bash
# In the guest: a camera that is no Raspberry Pi's is opened, configured and takes pictures; it is asked for what it has
# not, its process is killed, and it is unplugged. /mnt has this folder as test/, and the package's files as package/.
set -euo pipefail
. /mnt/test/in_guest.sh
driver=/sys/bus/platform/drivers/vimc
camera_is() { status "(lambda s: $1)(s['streams']['cam'])"; }
complaint() { shows 's["streams"]["cam"]["error"]'; }
configure() { sed "s/^camera = 0/&\n$1/" /mnt/test/camera.toml >"$config"; }  # configure LINES: of the camera, besides
refused() {  # refused WHAT EXPRESSION LINES: that is refused in one clear line, and the rest goes on
    configure "$3"
    asks reload
    within 90 "the stream says why $1" camera_is "s['state'] == 'lost' and ($2)"
    step "$1: $(complaint)"
    more 60 "the rest goes on" /srv/archive "*.csv" 2
}

cp -a /mnt/package/. /
/usr/lib/systemd/systemd-udevd --daemon
modprobe vimc
udevadm settle
ln -s system /dev/dma_heap/linux,cma  # the memory that Picamera2 asks for, which a Pi has by this name
mkdir -p /srv/archive /var/lib/capture-agent

step "open, configure, stills"
configure ""
capture-agent run --config "$config" >/mnt/daemon.log 2>&1 & daemon=$!
within 240 "the camera runs" camera_is 's["state"] == "running"'
within 120 "pictures arrive" files /srv/archive "*.jpg" 3
step "$(find /srv/archive -name '*.jpg' | wc -l) pictures of $(shows 's["streams"]["cam"]["model"]')"

step "what this camera has not"
refused "cannot expose by hand" '"ExposureTime" in s["error"]' 'exposure_us = 1000\ngain = 2.0'
refused "cannot focus" '"LensPosition" in s["error"]' 'focus = "manual"\nlens_position = 1.0'
refused "cannot balance colours" '"AwbMode" in s["error"]' 'awb = "daylight"'
refused "cannot be turned" '"rotation" in s["error"]' 'rotation = 180'
configure ""
asks reload
more 120 "pictures arrive again" /srv/archive "*.jpg" 2

step "its process is killed"
reopened=$(shows 's["streams"]["cam"]["reopened"]')
kill -KILL "$(pgrep -f drivers.ports.libcamera)"
within 120 "the camera is opened again" camera_is "s['state'] == 'running' and s['reopened'] > $reopened"
more 120 "pictures arrive again" /srv/archive "*.jpg" 2

step "it is unplugged"
echo vimc.0 >$driver/unbind
within 120 "the stream is lost" camera_is 's["state"] == "lost" and s["error"]'
step "it says: $(complaint)"
within 60 "the stream says that there is none" camera_is '"cannot be opened" in s["error"]'
step "then: $(complaint)"
more 60 "the rest goes on" /srv/archive "*.csv" 2
echo vimc.0 >$driver/bind
within 120 "the camera is opened again" camera_is 's["state"] == "running"'
more 120 "pictures arrive again" /srv/archive "*.jpg" 2

kill $daemon
wait $daemon || fail "the daemon did not end well"
/usr/lib/capture-agent/bin/python3 /mnt/test/camera.py /srv/archive 9 || fail "the pictures are not what they should be"
step "all of it held"
