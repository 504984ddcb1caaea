#!/bin/sh
# Make the root filesystem of an arm64 board: `make.sh FOLDER`. Root, qemu-user-static, mmdebstrap and a Debian mirror are needed.
# No maintainer script runs (--variant=extract): under emulation those of ca-certificates and openssh alone take minutes.
set -eu
folder=$1 root=$1/root
if [ -e "$folder/made" ]; then exit 0; fi
rm -rf "$root"
mkdir -p "$folder"
chmod 755 "$folder"
packages=base-files,bash,dash,coreutils,python3,libstdc++6,libgomp1,libc-bin,openssh-server,openssh-sftp-server,rsync
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    mmdebstrap -q --mode=root --architectures=arm64 --variant=extract --include=$packages \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "${SUITE:-bookworm}" "$root" -
printf 'root:x:0:0:root:/root:/bin/bash\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
printf 'root:*:19000:0:99999:7:::\n' > "$root/etc/shadow"
mkdir -p "$root/run/sshd" "$root/run/lock" "$root/root/.ssh" "$root/etc/edgebench"
chmod 1777 "$root/run/lock" "$root/tmp"
ssh-keygen -q -t ed25519 -N '' -C board -f "$root/etc/edgebench/host_key"
ssh-keygen -q -t ed25519 -N '' -C tester -f "$folder/key"
cp "$folder/key.pub" "$root/root/.ssh/authorized_keys"
cat > "$root/etc/edgebench/sshd_config" <<CONFIG
HostKey /etc/edgebench/host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
PidFile /run/sshd.pid
CONFIG
touch "$folder/made"
