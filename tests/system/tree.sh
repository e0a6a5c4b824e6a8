# Trees of Debian, each made once and kept in $LAB (~/.cache/capture-agent-lab): what the scripts beside this share.
LAB="${LAB:-$HOME/.cache/capture-agent-lab}"

skip() { echo "tests/system: skipped, because $*"; exit 77; }

tree() {  # tree NAME SUITE PACKAGES [OPTIONS OF MMDEBSTRAP...]: $LAB/NAME
    local name="$1" suite="$2" packages="$3" made_of="$3" option; shift 3
    for option in "$@"; do
        case "$option" in --customize-hook=* | --extract-hook=*) made_of+=" ${option#*=}" ;; esac
    done
    [ -d "$LAB/$name" ] && [ "$(cat "$LAB/$name.packages" 2>/dev/null)" = "$made_of" ] && return
    echo "tests/system: making a tree of Debian $suite in $LAB/$name, once"
    mkdir -p "$LAB"
    rm -rf "$LAB/$name" "$LAB/$name.part"
    mmdebstrap --quiet --variant=minbase --components=main --include="$packages" "$@" "$suite" "$LAB/$name.part" ||
        skip "no tree of Debian $suite could be made (is there a network?)"
    mv "$LAB/$name.part" "$LAB/$name"
    echo "$made_of" >"$LAB/$name.packages"
}

# a kernel without its initramfs, of which these scripts make a smaller one
kernel_only=(
    --dpkgopt=force-confold
    --essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"'
    --essential-hook='printf "do_symlinks=no\nramdisk=/bin/true\n" >"$1/etc/kernel-img.conf"'
)
