#!/bin/bash
# Runs in the test machine as root, started by vm-job.service once it has booted: installs
# memory-monitor, runs the command of the job, and tells its exit status.
# Its output is a serial port of its own, which qemu.py reads: see there for the markers.

repo=/srv/memory-monitor

install_package() {
    # The wheel that pip would make and install: 34 s in all, 50 s by pip (with a busy host).
    cp -r "$repo" /srv/build || return
    (cd /srv/build && python3 -c "from setuptools import build_meta as b; b.build_wheel('..')") \
        >/srv/build.log 2>&1 || { tail -n 1 /srv/build.log; return 1; }
    python3 -m installer --compile-bytecode 0 /srv/*.whl || return
    ln -s /usr/local/bin/memory-monitor /usr/bin/memory-monitor || return
    if compgen -G "$repo/units/*.service" >/dev/null; then
        install -m 644 "$repo"/units/*.service /usr/lib/systemd/system/ || return
        install -m 644 "$repo"/units/user/*.service /usr/lib/systemd/user/ || return
        systemctl daemon-reload
    fi
}

run_job() {
    # The command may do without the package; one that needs it looks for /usr/bin/memory-monitor.
    install_package || echo "vm: memory-monitor could not be installed"
    cd "$repo" || return
    export HOME=/root LANG=C.UTF-8 MEMORY_MONITOR_VM=1 PYTHONUNBUFFERED=1
    # choom: only the job itself is safe from the OOM killer, not what the tests start.
    choom -n 0 -- /bin/bash /srv/vm-command
}

echo "@@vm-job begins"
# A pipe, not the terminal, is what the command writes to: no colours, no progress bars.
run_job </dev/null 2>&1 | cat
status=${PIPESTATUS[0]}
# QEMU is ended as soon as the marker is seen: a disk that is kept has to be complete by then.
sync
echo "@@vm-job ends $status"
