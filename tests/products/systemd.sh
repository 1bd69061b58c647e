# Runs a command beside a real user manager of systemd, in namespaces of their own, with a unit started.
#
#   sh systemd.sh GROUP HOME UNIT COMMAND...
#
# GROUP is a new control group of the unified hierarchy. The manager's units are those of HOME; killing this kills all of it.
set -e
if [ "$1" != --inside ]; then
  echo $$ >"$1/cgroup.procs"
  shift
  exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc sh "$0" --inside "$@"
fi
home=$2
unit=$3
shift 3
mount -t tmpfs none /run
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
# The folder says that systemd is there; the manager of a user asks for no more.
mkdir -p /run/sshd /run/systemd/system /run/user/0
chmod 0700 /run/user/0
env -i HOME="$home" PATH="$PATH" XDG_RUNTIME_DIR=/run/user/0 \
  /lib/systemd/systemd --user --unit=basic.target --log-target=null &
left=200
while ! XDG_RUNTIME_DIR=/run/user/0 systemctl --user start -- "$unit" 2>/dev/null; do
  left=$((left - 1))
  [ "$left" -gt 0 ] || { echo "no user manager, or $unit does not start" >&2; exit 1; }
  sleep 0.05
done
exec "$@"
