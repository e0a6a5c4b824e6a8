#!/bin/bash
# A real kernel and systemd in QEMU, where the package's unit, sandbox and all, records from a camera (the kernel's virtual
# one) and an I2C chip (a model behind CUSE), and where its limits bite: DeviceAllow= and MemoryMax=, which containers do
# not enforce.
#
# Needs root, QEMU, mmdebstrap and the network for packages; exits 77, and says why, where they are not there.
# The image is kept in $LAB (~/.cache/capture-agent-lab, 5 GB); what the guest writes is thrown away.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
. "$here/tree.sh"
. "$here/kernel.sh"
. "$here/camera_tree.sh"
PYTHON="${PYTHON:-python3}"
GUEST_S="${GUEST_S:-3600}"
kernel_tools
camera_image
kernel_share "$here"/service* "$here"/{ask.py,in_guest.sh,i2c_chip.py,server.py,camera.py}
kernel_boot trixie-camera "$share" "bash /mnt/test/service_guest.sh"
