#!/bin/bash
# Real power cuts: the daemon in an emulated machine that is killed at random, again and again: power_cut.sh ROUNDS MODE
#
# MODE  hostcache  the machine's memory is lost: what its kernel has sent to the disk stays, flushed or not
#       strict     the disk's own cache is lost, too: only what was flushed stays (nbdkit's cache filter dies as well)
#
# SEED=7 repeats a run as far as chance is concerned; BARRIERS=0 mounts without them, which `strict` has to notice;
# LIGHT=1 records one board and no camera, for a host that is busy.
# Needs root, QEMU, mmdebstrap and the network for packages, nbdkit for `strict`; exits 77, and says why, where they are
# not there. The image is kept in $LAB (~/.cache/capture-agent-lab). Results are added up in bench/SOAK.md.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
. "$here/tree.sh"
. "$here/kernel.sh"
PYTHON="${PYTHON:-python3}"
rounds="${1:-5}" mode="${2:-strict}"
case "$mode" in hostcache | strict) ;; *) echo "$mode is neither hostcache nor strict"; exit 2 ;; esac

kernel_tools
for tool in e2fsck mount losetup; do command -v $tool >/dev/null || skip "$tool is not installed"; done
if [ "$mode" = strict ]; then
    nbdkit --filter=cache null --dump-plugin >/dev/null 2>&1 || skip "nbdkit with its cache filter is not installed (Debian: nbdkit)"
fi
"$PYTHON" -c "import numpy, agent" || skip "$PYTHON lacks the project's libraries (make does not)"
kernel_image trixie-kernel trixie python3,python3-numpy,python3-pil,python3-lz4,python3-zstandard

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export MAINTAINER="capture-agent <capture-agent@example.org>"
package="$(ls -t dist/capture-agent_*_all.deb 2>/dev/null | head -1 || true)"  # none in a fresh clone
if [ -z "$package" ] || find agent drivers systemd/deb pyproject.toml -name '*.py' -newer "$package" | grep -q .; then
    PYTHON="$PYTHON" systemd/deb/build.sh >/dev/null
    package="$(ls -t dist/capture-agent_*_all.deb | head -1)"
fi
dpkg-deb -x "$package" "$work/package"
# compiled by the guest's own Python, since an emulated one would need half a minute for it at every start
inside="$LAB/trixie-kernel/tmp/power-cut.$$"
cp -a "$work/package/usr/lib/capture-agent/lib/python3/site-packages" "$inside"
chroot "$LAB/trixie-kernel" python3 -m compileall -q "/tmp/power-cut.$$" || true
truncate -s 200M "$work/package.img"
mkfs.ext4 -q -F -d "$inside" "$work/package.img"
rm -rf "$inside" "$work/package"
LAB="$LAB" "$PYTHON" -m tests.system.power_cut --work "$work" --rounds "$rounds" --mode "$mode" \
    ${SEED:+--seed "$SEED"} ${BARRIERS:+--barriers "$BARRIERS"} ${KEEP:+--keep "$KEEP"} ${LIGHT:+--light}
