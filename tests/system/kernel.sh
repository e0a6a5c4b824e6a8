# A Debian kernel of its own in QEMU, for what a container cannot show; for the scripts beside this, after tree.sh.
# Needs root, for the tree; the guest needs nothing: it is emulated, without KVM.

kernel_tools() {
    [ "$(id -u)" = 0 ] || skip "it needs root"
    local tool
    for tool in qemu-system-x86_64 qemu-img mmdebstrap dpkg-deb modprobe mkfs.ext4 xz; do
        command -v $tool >/dev/null || skip "$tool is not installed (Debian: qemu-system-x86 qemu-utils mmdebstrap kmod e2fsprogs xz-utils)"
    done
}

kernel_share() {  # kernel_share FILES...: makes the folder $share, with these as test/, and the package, also unpacked
    share="$(mktemp -d)"
    trap 'rm -rf "$share"' EXIT
    mkdir "$share/test"
    cp "$@" "$share/test/"
    if [ -z "${PACKAGE:-}" ]; then  # one that is there already
        export MAINTAINER="capture-agent <capture-agent@example.org>"
        PYTHON="$PYTHON" systemd/deb/build.sh >/dev/null
    fi
    cp "${PACKAGE:-$(ls -t dist/capture-agent_*_all.deb | head -1)}" "$share/package.deb"
    dpkg-deb -x "$share/package.deb" "$share/package"
}

kernel_compiled() {  # kernel_compiled NAME: the package in $share, by the guest's own Python: emulated, it takes a minute
    local inside="$LAB/$1/tmp/package.$$"
    mv "$share/package" "$inside"
    chroot "$LAB/$1" python3 -m compileall -q "${inside#"$LAB/$1"}/usr/lib/capture-agent/lib/python3/site-packages" || true
    mv "$inside" "$share/package"
}

kernel_image() {  # kernel_image NAME SUITE PACKAGES [OPTIONS OF MMDEBSTRAP...]: $LAB/NAME with a kernel, and NAME.img of it
    local name="$1" suite="$2" packages="$3" release; shift 3
    packages="linux-image-amd64,busybox-static,kmod,udev,procps,$packages"
    INITRD=No tree "$name" "$suite" "$packages" "${kernel_only[@]}" "$@"
    [ "$LAB/$name.initrd" -nt "$LAB/$name.packages" ] && return
    echo "tests/system: making an image of it"
    release="$(basename "$LAB/$name"/lib/modules/*)"
    cp "$LAB/$name/boot/vmlinuz-$release" "$LAB/$name.vmlinuz"
    kernel_disk "$name" 3G
    kernel_initrd "$name" "$release" "$LAB/$name/usr/bin/busybox" virtio_pci virtio_blk ext4 9pnet_virtio 9p <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
until /bin/busybox mount -t ext4 /dev/vda /new; do /bin/busybox usleep 50000; done 2>/dev/null
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /new/mnt
/bin/busybox mount -o move /dev /new/dev
exec /bin/busybox switch_root /new /bin/bash /mnt/boot
INIT
}

kernel_disk() {  # kernel_disk NAME SIZE: $LAB/NAME.img, with all that is in the tree
    truncate -s 0 "$LAB/$1.img" && truncate -s "$2" "$LAB/$1.img"
    mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 -d "$LAB/$1" "$LAB/$1.img"
}

kernel_initrd() {  # kernel_initrd NAME RELEASE BUSYBOX MODULES... <INIT: $LAB/NAME.initrd; BUSYBOX is one that runs here
    local name="$1" release="$2" busybox="$3" module file number work; shift 3
    work="$(mktemp -d)"
    mkdir -p "$work"/{bin,dev,proc,new,modules}
    cp "$LAB/$name/usr/bin/busybox" "$work/bin/"
    for module in "$@"; do
        modprobe -d "$LAB/$name" -S "$release" --show-depends "$module" | sed -n 's/^insmod //p'
    done | awk '!seen[$1]++ {printf "%03d %s\n", NR, $1}' | while read -r number file; do
        case "$file" in *.xz) xz -dc "$file" ;; *) cat "$file" ;; esac >"$work/modules/$number-$(basename "$file" .xz)"
    done
    cat >"$work/init"
    chmod 755 "$work/init"
    kernel_archive "$busybox" "$work" >"$LAB/$name.initrd.part"
    rm -rf "$work"
    mv "$LAB/$name.initrd.part" "$LAB/$name.initrd"
}

kernel_archive() { (cd "$2" && find . | "$1" cpio -o -H newc 2>/dev/null | gzip -1); }  # kernel_archive BUSYBOX FOLDER

kernel_run() {  # kernel_run NAME SHARE COMMAND: as root in a fresh guest, where SHARE is /mnt; its output and exit code
    local name="$1" share="$2"
    cat >"$share/boot" <<BOOT
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc; mount -t sysfs sys /sys; mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp; ip link set lo up 2>/dev/null
cd /root; (exec </dev/null; $3) >/mnt/log 2>&1; echo \$? >/mnt/rc
sync; echo o >/proc/sysrq-trigger; sleep 60
BOOT
    kernel_guest "$name" "$share"
}

kernel_boot() {  # kernel_boot NAME SHARE COMMAND: the same with systemd as the first process, and what it starts
    local name="$1" share="$2"
    cat >"$share/boot" <<BOOT
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
rm -f /etc/systemd/system/timers.target.wants/*
cat >/etc/systemd/system/system-test.service <<'UNIT'
[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=exec
WorkingDirectory=/root
Environment=HOME=/root LANG=C.UTF-8
ExecStart=/bin/bash -c '($3) >/mnt/log 2>&1; echo \$\$? >/mnt/rc'
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s ../system-test.service /etc/systemd/system/multi-user.target.wants/
exec /usr/lib/systemd/systemd
BOOT
    kernel_guest "$name" "$share"
}

kernel_guest() {  # kernel_guest NAME SHARE: boots it; SHARE/boot is its first process
    local name="$1" share="$2" root
    root="$(mktemp --suffix=.qcow2)"
    qemu-img create -q -f qcow2 -F raw -b "$LAB/$name.img" "$root"
    : >"$share/log"; rm -f "$share/rc"
    tail -f "$share/log" & local tail=$!
    timeout --kill-after=10 "${GUEST_S:-1800}" qemu-system-x86_64 -M q35 -accel tcg -cpu max -smp "${GUEST_CPUS:-2}" -m 1024 -nodefaults \
        -no-reboot -display none -monitor none -serial "file:$share/console" \
        -kernel "$LAB/$name.vmlinuz" -initrd "$LAB/$name.initrd" -append "console=ttyS0 panic=-1 quiet mitigations=off systemd.getty_auto=no" \
        -drive "file=$root,if=none,id=root,cache=unsafe" -device virtio-blk-pci,drive=root -device virtio-rng-pci \
        -virtfs "local,path=$share,mount_tag=share,security_model=none" </dev/null || true
    rm -f "$root"
    sleep 0.2
    kill $tail; wait $tail 2>/dev/null || true
    [ -s "$share/rc" ] || { echo "the guest did not come to its end:"; tail -n 20 "$share/console"; return 125; }
    return "$(cat "$share/rc")"
}
