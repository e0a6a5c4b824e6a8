#!/bin/bash
# In the guest: a magnetometer on the Raspberry Pi's own I2C is recorded, and what was around an edge at one of its pins.
# /mnt has this folder as test/, and the package's files as package/.
set -euo pipefail
. /mnt/test/in_guest.sh
pin=17
is() { status "(lambda s: $2)(s['streams']['$1'])"; }
edge() { echo "$pin $1 $(irq)" >/sys/module/pi_edge/parameters/edge; }  # edge LEVEL
irq() { sed -n "s/^ *\([0-9]*\):.* pinctrl-bcm2835  *$pin .*/\1/p" /proc/interrupts; }
watched() { [ -n "$(irq)" ]; }
field_is() {  # field_is X Y Z, in uT
    asked snapshot stream=field "not any(abs(s['Magnetometer' + axis] - said) > 0.15
        for axis, said in zip('XYZ', ($1, $2, $3)))" >/dev/null
}
field() {  # field X Y Z: sets it, in uT, and waits until it is measured
    echo "@@ set mag-x ${1}000"; echo "@@ set mag-y ${2}000"; echo "@@ set mag-z ${3}000"
    within 60 "it measures $*" field_is "$@"
    step "the field is $* uT"
}
triggered() { files /srv/archive "*.edge.*.csv" "$1"; }

step "$(tr -d '\0' </proc/device-tree/model), Linux $(uname -r), $(cat /sys/bus/i2c/devices/i2c-1/name)"
cp -a /mnt/package/. /
insmod /mnt/test/pi_edge.ko
mkdir -p /srv/archive /var/lib/capture-agent
cp /mnt/test/pi.toml "$config"
capture-agent run --config "$config" >/mnt/daemon.log 2>&1 & daemon=$!
within 240 "the magnetometer runs" is field 's["state"] == "running"'
step "it is $(shows 's["streams"]["field"]["model"]') on $(cat /sys/bus/i2c/devices/i2c-1/name)"
field 25 40 30
within 60 "captures arrive" files /srv/archive "*.all.*.csv" 2

step "an address at which nobody is"
within 60 "the bus says so" is nobody 's["state"] == "lost" and "EREMOTEIO" in s["error"]'
step "it says: $(shows 's["streams"]["nobody"]["error"]')"

step "edges at GPIO$pin"
within 60 "the pin is watched" watched
grep "pinctrl-bcm2835 *$pin " /proc/interrupts
edge 1
within 60 "a rising edge triggers a capture" triggered 1
edge 0
field 45 20 35
edge 1
within 60 "so does the next one" triggered 2
kill $daemon
wait $daemon || fail "the daemon did not end well"
[ "$(find /srv/archive -name '*.edge.*.csv' | wc -l)" = 2 ] || fail "a falling edge triggered, too"
/usr/lib/capture-agent/bin/python3 /mnt/test/pi_check.py /srv/archive || fail "the captures are not what they should be"
step "all of it held"
