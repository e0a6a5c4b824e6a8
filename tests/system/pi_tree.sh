# The Raspberry Pi: a guest that is Debian 12 for arm64, and what one needs to run it. After tree.sh and kernel.sh.

# QEMU 10, since older ones have no I2C in their Raspberry Pi, and a compiler for the module pi_edge.
pi_tools=busybox-static,qemu-system-arm,gcc-14-aarch64-linux-gnu,make,libelf1t64,device-tree-compiler

# It is only unpacked, not installed: nothing that is made for arm64 has to run here, which takes hours of emulation less.
pi_packages=linux-image-arm64,busybox-static,bash,dash,coreutils,findutils,sed,grep,kmod,tzdata
pi_packages+=,python3,python3-numpy,python3-pil,python3-lz4,python3-zstandard

# what an installation would have done, libraries for the pins, and the kernel's headers to where the compiler is
pi_additions='set -eu
release="$(basename "$1"/lib/modules/*)"
depmod -b "$1" "$release"
ln -sf dash "$1/usr/bin/sh"
echo "root:x:0:0:root:/root:/bin/bash" >"$1/etc/passwd"
echo "root:x:0:" >"$1/etc/group"
echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
"$PYTHON" -m pip install --quiet --disable-pip-version-check --target "$1/usr/local/lib/python3.11/dist-packages" \
    --only-binary :all: --platform manylinux_2_34_aarch64 --python-version 3.11 "gpiozero>=2" "lgpio>=0.2.2"
cd "$1/tmp"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get download -q "linux-headers-$release" "linux-headers-${release%-*}-common" \
    "linux-kbuild-$(echo "$release" | cut -d . -f 1,2):amd64"
for package in *.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C "$LAB/pi-tools" --keep-directory-symlink; done
rm -f *.deb'

pi_image() {  # $LAB/pi.img, pi.vmlinuz, pi.initrd and pi.dtb; $LAB/pi-tools
    local release
    export LAB PYTHON
    tree pi-tools trixie "$pi_tools"
    tree pi bookworm "$pi_packages" --variant=extract --architectures=arm64,amd64 \
        --setup-hook='for at in bin lib sbin; do mkdir -p "$1/usr/$at"; ln -s "usr/$at" "$1/$at"; done' \
        --extract-hook="$pi_additions"
    [ "$LAB/pi.initrd" -nt "$LAB/pi.packages" ] && return
    echo "tests/system: making an image of it"
    release="$(basename "$LAB"/pi/lib/modules/*)"
    cp "$LAB/pi/boot/vmlinuz-$release" "$LAB/pi.vmlinuz"
    cp "$LAB/pi/usr/lib/linux-image-$release/broadcom/bcm2837-rpi-3-b.dtb" "$LAB/pi-tools/tmp/pi.dtb"
    # as the firmware of a real one adds it; gpiozero asks for it
    chroot "$LAB/pi-tools" fdtput -p -t x /tmp/pi.dtb /system linux,revision a02082
    mv "$LAB/pi-tools/tmp/pi.dtb" "$LAB/pi.dtb"
    kernel_disk pi 1G
    kernel_initrd pi "$release" "$LAB/pi-tools/usr/bin/busybox" bcm2835-dma bcm2835 sdhci-iproc mmc_block ext4 \
        i2c-bcm2835 i2c-dev <<'INIT'
#!/bin/busybox sh
PATH=/bin:/usr/sbin:/usr/bin
for at in mount mkdir insmod usleep cp chroot; do busybox ln -s busybox "/bin/$at"; done
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
until mount -t ext4 /dev/mmcblk0 /new; do usleep 50000; done 2>/dev/null
mount -o move /dev /new/dev
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
for at in tmp run mnt; do
    mkdir -p "/new/$at"
    mount -t tmpfs "$at" "/new/$at"
done
cp -a /test /package /new/mnt/
chroot /new /bin/bash /mnt/test/boot
echo "@@ end $?"
busybox sleep 60
INIT
}

pi_module() {  # pi_module SOURCE FOLDER: builds a module for the guest's kernel
    local headers name
    headers="$(ls -d "$LAB"/pi-tools/usr/src/linux-headers-*-arm64)"
    name="$(basename "$1" .c)"
    rm -rf "$LAB/pi-tools/usr/src/module" && mkdir "$LAB/pi-tools/usr/src/module"
    cp "$1" "$LAB/pi-tools/usr/src/module/"
    echo "obj-m := $name.o" >"$LAB/pi-tools/usr/src/module/Makefile"
    chroot "$LAB/pi-tools" make -s -C "${headers#"$LAB/pi-tools"}" M=/usr/src/module ARCH=arm64 \
        CROSS_COMPILE=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc-14 modules
    cp "$LAB/pi-tools/usr/src/module/$name.ko" "$2/"
}

pi_run() {  # pi_run SHARE COMMAND: as root in a fresh guest, with SHARE/test and SHARE/package in /mnt; its exit code
    local share="$1" work tools="$LAB/pi-tools"
    work="$(mktemp -d)"
    cat >"$share/test/boot" <<BOOT
export PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8
export LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/blas:/usr/lib/aarch64-linux-gnu/lapack
cd /root; exec </dev/null; $2
BOOT
    mkdir "$work/share"
    mv "$share/test" "$share/package" "$work/share/"
    (cat "$LAB/pi.initrd"; kernel_archive "$tools/usr/bin/busybox" "$work/share") >"$work/initrd"
    qemu-img create -q -f qcow2 -F raw -b "$LAB/pi.img" "$work/root.qcow2"
    # out of its tree, with its own libraries
    QEMU_MODULE_DIR="$tools/usr/lib/x86_64-linux-gnu/qemu" "$PYTHON" "$here/pi.py" "$work" "${GUEST_S:-1800}" \
        "$tools/usr/lib64/ld-linux-x86-64.so.2" --library-path "$tools/usr/lib/x86_64-linux-gnu" \
        "$tools/usr/bin/qemu-system-aarch64" -L "$tools/usr/share/qemu" -M raspi3b -accel tcg -no-reboot -display none \
        -kernel "$LAB/pi.vmlinuz" -initrd "$work/initrd" -dtb "$LAB/pi.dtb" -monitor none \
        -append "console=ttyAMA0,115200 console=ttyS1,115200 loglevel=2 panic=-1 mitigations=off" \
        -drive "file=$work/root.qcow2,if=sd,format=qcow2,cache=unsafe" \
        -serial "file:$work/serial0" -serial "file:$work/serial1" -qmp "unix:$work/qmp,server=on,wait=off" \
        -device lsm303dlhc_mag,id=field,bus=i2c-bus.1,address=0x1e
}
