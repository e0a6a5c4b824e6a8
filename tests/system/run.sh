#!/bin/bash
# Boots a real systemd in containers of Debian 13 and 12 and proves there what the service promises: run.sh [SUITE...]
#
# Needs root, systemd-nspawn, mmdebstrap and the network for packages; exits 77, and says why, where they are not there.
# Trees are kept in $LAB (~/.cache/capture-agent-lab); what the guests write is thrown away. QUICK=1 leaves out what an
# installation from source does on the second suite, and the one into another root.
#
# What containers do not enforce, and this cannot show: DeviceAllow= and MemoryMax=.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/../.."
. "$here/tree.sh"
PYTHON="${PYTHON:-python3}"
packages=systemd,systemd-sysv,udev,dbus,procps,make,init-system-helpers
packages+=,python3,python3-venv,python3-numpy,python3-pil,python3-lz4,python3-zstandard

[ "$(id -u)" = 0 ] || skip "it needs root"
for tool in systemd-nspawn mmdebstrap dpkg-deb; do command -v $tool >/dev/null || skip "$tool is not installed"; done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/out" "$work/boot"

guest() {  # guest TREE PARTS...: boots it, runs guest.sh in it; its exit code
    local tree="$1"; shift
    cat >"$work/boot/system-test.service" <<UNIT
[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=exec
Environment=HOME=/root LANG=C.UTF-8
ExecStart=/bin/bash -c '/bin/bash /test/guest.sh $*; echo \$? >/out/rc'
StandardOutput=append:/out/log
StandardError=append:/out/log
UNIT
    rm -f "$work/out/rc"
    : >"$work/out/log"
    tail -f "$work/out/log" & local tail=$!
    # with a hybrid cgroup hierarchy on the host the guest's systemd hangs without being told to use the unified one
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout --kill-after=10 "${GUEST_S:-420}" systemd-nspawn --quiet --directory="$tree" \
        --volatile=overlay --register=no --keep-unit --system-call-filter="adjtimex clock_adjtime" --private-network --hostname=bay3 --console=pipe \
        --bind-ro="$here":/test --bind-ro="$work/dist":/dist --bind-ro="$work/source":/source --bind-ro="$work/wheels":/wheels \
        --bind="$work/out":/out --bind-ro="$work/boot/system-test.service":/etc/systemd/system/system-test.service \
        --boot systemd.wants=system-test.service </dev/null >"$work/out/console" 2>&1 || true
    sleep 0.2
    kill $tail; wait $tail 2>/dev/null || true
    [ -s "$work/out/log" ] || skip "a container does not boot here: $(tail -n 3 "$work/out/console")"
    [ -e "$work/out/rc" ] || { echo "it did not come to its end in time"; return 125; }
    return "$(cat "$work/out/rc")"
}

suites="${*:-trixie bookworm}"
for suite in $suites; do
    tree "$suite" "$suite" "$packages"
done

mkdir -p "$work/dist" "$work/wheels" "$work/source"
git ls-files -z | tar -c --null --ignore-failed-read -T - 2>/dev/null | tar -x -C "$work/source"
export MAINTAINER="capture-agent <capture-agent@example.org>"
PYTHON="$PYTHON" systemd/deb/build.sh >/dev/null
old="$(ls -t dist/capture-agent_*_all.deb | head -1)"
cp "$old" "$work/dist/old.deb"
dpkg-deb --raw-extract "$old" "$work/newer"  # the same as a later version, to upgrade to
sed -i 's/^Version: .*/Version: 999/' "$work/newer/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/newer" "$work/dist/new.deb" >/dev/null
if command -v lintian >/dev/null; then
    lintian --allow-root --fail-on error --quiet --display-level error "$old"
fi
sed -n 's/ --hash.*//p' systemd/deb/vendored.txt >"$work/requirements"
"$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.11 \
    --implementation py --abi none --platform any --dest "$work/wheels" -r "$work/requirements" 'setuptools>=68' wheel

parts="package from_source"
[ -n "${QUICK:-}" ] || parts="$parts other_root"
for suite in $suites; do
    guest "$LAB/$suite" $parts || { rc=$?; echo "tests/system: failed on Debian $suite"; exit $rc; }
    [ -z "${QUICK:-}" ] || parts="package"
done
