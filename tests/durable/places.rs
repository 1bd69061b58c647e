//! Where a host's processes and files are: no use of `/tmp`, and everything killed at once by its control group.

use std::{path::PathBuf, time::Duration};

use longshore::durable::{AttemptState, Beginning, Doubt, Ending};

use crate::{
    host::{Host, for_each_shell, skipped},
    play::{Play, act_of, segment, until},
};

#[tokio::test]
async fn r28_a_tmp_that_cannot_be_used_has_no_influence() {
    let ways = [
        "mount -t tmpfs -o ro none /tmp",
        "mount -t tmpfs -o noexec none /tmp",
        "mount -t tmpfs -o size=16k none /tmp && { head -c 100000 /dev/zero >/tmp/filler || true; } 2>/dev/null",
        "mount -t tmpfs -o mode=0 none /tmp",
    ];
    for_each_shell(async |shell| {
        for mount in ways {
            // A host elsewhere, as what is below `/tmp` is not seen any more.
            let host = Host::new_in(shell, "/var/tmp");
            if !host.mounts(mount) {
                return skipped("no mount namespaces here");
            }
            let play = Play::on(host).await;
            let trace = play.host.place("trace");
            let act = format!(
                "if echo x >/tmp/x && sh /tmp/x; then echo usable; fi 2>/dev/null >>{trace}; echo ran >>{trace}"
            );
            let (end, _) = play.run(&segment("s", [("one", act.as_str()), ("two", act.as_str())])).await;
            assert_eq!(end.expect("followed"), [Ending::Changed, Ending::Changed], "{shell:?}: {mount}");
            assert_eq!(play.host.lines("trace"), ["ran", "ran"], "{shell:?}: {mount}");
            play.side.release(&play.lease).await.expect("released");
            play.side.shelve().await.expect("shelved");
        }
    })
    .await;
}

/// A control group of the unified hierarchy. Removed when it goes.
struct Group(PathBuf);

impl Group {
    fn make(name: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
        let group = Self(root.join(format!("longshore-test-{}-{name}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        group.0.join("cgroup.kill").exists().then_some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn r15_all_of_a_control_group_killed_at_once_leaves_an_unknown_that_is_not_run_again() {
    for_each_shell(async |shell| {
        let Some(group) = Group::make(&format!("{shell:?}")) else {
            return skipped("no control group can be made here");
        };
        let host = Host::new(shell);
        host.login(&format!("echo $$ >{}", group.0.join("cgroup.procs").display()));
        let play = Play::on(host).await;
        let trace = play.host.place("trace");
        let act = format!("echo begin >>{trace}; sleep 60; echo end >>{trace}");
        let whole = segment("s", [("one", act.as_str())]);
        let killer = async {
            until(|| !play.host.lines("trace").is_empty()).await;
            std::fs::write(group.0.join("cgroup.kill"), "1").expect("killed");
        };
        let ((end, _), ()) = tokio::join!(play.run(&whole), killer);
        assert!(end.is_err_and(|error| error.leaves_doubt()), "{shell:?}");
        play.host.falls_silent(Duration::from_secs(10)).await.expect("all of it was in the group");
        let unknown = AttemptState::Ended(Ending::Unknown { why: Doubt::Lost });
        assert_eq!(play.state(&act_of(0, "one")).await, unknown, "{shell:?}");
        // Sent again, it is told as what it is.
        let side = play.host.side("run-1");
        let lease = side.acquire("anna", "{}", Beginning::Again).await.expect("lease");
        let again = Play { host: std::sync::Arc::clone(&play.host), side, lease };
        let (end, _) = again.run(&segment("t", [("one", act.as_str())])).await;
        assert_eq!(end.expect("followed"), [Ending::Unknown { why: Doubt::Lost }], "{shell:?}");
        assert_eq!(play.host.lines("trace"), ["begin"], "{shell:?}");
    })
    .await;
}
