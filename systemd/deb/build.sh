#!/bin/sh
# Builds dist/capture-agent_VERSION_all.deb with nothing but pip and dpkg-deb. Run by `make deb`.
#
# The same commit and the same vendored.txt give the same package, byte for byte: SOURCE_DATE_EPOCH is the commit's
# time unless it is given. VERSION and MAINTAINER ("Name <address>") may be given, too.
set -eu
cd "$(dirname "$0")/../.."
umask 022
PYTHON="${PYTHON:-python3}"
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
MAINTAINER="${MAINTAINER:-$(git log -1 --format='%an <%ae>')}"
VERSION="${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}"
export SOURCE_DATE_EPOCH
here="systemd/deb"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
tree="$work/tree"
app="$tree/usr/lib/capture-agent"
site="$app/lib/python3/site-packages"

# a virtual environment that fits every Python 3 of Debian: the system's compiled packages are seen, ours come first
mkdir -p "$site" "$app/bin" "$tree/DEBIAN"
printf 'home = /usr/bin\ninclude-system-site-packages = true\n' >"$app/pyvenv.cfg"
ln -s ../../../bin/python3 "$app/bin/python3"
for version in 3.11 3.12 3.13; do ln -s python3 "$app/lib/python$version"; done

# only wheels that are pure Python, each with the hash that was written down
"$PYTHON" -m pip install --quiet --disable-pip-version-check --target "$site" --no-compile --no-deps \
    --require-hashes --only-binary :all: --implementation py --abi none --platform any --python-version 3.11 \
    --requirement "$here/vendored.txt"
mkdir "$work/source"  # setuptools leaves things behind where it builds
git ls-files -z -- agent drivers pyproject.toml README.md LICENSE | tar -c --null -T - | tar -x -C "$work/source"
"$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work/wheel" "$work/source"
"$PYTHON" -m pip install --quiet --disable-pip-version-check --target "$site" --no-compile --no-deps --upgrade "$work"/wheel/*.whl
rm -rf "$site/bin" "$site"/*.dist-info/RECORD "$site"/*.dist-info/INSTALLER "$site"/*.dist-info/REQUESTED "$site"/*.dist-info/direct_url.json
if find "$site" -name '*.so' | grep .; then echo "these are not pure Python" >&2; exit 1; fi

install -d "$tree/usr/bin"
cat >"$tree/usr/bin/capture-agent" <<'LAUNCHER'
#!/bin/sh
# nothing is imported from the folder that one happens to be in
export PYTHONSAFEPATH=1
exec /usr/lib/capture-agent/bin/python3 -m agent.cli "$@"
LAUNCHER
chmod 755 "$tree/usr/bin/capture-agent"
install -D -m 644 systemd/capture-agent.service "$tree/usr/lib/systemd/system/capture-agent.service"
install -D -m 644 systemd/capture-agent.sysusers "$tree/usr/lib/sysusers.d/capture-agent.conf"
install -D -m 644 systemd/capture-agent.tmpfiles "$tree/usr/lib/tmpfiles.d/capture-agent.conf"
install -D -m 644 systemd/60-capture-agent.rules "$tree/usr/lib/udev/rules.d/60-capture-agent.rules"
install -D -m 644 systemd/config.toml "$tree/etc/capture-agent/config.toml"
doc="$tree/usr/share/doc/capture-agent"
install -D -m 644 -t "$doc" README.md
install -D -m 644 -t "$doc/examples" config.example.toml systemd/realtime.conf
install -m 644 "$here/copyright" "$doc/copyright"
{
    printf 'capture-agent (%s) unstable; urgency=medium\n\n' "$VERSION"
    sed -n 's/^- \(.*\)/  * \1/p; s/^  \([^ ].*\)/    \1/p' CHANGELOG.md
    printf '\n -- %s  %s\n' "$MAINTAINER" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"

chmod -R u=rwX,go=rX "$tree/usr" "$tree/etc"
find "$site" -type f -exec chmod 644 {} +
echo /etc/capture-agent/config.toml >"$tree/DEBIAN/conffiles"
install -m 755 -t "$tree/DEBIAN" "$here/preinst" "$here/postinst" "$here/prerm" "$here/postrm"
size="$(du -k -s --apparent-size "$tree" | cut -f1)"
sed -e "s|@VERSION@|$VERSION|; s|@MAINTAINER@|$MAINTAINER|; s|@SIZE@|$size|" "$here/control" >"$tree/DEBIAN/control"
(cd "$tree" && find usr etc -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p dist
dpkg-deb --root-owner-group -Zxz --build "$tree" "dist/capture-agent_${VERSION}_all.deb"
