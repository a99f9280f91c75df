#!/bin/bash
# Runs in the test machine as root, started by vm-job.service once it has booted: installs
# memory-monitor, runs the command of the job, writes what it left to the disk of results, and tells its
# exit status. Its output is a serial port of its own, which qemu.py reads: see there for the markers.

repo=/srv/memory-monitor
results=/srv/vm-results
# Of the journal that much, the newest; the disk has twice as much.
journal_size=32M

run_job() {
    # Nobody looks for a page here but `man NAME`; man-db would index all of them each time a package comes or goes.
    rm -f /var/lib/man-db/auto-update
    # The command may do without the package; one that needs it looks for /usr/bin/memory-monitor.
    dpkg --install /srv/memory-monitor.deb >/srv/dpkg.log 2>&1 ||
        { tail -n 5 /srv/dpkg.log; echo "vm: memory-monitor could not be installed"; }
    cd "$repo" || return
    export HOME=/root LANG=C.UTF-8 MEMORY_MONITOR_VM=1 PYTHONUNBUFFERED=1
    # choom: only the job itself is safe from the OOM killer, not what the tests start.
    choom -n 0 -- /bin/bash /srv/vm-command
}

mkdir -p "$results"
echo "@@vm-job begins"
# A pipe, not the terminal, is what the command writes to: no colours, no progress bars.
run_job </dev/null 2>&1 | cat
status=${PIPESTATUS[0]}
# Where what failed passed at the second try, the journal may still tell why it failed.
if [ "$status" != 0 ] || [ -e "$results/junit-again.xml" ]; then
    journalctl --no-pager --output=short-monotonic 2>&1 | tail -c "$journal_size" >"$results/journal"
fi
tar -c -f /dev/vdc -C "$results" . || echo "vm: what came out has no room on the disk of results"
# QEMU is ended as soon as the marker is seen: a disk that is kept has to be complete by then.
sync
echo "@@vm-job ends $status"
