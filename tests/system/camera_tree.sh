# The guest with a camera: what Debian lacks for one without hardware is added to its tree, once.
camera_packages=systemd,systemd-sysv,dbus,init-system-helpers,python3,python3-numpy,python3-pil,python3-lz4,python3-zstandard
camera_packages+=,libcamera-ipa,python3-libcamera,python3-piexif,python3-tqdm,python3-jsonschema,python3-libarchive-c
camera_packages+=,python3-pip,python3-dev,gcc,make,libcap-dev,linux-headers-amd64,linux-source

# The vimc driver, of which Debian has the source and no module, and Picamera2 as PyPI has it. That imports pykms, which
# Debian does not have, for windows that are never opened here.
camera_additions='set -eu
release="$(basename "$1"/lib/modules/*)"
mkdir "$1/usr/src/vimc"
tar -xJf "$1"/usr/src/linux-source-*.tar.xz -C "$1/usr/src/vimc" --strip-components=5 --wildcards "*/media/test-drivers/vimc"
chroot "$1" make -s -C "/usr/src/linux-headers-$release" M=/usr/src/vimc CONFIG_VIDEO_VIMC=m modules
install -D -m 644 -t "$1/lib/modules/$release/updates" "$1/usr/src/vimc/vimc.ko"
chroot "$1" depmod "$release"
cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"  # a proxy may have one of its own
chroot "$1" env -u PIP_FIND_LINKS python3 -m pip install --quiet --disable-pip-version-check \
    --break-system-packages --root-user-action ignore --no-cache-dir picamera2==0.3.38
printf "class Names:\n    def __getattr__(self, name):\n        return name\n\nPixelFormat = Names()\n" \
    >"$(echo "$1"/usr/local/lib/python3.*/dist-packages)/pykms.py"
rm -rf "$1/usr/src/vimc" "$1"/usr/src/linux-source-*'

camera_image() {  # $LAB/trixie-camera, with systemd and everything
    kernel_image trixie-camera trixie "$camera_packages" --customize-hook="$camera_additions"
}
