#!/bin/bash
# A real kernel in QEMU, where a USB serial gadget (dummy_hcd, g_serial, cdc-acm) is unplugged under a running recording.
#
# Needs root, QEMU, mmdebstrap and the network for packages; exits 77, and says why, where they are not there.
# The image is kept in $LAB (~/.cache/capture-agent-lab); what the guest writes is thrown away.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
. "$here/tree.sh"
. "$here/kernel.sh"
PYTHON="${PYTHON:-python3}"
kernel_tools
kernel_image trixie-kernel trixie python3,python3-numpy,python3-pil,python3-lz4,python3-zstandard
kernel_share "$here"/gadget* "$here"/{ask.py,in_guest.sh}
kernel_compiled trixie-kernel
kernel_run trixie-kernel "$share" "bash /mnt/test/gadget_guest.sh"
