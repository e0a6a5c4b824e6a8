#!/bin/bash
# A Raspberry Pi 3B in QEMU, with the drivers of a real one: i2c-bcm2835, through which QEMU's own model of an LSM303
# magnetometer is recorded, and pinctrl-bcm2835, at whose pin an edge is the trigger.
#
# Needs root, mmdebstrap and the network for packages; exits 77, and says why, where they are not there. QEMU 10 and a
# compiler are unpacked into $LAB (~/.cache/capture-agent-lab, 3 GB), and so is the guest; what that writes is thrown away.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
. "$here/tree.sh"
. "$here/kernel.sh"
. "$here/pi_tree.sh"
PYTHON="${PYTHON:-python3}"
GUEST_S="${GUEST_S:-3600}"
kernel_tools
pi_image
kernel_share "$here"/pi* "$here"/{ask.py,in_guest.sh}
# emulated, it takes minutes; another Python's is of no use there, and no harm
"$PYTHON" -m compileall -q "$share/package/usr/lib/capture-agent/lib/python3/site-packages" || true
pi_module "$here/pi_edge.c" "$share/test"
pi_run "$share" "bash /mnt/test/pi_guest.sh"
