#!/bin/bash
# In the guest, under systemd: the package's unit as it is records from a camera and an I2C chip; a device that it does
# not list cannot be opened; short of memory it is killed and started again, and loses nothing that it owed.
# /mnt has this folder as test/, and the package as package.deb.
set -euo pipefail
. /mnt/test/in_guest.sh
unit=capture-agent.service
config=/etc/capture-agent/config.toml
data=/var/lib/capture-agent
python=/usr/lib/capture-agent/bin/python3
says() { systemctl status $unit --no-pager || true; journalctl -u $unit --no-pager -n 40 || true; }
asks() { capture-agent "$@"; }
all_run() { status 'all(x["state"] == "running" for x in s["streams"].values())'; }
shown() { systemctl show -P "$1" $unit; }
restarted() { [ "$(shown NRestarts)" -gt "$1" ]; }
opens() { bash -c ': <"$0"' "$1"; }
confined() {  # confined COMMAND...: as root in the unit's cgroup, where no permission of a file is in the way
    bash -c 'echo $$ >"$0" && exec "$@"' "/sys/fs/cgroup$(shown ControlGroup)/cgroup.procs" "$@"
}
chip() {  # chip NUMBER MAJOR: a chip behind /dev/i2c-NUMBER, as udev would give it away
    systemd-run --quiet --unit="chip$1" $python /mnt/test/i2c_chip.py "$1" "$2"
    within 60 "there is /dev/i2c-$1" test -c "/dev/i2c-$1"
    chgrp i2c "/dev/i2c-$1"
    chmod 660 "/dev/i2c-$1"
}
arrived() {  # every capture that was owed
    local name file
    while read -r name; do
        for file in "$data"/captures/*/"$name".*; do cmp "$file" "/root/received/${file##*/}" || return; done
    done </root/owed
}
lab() { systemd-run --quiet --unit=lab python3 /mnt/test/server.py /root/received sesame; }

step "the package, on Debian $(cat /etc/debian_version), Linux $(uname -r)"
dpkg -i /mnt/package.deb 2>&1 | tail -n 1
modprobe -a vimc cuse
udevadm settle
ln -s system /dev/dma_heap/linux,cma  # the memory that Picamera2 asks for, which a Pi has by this name
chip 7 89
chip 9 0
install -m 640 -g capture-agent /mnt/test/service.toml $config
install -m 600 <(echo sesame) /etc/capture-agent/secrets/lab-token
install -d -o capture-agent /media/stick
lab

step "the unit as it is"
systemctl enable --quiet --now $unit
holds "nothing is added to it" [ -z "$(shown DropInPaths)" ]
holds "it is the package's" cmp "$(shown FragmentPath)" <(dpkg-deb --fsys-tarfile /mnt/package.deb | tar -xO ./usr/lib/systemd/system/$unit)
within 180 "camera and chip run" all_run
within 180 "samples arrive" files /media/stick "*.csv" 3
within 180 "pictures arrive" files /media/stick "*.jpg" 3
within 60 "both arrive over HTTP" sh -c 'ls /root/received | grep -q csv && ls /root/received | grep -q jpg'
step "samples of each: $(shows '{name: stream["samples"] for name, stream in s["streams"].items()}')"
step "$(systemd-analyze security --no-pager $unit | tail -n 1)"

step "devices"
for device in /dev/i2c-7 /dev/video0 /dev/media0 /dev/dma_heap/system /dev/null; do
    holds "$device is open to it" confined bash -c ': <"$0"' $device
done
for device in /dev/i2c-9 /dev/vda /dev/mem /dev/cuse; do
    holds "$device can be opened" opens $device
    fails "$device is not listed, and opens for it" confined bash -c ': <"$0"' $device 2>/tmp/refusal
    holds "that is not for its permissions" grep 'Operation not permitted' /tmp/refusal
done
printf '[stream.other]\ndriver = "mpu6050"\nbus = 9\n' | cat /mnt/test/service.toml - >$config
systemctl reload $unit
within 60 "the stream of such a device says so" status '"DeviceAllow" in s["streams"]["other"]["error"]'
step "the daemon says: $(shows 's["streams"]["other"]["error"]')"
holds "the others run on" status 'all(s["streams"][n]["state"] == "running" for n in ("imu", "cam"))'
cp /mnt/test/service.toml $config
systemctl reload $unit

step "memory"
systemctl stop lab
more 120 "captures arrive, which the lab does not get" /media/stick "*.csv" 3
capture-agent outbox list --target lab --json >/root/outbox.json
python3 -c 'import json; print(*(x["name"] for x in json.load(open("/root/outbox.json"))["parcels"]), sep="\n")' >/root/owed
[ -s /root/owed ] || fail "nothing is owed"
restarts=$(shown NRestarts)
step "it uses $(shown MemoryCurrent) bytes, and gets 48 MB; $(wc -l </root/owed) captures are owed"
systemctl set-property --runtime $unit MemoryMax=48M
within 120 "it is killed and started again" restarted "$restarts"
holds "for want of memory" sh -c "journalctl -u $unit -o cat | grep -m 1 \"result 'oom-kill'\""
holds "by the kernel" sh -c "journalctl -k -o cat | grep -m 1 'Memory cgroup out of memory'"
within 240 "that goes on while it lasts" restarted $((restarts + 1))
systemctl revert $unit
within 180 "with memory it runs again" all_run
step "it runs again, after $(shown NRestarts) restarts"
lab
within 120 "what was owed arrives, as it was" arrived
more 120 "captures arrive as before" /media/stick "*.csv" 2

systemctl stop $unit
holds "it ends well" [ "$(shown Result)" = success ]
$python /mnt/test/service.py $data/captures || fail "the captures are not what was sensed"
$python /mnt/test/camera.py $data/captures 6 || fail "the pictures are not what they should be"
step "all of it held"
