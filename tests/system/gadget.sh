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

share="$(mktemp -d)"
trap 'rm -rf "$share"' EXIT
mkdir "$share/test"
cp "$here"/gadget* "$share/test/"
export MAINTAINER="capture-agent <capture-agent@example.org>"
PYTHON="$PYTHON" systemd/deb/build.sh >/dev/null
dpkg-deb -x "$(ls -t dist/capture-agent_*_all.deb | head -1)" "$share/package"
kernel_run trixie-kernel "$share" "bash /mnt/test/gadget_guest.sh"
