#!/bin/sh
# Stop the board: `stop.sh FOLDER`. Its processes end with their namespace; the root filesystem stays.
set -eu
folder=$(cd "$1" && pwd)
if [ -e "$folder/pid" ]; then
    pid=$(cat "$folder/pid")
    # After a restart of this machine the number may be another program's.
    if grep -qsF "$folder/root" "/proc/$pid/cmdline"; then kill -KILL "$pid"; fi  # unshare takes no lesser signal
    rm -f "$folder/pid"
fi
if [ -e "$folder/netns" ]; then
    name=$(cat "$folder/netns")
    ip link delete "$name" 2>/dev/null || true
    ip netns delete "$name" 2>/dev/null || true
    rm -f "$folder/netns"
fi
