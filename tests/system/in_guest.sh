# What the scripts that run in a guest share: they say what they do, and wait for what must hold by when.
config=/root/config.toml

step() { echo "[$SECONDS s] $*"; }
asks() { capture-agent "$@" --config "$config"; }
asked() { python3 -I -S /mnt/test/ask.py "$@"; }
says() { asks status || true; tail -n 40 /mnt/daemon.log || true; }  # where something failed
fail() { echo "FAILED: $*"; says; echo "FAILED: $*"; exit 1; }
holds() { local what="$1"; shift; "$@" || fail "$what"; }
fails() { local what="$1"; shift; if "$@"; then fail "$what"; fi; }
within() {  # within SECONDS WHAT COMMAND...: it holds by then, or, where the host is busy with other things, much later
    local until=$((SECONDS + $1 * ${PATIENCE:-5})) what="$2"; shift 2
    until "$@" 2>/dev/null; do [ $SECONDS -lt $until ] || fail "$what"; sleep 1; done
}
status() { asked status "bool($1)" >/dev/null; }  # EXPRESSION of s, what `capture-agent status --json` says
shows() { asked status "$1"; }
files() { [ "$(find "$1" -name "$2" 2>/dev/null | wc -l)" -ge "$3" ]; }  # files FOLDER PATTERN LEAST
more() {  # more SECONDS WHAT FOLDER PATTERN COUNT: so many more than now, by then
    within "$1" "$2" files "$3" "$4" $(($(find "$3" -name "$4" 2>/dev/null | wc -l) + $5))
}
