#!/bin/sh
# Installs this checkout into /opt/capture-agent as a service, or uninstalls it. Run by `make install`, `make uninstall`.
#
#   install.sh install      again and again: an upgrade keeps configuration and data
#   install.sh uninstall    keeps them, too, unless PURGE=1
#
# PYTHON: the interpreter; EXTRAS=parquet,flac: extras to install; DESTDIR: another root, in which nothing is started.
set -eu
umask 022  # root's own may be tighter, and the service's user has to read and run what is made here
cd "$(dirname "$0")/.."
DESTDIR="${DESTDIR:-}" PYTHON="${PYTHON:-python3}" EXTRAS="${EXTRAS:-}" PURGE="${PURGE:-}"
app="/opt/capture-agent"
etc="/etc/capture-agent"
unit="/etc/systemd/system/capture-agent.service"
sysusers="/etc/sysusers.d/capture-agent.conf"
tmpfiles="/etc/tmpfiles.d/capture-agent.conf"
rules="/etc/udev/rules.d/60-capture-agent.rules"
doc="/usr/local/share/doc/capture-agent"
command="/usr/local/bin/capture-agent"

running() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }
say() { echo "capture-agent: $*"; }

[ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || { say "needs root: sudo make $1" >&2; exit 1; }
package_is_there() { [ -z "$DESTDIR" ] && [ -e /usr/lib/capture-agent ]; }

install_all() {
    if package_is_there; then
        say "the Debian package is installed; remove it first: apt remove capture-agent" >&2; exit 1
    fi
    # a virtual environment that sees the system's packages: picamera2 and its numpy come with Raspberry Pi OS
    if ! "$DESTDIR$app/bin/python" -c 'import sys, pip' 2>/dev/null; then
        rm -rf "$DESTDIR$app"
        mkdir -p "$DESTDIR/opt"
        "$PYTHON" -m venv --system-site-packages "$DESTDIR$app" || {
            say "no virtual environment could be made: apt install python3-venv" >&2; exit 1; }
    fi
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    pip="$DESTDIR$app/bin/python -m pip --quiet --disable-pip-version-check"
    mkdir "$work/source"  # a copy, because setuptools leaves things behind where it builds
    cp -r agent drivers pyproject.toml README.md LICENSE "$work/source"
    $pip wheel --no-deps --wheel-dir "$work" "$work/source"
    wheel="$(ls "$work"/capture_agent-*.whl)"
    $pip install --no-warn-script-location --upgrade --upgrade-strategy only-if-needed "$wheel${EXTRAS:+[$EXTRAS]}"
    # the version may be the same and the code another one
    $pip install --no-warn-script-location --force-reinstall --no-deps "$wheel"
    if [ -n "$DESTDIR" ]; then  # where it will be, not where it was made
        grep -rlIF "$DESTDIR$app" "$DESTDIR$app/bin" "$DESTDIR$app/pyvenv.cfg" | xargs -r sed -i "s|$DESTDIR$app|$app|g"
    fi
    mkdir -p "$DESTDIR${command%/*}"
    ln -sfn "$app/bin/capture-agent" "$DESTDIR$command"
    install -D -m 644 systemd/capture-agent.service "$DESTDIR$unit"
    install -D -m 644 systemd/capture-agent.sysusers "$DESTDIR$sysusers"
    install -D -m 644 systemd/capture-agent.tmpfiles "$DESTDIR$tmpfiles"
    install -D -m 644 systemd/60-capture-agent.rules "$DESTDIR$rules"
    install -D -m 644 -t "$DESTDIR$doc" README.md config.example.toml systemd/realtime.conf
    [ -e "$DESTDIR$etc/config.toml" ] || install -D -m 640 systemd/config.toml "$DESTDIR$etc/config.toml"
    [ -z "$DESTDIR" ] || { say "installed below $DESTDIR; nothing is started"; return; }
    systemd-sysusers "$sysusers"
    systemd-tmpfiles --create "$tmpfiles"
    running || { say "installed; systemd does not run here"; return; }
    udevadm control --reload 2>/dev/null || true  # a container has none
    udevadm trigger --subsystem-match=i2c-dev --subsystem-match=dma_heap --subsystem-match=gpio 2>/dev/null || true
    systemctl daemon-reload
    if "$command" check "$etc/config.toml" >/dev/null 2>&1; then
        systemctl enable --quiet capture-agent
        systemctl restart capture-agent
        say "runs; capture-agent status"
    else
        systemctl try-restart capture-agent
        say "is installed and not configured. Edit $etc/config.toml, then: systemctl enable --now capture-agent"
    fi
    say "to ask it without root: adduser YOU capture-agent"
}

uninstall_all() {
    if package_is_there && [ "$PURGE" = 1 ]; then
        say "the Debian package is installed, and uses the same configuration and captures: without PURGE=1" >&2; exit 1
    fi
    if running; then systemctl disable --quiet --now capture-agent 2>/dev/null || true; fi
    rm -rf "$DESTDIR$app" "$DESTDIR$doc"
    rm -f "$DESTDIR$command" "$DESTDIR$unit" "$DESTDIR$sysusers" "$DESTDIR$tmpfiles" "$DESTDIR$rules"
    if running; then systemctl daemon-reload; udevadm control --reload 2>/dev/null || true; fi
    if [ "$PURGE" = 1 ]; then
        rm -rf "$DESTDIR$etc" "$DESTDIR/var/lib/capture-agent"
        say "configuration, secrets and captures are deleted, also those that were still owed"
    else
        say "kept: $etc and /var/lib/capture-agent; make uninstall PURGE=1 deletes them"
    fi
    if package_is_there; then say "the Debian package stays; start it: systemctl enable --now capture-agent"; fi
}

case "${1:-}" in
install) install_all ;;
uninstall) uninstall_all ;;
*) say "install.sh install|uninstall" >&2; exit 2 ;;
esac
