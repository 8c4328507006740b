#!/bin/bash
# Process 1 of a node: lays out the node's own mount tree, pivots into it, then sleeps and reaps. Started by node.py in
# fresh mount, pid, network, ipc, uts and cgroup namespaces.
# Usage: node.sh NAME ADDRESS FOLDER WORK BIN CONTROLLERS    (CONTROLLERS: cgroup v1's, or "v2")
set -eu
name=$1 address=$2 folder=$3 work=$4 bin=$5 controllers=$6
mount --make-rprivate /

# The root is the machine's own, under a layer in memory: the node sees containerd, runc and the rest, and changes nothing.
mkdir -p "$folder/layer"
mount -t tmpfs -o mode=755 tmpfs "$folder/layer"
mkdir "$folder"/layer/{upper,work,root}
root=$folder/layer/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/layer/upper,workdir=$folder/layer/work" "$root"

# containerd's own overlays do not lie on an overlay, and the rest is too big for memory.
for dir in containerd kubelet etcd; do
    mkdir -p "$folder/data/$dir" "$root/var/lib/$dir"
    mount --bind "$folder/data/$dir" "$root/var/lib/$dir"
done

mkdir -p "$root"/{proc,sys,run,tmp,dev}
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if [ "$controllers" = v2 ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    for c in $controllers; do
        mkdir "$root/sys/fs/cgroup/$c"
        option=$c
        [ "$c" = systemd ] && option=none,name=systemd
        # The cgroup namespace makes this show the node's own subtree only.
        mount -t cgroup -o "$option" cgroup "$root/sys/fs/cgroup/$c"
    done
fi

mount -t tmpfs -o mode=755,size=16m tmpfs "$root/dev"
device() { mknod -m 666 "$root/dev/$1" "$2" "$3" "$4"; }
device null c 1 3
device zero c 1 5
device full c 1 7
device random c 1 8
device urandom c 1 9
device tty c 5 0
device kmsg c 1 11
device fuse c 10 229
device loop-control c 10 237
for i in $(seq 0 31); do device "loop$i" b 7 "$i"; done
mkdir "$root"/dev/{net,pts,shm,mqueue}
device net/tun c 10 200
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t mqueue mqueue "$root/dev/mqueue"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/run/lock" "$root$work" "$root$bin"
mount --bind "$work" "$root$work"
mount --bind -o ro "$bin" "$root$bin"

# The kubelet sets these for the whole kernel. It writes nothing where it finds its own values, so show it those.
mkdir -p "$root/run/sysctl"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    key=${setting%=*}
    file=$root/run/sysctl/${key//\//.}
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "$root/proc/sys/$key"
done

rm -rf "$root/etc/resolv.conf" "$root/etc/cni/net.d" "$root/etc/containerd"
mkdir -p "$root/etc/cni/net.d" "$root/etc/containerd" "$root/var/log/pods"
cp "$folder/resolv.conf" "$root/etc/resolv.conf"
cp "$folder/cni.conflist" "$root/etc/cni/net.d/10-bridge.conflist"
cp "$folder/containerd.toml" "$root/etc/containerd/config.toml"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$root/etc/hosts"
echo "$name" >"$root/etc/hostname"
printf '%032d\n' "${name#n}" >"$root/etc/machine-id"

cd "$root"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
rmdir /.old 2>/dev/null || true
mount --make-rshared /

ip link set lo up
hostname "$name"
sysctl -qw net.ipv4.ip_forward=1
# Answers between pods of one node must pass the rules that rewrote the question.
sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true

touch "$folder/ready"
trap 'exit 0' TERM
while :; do
    sleep 3600 &
    wait $! || true
done
