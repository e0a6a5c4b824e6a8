# Sourced by guest.sh: the service where it cannot begin, or was given up, and what a person or an upgrade does about it.

cannot_begin() {  # a start that finds a file where it needs a folder
    systemctl stop $unit
    mv $data/recording $data/recording.kept
    touch $data/recording
    systemctl start --no-block $unit
    within 20 "it waits for its disk" sh -c "[ \"\$(systemctl show -P ActiveState $unit)\" = activating ] && systemctl show -P StatusText $unit | grep -q 'cannot begin'"
}

can_begin() { rm $data/recording; mv $data/recording.kept $data/recording; }

check_upgrade_of_one_that_is_not_active() {  # ... VERSION
    step "upgrade of one that waits for its disk"
    local pid
    cannot_begin
    pid=$(systemctl show -P MainPID $unit)
    dpkg -i "$1" 2>&1 | tail -1
    fails "the old code runs no more" kill -0 "$pid" 2>/dev/null
    holds "the new one waits" shows ActiveState activating
    can_begin
    kill -HUP "$(systemctl show -P MainPID $unit)"  # which tries at once
    within 30 "and begins" shows ActiveState active
    step "upgrade of one that was given up"
    mkdir -p /run/systemd/system/$unit.d
    printf '[Unit]\nStartLimitBurst=1\n[Service]\nRestartSec=0\n' >/run/systemd/system/$unit.d/once.conf
    systemctl daemon-reload
    systemctl reset-failed $unit
    systemctl restart $unit
    systemctl kill --signal=KILL $unit
    within 20 "it is given up" shows ActiveState failed
    fails "it does not start again" systemctl start $unit 2>/dev/null
    dpkg -i "$1" 2>&1 | tail -1
    holds "with the upgrade it runs again" shows ActiveState active
    rm -r /run/systemd/system/$unit.d
    systemctl daemon-reload
}

check_other_folder() {
    step "a data folder that the sandbox keeps from it: doctor says so, and what to do"
    systemctl stop $unit
    mkdir -p -m 700 /home/pi
    install -d -o capture-agent -g capture-agent -m 750 /home/pi/captures
    sed -i 's|^\[agent\]|[agent]\ndata_dir = "/home/pi/captures"|' $etc/config.toml
    systemctl start --no-block $unit
    within 20 "it cannot begin" sh -c "systemctl show -P StatusText $unit | grep -q 'cannot begin'"
    fails "it cannot work" sh -c 'capture-agent doctor >/tmp/doctor 2>/dev/null'
    holds "the doctor says what the daemon says" grep -q 'FAIL service: is activating: cannot begin' /tmp/doctor
    holds "what keeps it" grep -q 'ProtectHome=read-only, ReadWritePaths=-/home/pi/captures,' /tmp/doctor
    holds "what else keeps it" grep -q 'chmod o+x /home/pi' /tmp/doctor
    mkdir -p /run/systemd/system/$unit.d
    printf '[Service]\nProtectHome=read-only\nReadWritePaths=-/home/pi/captures\n' >/run/systemd/system/$unit.d/folder.conf
    chmod o+x /home/pi
    systemctl daemon-reload
    systemctl restart $unit
    within 30 "then it runs" status 'all(x["state"] == "running" for x in s["streams"].values())'
    capture-agent doctor >/tmp/doctor 2>/dev/null || true
    fails "the doctor is content" grep -E 'FAIL (service|sandbox|permissions|data folder)' /tmp/doctor
    rm -r /run/systemd/system/$unit.d
    systemctl daemon-reload
    configure
    systemctl restart $unit
}
