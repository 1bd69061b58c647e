# Runs a command as a service beside a real systemd and logind, which kills what a user leaves running at logout.
#
#   sh systemd.sh GROUP LINGERING COMMAND...
#
# GROUP is a new control group of the unified hierarchy, LINGERING a user whose processes may stay. systemd is the first
# process of namespaces of its own, with units of its own and nothing of this machine's; killing this kills all of it.
# UNITS in the environment is a folder of further units.
set -e
if [ "$1" != --inside ]; then
  echo $$ >"$1/cgroup.procs"
  shift
  exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc sh "$0" --inside "$@"
fi
lingering=$2
shift 2
mount -t tmpfs none /run
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
# Where logind remembers who lingers.
mkdir -p /var/lib/systemd
mount -t tmpfs none /var/lib/systemd
mkdir -p /run/sshd /run/dbus /run/lock /run/systemd/system /run/units /var/lib/systemd/linger
: >"/var/lib/systemd/linger/$lingering"
printf '[Login]\nKillUserProcesses=yes\n' >/run/logind.conf
mount --bind /run/logind.conf /etc/systemd/logind.conf
unit() {
  { printf '[Unit]\nDefaultDependencies=no\n'; cat; } >"/run/units/$1"
}
unit test.target <<'.'
Wants=dbus.service logind.service tested.service
.
unit dbus.socket <<'.'
[Socket]
ListenStream=/run/dbus/system_bus_socket
.
unit dbus.service <<'.'
Requires=dbus.socket
After=dbus.socket
[Service]
Type=notify
ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation
.
unit logind.service <<'.'
After=dbus.service
StartLimitIntervalSec=0
[Service]
Type=dbus
BusName=org.freedesktop.login1
ExecStart=/lib/systemd/systemd-logind
Restart=always
RestartSec=100ms
RuntimeDirectory=systemd/sessions systemd/seats systemd/users systemd/inhibit systemd/shutdown
RuntimeDirectoryPreserve=yes
.
ln -s logind.service /run/units/dbus-org.freedesktop.login1.service
unit user-runtime-dir@.service <<'.'
After=dbus.service
[Service]
ExecStart=/lib/systemd/systemd-user-runtime-dir start %i
ExecStop=/lib/systemd/systemd-user-runtime-dir stop %i
Type=oneshot
RemainAfterExit=yes
Slice=user-%i.slice
.
unit user@.service <<'.'
Requires=user-runtime-dir@%i.service
After=user-runtime-dir@%i.service
[Service]
User=%i
Type=notify
Environment=XDG_RUNTIME_DIR=/run/user/%i
UnsetEnvironment=SYSTEMD_UNIT_PATH
ExecStart=/lib/systemd/systemd --user --unit=basic.target
Slice=user-%i.slice
KillMode=mixed
Delegate=yes
.
unit user.slice </dev/null
{
  printf 'Requires=logind.service\nAfter=logind.service\n[Service]\nKillMode=process\nExecStart='
  printf '%s ' "$@"
} | unit tested.service
exec env -i container=test SYSTEMD_UNIT_PATH="/run/units${UNITS:+:$UNITS}" PATH="$PATH" \
  /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=null
