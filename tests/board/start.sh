#!/bin/sh
# Start the board: `start.sh FOLDER`. Its sshd runs as arm64 code in a network, mount and process namespace of its own.
# FOLDER/bin/ssh is the system's ssh with FOLDER/ssh_config, in which the board is the host "emulated".
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "$1" && pwd) root=$folder/root
number=$(printf '%s' "$folder" | cksum | cut -d' ' -f1)  # boards in several folders run side by side
name=eb$number subnet=10.77.$((number % 250))
"$here/stop.sh" "$folder"
if [ ! -e /proc/sys/fs/binfmt_misc/register ]; then mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; fi
if [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
    cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
fi
python3 "$here/sysfs.py" "$folder/fixture"
ip netns add "$name"
echo "$name" > "$folder/netns"
ip link add "$name" type veth peer name eth0 netns "$name"
ip address add "$subnet.1/30" dev "$name"
ip link set "$name" up
ip -n "$name" address add "$subnet.2/30" dev eth0
ip -n "$name" link set eth0 up
ip -n "$name" link set lo up
nsenter --net="/run/netns/$name" unshare --mount --pid --fork --kill-child sh -ec '
    mount --make-rprivate /
    mount -t proc proc "$1/proc"
    mount --bind "$2/proc/cpuinfo" "$1/proc/cpuinfo"
    mount --rbind /dev "$1/dev"
    mount --bind "$2/sys" "$1/sys"
    QEMU_CPU=cortex-a76 exec chroot "$1" /usr/sbin/sshd -D -e -f /etc/edgebench/sshd_config
' sh "$root" "$folder/fixture" > "$folder/sshd.log" 2>&1 < /dev/null &
echo $! > "$folder/pid"
printf 'emulated %s\n' "$(cut -d' ' -f1,2 "$root/etc/edgebench/host_key.pub")" > "$folder/known_hosts"
cat > "$folder/ssh_config" <<CONFIG
Host emulated
    HostName $subnet.2
    HostKeyAlias emulated
    User root
    IdentityFile $folder/key
    IdentitiesOnly yes
    UserKnownHostsFile $folder/known_hosts
    GlobalKnownHostsFile /dev/null
CONFIG
rm -rf "$folder/bin"  # else it may be found as the system's ssh, and call itself
mkdir "$folder/bin"
printf '#!/bin/sh\nexec %s -F %s/ssh_config "$@"\n' "$(command -v ssh)" "$folder" > "$folder/bin/ssh"
chmod +x "$folder/bin/ssh"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    if "$folder/bin/ssh" -o BatchMode=yes -o ConnectTimeout=5 emulated true 2> "$folder/ssh.log"; then exit 0; fi
    sleep 0.5
done
cat "$folder/sshd.log" "$folder/ssh.log" >&2
exit 1
