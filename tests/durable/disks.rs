//! Disks that are full or cannot be written, before and during a step. They want a small disk of their own, and so root.

use std::{process::Command, sync::Arc};

use longshore::durable::{AttemptState, Beginning, DurableError, Ending, Following, LeaseError};

use crate::{
    host::{Host, Shell, for_each_shell, skipped},
    play::{LIMIT, Play, act_of, segment},
};

/// A small disk mounted as the host's state. Unmounted when it goes.
struct Disk {
    host: Arc<Host>,
}

impl Disk {
    fn mount(host: &Arc<Host>, options: &str) -> Option<Self> {
        std::fs::create_dir_all(host.root()).expect("state");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("mode=700,{options}"), "longshore-test"])
            .arg(host.root())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            skipped("no disk can be mounted here");
        }
        mounted.then(|| Self { host: Arc::clone(host) })
    }

    /// Fills the disk but for so many bytes.
    fn fill(&self, left: u64) {
        let file = self.host.root().join("filler");
        let _ = std::fs::remove_file(&file);
        let mut filler = std::fs::File::create(&file).expect("filler");
        let piece = vec![0_u8; 4096];
        while std::io::Write::write_all(&mut filler, &piece).is_ok() {}
        let size = filler.metadata().expect("size").len();
        filler.set_len(size.saturating_sub(left)).expect("room");
    }

    fn empty(&self) {
        std::fs::remove_file(self.host.root().join("filler")).expect("filler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.host.kill_all();
        let _ = Command::new("umount").arg("-l").arg(self.host.root()).status();
    }
}

#[tokio::test]
async fn r21_a_full_disk_refuses_the_step_or_runs_it_whole_and_the_same_attempt_works_later() {
    let mut refused = 0;
    let mut done = 0;
    for (round, left) in (0..=96).step_by(4).enumerate() {
        let host = Host::new([Shell::Dash, Shell::Bash, Shell::Busybox][round % 3]);
        let Some(disk) = Disk::mount(&host, "size=1m") else { return };
        let play = Play::on(Arc::clone(&host)).await;
        let trace = host.place("trace");
        let act = format!("echo begin >>{trace}; echo said; echo end >>{trace}");
        disk.fill(left * 1024);
        let (end, _) = play.run(&segment("a", [("s", act.as_str())])).await;
        let begun = host.lines("trace").len();
        match &end {
            Err(DurableError::NoSpace { .. }) => assert_eq!(begun, 0, "{left} KiB left"),
            Err(error) => panic!("{left} KiB left: {error}"),
            Ok(end) => match end[0] {
                Ending::NotStarted { .. } => assert_eq!(begun, 0, "{left} KiB left"),
                Ending::Changed => assert_eq!(begun, 2, "{left} KiB left"),
                ref other => panic!("{left} KiB left: {other:?}"),
            },
        }
        if begun == 0 {
            refused += 1;
            assert_eq!(play.state(&act_of(0, "s")).await, AttemptState::NotStarted, "{left} KiB left");
            disk.empty();
            let (end, _) = play.run(&segment("b", [("s", act.as_str())])).await;
            assert_eq!(end.expect("followed"), [Ending::Changed], "{left} KiB left");
        } else {
            done += 1;
            assert_eq!(play.state(&act_of(0, "s")).await, AttemptState::Ended(Ending::Changed), "{left} KiB left");
        }
        assert_eq!(host.lines("trace").len(), 2, "{left} KiB left");
    }
    assert!(refused > 2 && done > 2, "{refused} refused, {done} done");
}

#[tokio::test]
async fn r22_a_disk_that_fills_during_the_step_does_not_change_its_result() {
    for shell in Shell::all() {
        let host = Host::new(shell);
        let Some(_disk) = Disk::mount(&host, "size=1m") else { return };
        let play = Play::on(Arc::clone(&host)).await;
        let act = format!(
            "cat /dev/zero >{}/filler 2>/dev/null; i=0; while [ $i -lt 3000 ]; do echo a line of output; i=$((i+1)); done; exit 3",
            host.root().display()
        );
        let (end, _) = play.run(&segment("a", [("s", act.as_str()), ("next", "true")])).await;
        assert_eq!(end.expect("followed")[0], Ending::Failed { status: 3 }, "{shell:?}");
        assert_eq!(play.state(&act_of(0, "s")).await, AttemptState::Ended(Ending::Failed { status: 3 }));
        let renewed = play.side.renew(&play.lease).await;
        assert!(matches!(renewed, Err(LeaseError::Durable(DurableError::NoSpace { .. }))), "{renewed:?}");
        let taken = host.side("run-2").acquire("ben", "{}", Beginning::First).await;
        assert!(taken.is_err(), "a full disk let another take over");
    }
}

#[tokio::test]
async fn r23_a_disk_without_inodes_refuses_the_step() {
    let mut refused = 0;
    for inodes in [18, 20, 22, 24, 28, 34, 60] {
        let host = Host::new(Shell::Dash);
        let Some(_disk) = Disk::mount(&host, &format!("size=1m,nr_inodes={inodes}")) else { return };
        let side = host.side("run-1");
        let lease = match side.acquire("anna", "{}", Beginning::First).await {
            Ok(lease) => lease,
            Err(error) => {
                assert!(matches!(error, LeaseError::Durable(DurableError::NoSpace { .. })), "{inodes}: {error}");
                continue;
            }
        };
        let play = Play { host: Arc::clone(&host), side, lease };
        let trace = host.place("trace");
        let act = format!("echo begin >>{trace}");
        let (end, _) = play.run(&segment("a", [("s", act.as_str())])).await;
        let begun = host.lines("trace").len();
        match end {
            Err(DurableError::NoSpace { .. }) => assert_eq!(begun, 0, "{inodes} inodes"),
            Err(error) => panic!("{inodes} inodes: {error}"),
            Ok(end) if end == [Ending::Changed] => assert_eq!(begun, 1, "{inodes} inodes"),
            Ok(end) => {
                assert!(matches!(end[..], [Ending::NotStarted { .. }]), "{inodes} inodes: {end:?}");
                assert_eq!(begun, 0, "{inodes} inodes");
            }
        }
        refused += usize::from(begun == 0);
    }
    assert!(refused > 0, "no case was tight enough");
}

#[tokio::test]
async fn r29_a_disk_that_does_not_last_is_not_trusted_with_steps() {
    let host = Host::new(Shell::Dash);
    let Some(_disk) = Disk::mount(&host, "size=64m") else { return };
    let trusting = host.side("run-1");
    trusting.probe().await.expect("accepted where asked for");
    let side = longshore::durable::HostSide::new(
        host.session(),
        trusting.run().clone(),
        longshore::durable::InstallKey::of(&["test"]),
    )
    .state_root(host.root().display().to_string());
    let error = side.probe().await.expect_err("not durable");
    assert!(error.to_string().contains("tmpfs"), "{error}");
}

#[tokio::test]
async fn a_segment_on_a_disk_that_became_read_only_is_said_to_be_there_and_not_waited_for() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let segment = segment("s", [("s", "true")]);
        play.host.hook("launch-moved", "kill -9 $PPID");
        assert!(play.run(&segment).await.0.is_err());
        play.host.unhook();
        let root = play.host.root().display().to_string();
        if !play.host.mounts(&format!("mount --bind {root} {root} && mount -o remount,ro,bind {root}")) {
            return skipped("no mount namespaces here");
        }
        let mut following = Following::of(&segment);
        let end = tokio::time::timeout(LIMIT, play.side.attach(&mut following, &mut |_, _| {})).await;
        assert!(matches!(end, Ok(Err(DurableError::NoSpace { .. }))), "{shell:?}: {end:?}");
    })
    .await;
}
