#!/bin/bash
# A real kernel in QEMU, where the driver `v4l2camera` takes pictures with the kernel's own virtual webcam (vivid) through
# unmodified linuxpy, looks for motion, is refused and unplugged.
#
# Needs root, QEMU, mmdebstrap, linuxpy and the network for packages; exits 77, and says why, where they are not there.
# The image is kept in $LAB (~/.cache/capture-agent-lab); what the guest writes is thrown away.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
. "$here/tree.sh"
. "$here/kernel.sh"
PYTHON="${PYTHON:-python3}"
kernel_tools
linuxpy="$($PYTHON -c 'import linuxpy; print(linuxpy.__path__[0])' 2>/dev/null)" || skip "linuxpy is not installed"
kernel_image trixie-kernel trixie python3,python3-numpy,python3-pil,python3-lz4,python3-zstandard
share="$(mktemp -d)"
trap 'rm -rf "$share"' EXIT
cp -r drivers "$linuxpy" "$here/webcam.py" "$share/"
kernel_run trixie-kernel "$share" "/usr/lib/systemd/systemd-udevd --daemon; modprobe vivid n_devs=1 node_types=0x1 \
    && udevadm settle && cd /mnt && python3 webcam.py"
