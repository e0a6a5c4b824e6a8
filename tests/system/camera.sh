#!/bin/bash
# A real kernel in QEMU, where the driver `picamera` has unmodified Picamera2 and libcamera take pictures with the kernel's
# own virtual camera (vimc), which is asked for what it has not, killed and unplugged.
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
kernel_share "$here"/camera* "$here"/{ask.py,in_guest.sh}
kernel_compiled trixie-camera
kernel_run trixie-camera "$share" "bash /mnt/test/camera_guest.sh"
