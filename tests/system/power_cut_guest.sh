# In the guest, as what its kernel starts: the disk, the network, then power_cut_guest.py. /mnt is the host's folder.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
modprobe virtio_net
for port in lo eth0; do busybox ip link set $port up; done
busybox ip address add 10.0.2.15/24 dev eth0; busybox ip route add default via 10.0.2.2
mkdir -p /data /srv/package
mount -t ext4 -o ro /dev/vdc /srv/package
mount -t ext4 -o "$(cat /mnt/mount)" /dev/vdb /data || echo '{"failed": "the disk cannot be mounted"}' >>/mnt/ticks
mkdir -p /data/agent /data/archive
PYTHONPATH=/srv/package python3 -P /mnt/power_cut_guest.py >>/mnt/daemon.log 2>&1
umount /data; sync; echo o >/proc/sysrq-trigger; sleep 60
