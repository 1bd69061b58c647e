//! Steps that take themselves back though the host restarts in between: whatever starts it again, exactly once, and
//! nothing of it stays behind.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use longshore::durable::{AttemptState, Confirmation, Ending, Following, Refusal, Segment};

use crate::{
    deadman::{fired, follow_undo, undo, watched},
    host::{Host, Shell, for_each_shell},
    play::{Play, act_of},
};

const WITHIN: Duration = Duration::from_secs(3);

/// What starts programs when the host comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Cron,
    Systemd,
}

/// The user's own lines in the table.
const LINES: &str = "# mine\n0 3 * * * backup 'every night'\n\n@daily tidy\n";

impl Init {
    /// A host with it, in its first boot; `None` where this machine cannot.
    async fn host(self, shell: Shell) -> Option<Arc<Host>> {
        let host = Host::new(shell);
        match self {
            Self::Cron => host.install_cron(LINES),
            Self::Systemd => {
                if !Path::new("/etc/systemd/system").is_dir() {
                    crate::host::skipped("there is no /etc/systemd/system to mount a folder over");
                    return None;
                }
                for folder in ["run/systemd/system", "units"] {
                    std::fs::create_dir_all(host.place(folder)).expect("a folder");
                }
                host.mount_at_boot("run", "/run");
                host.mount_at_boot("units", "/etc/systemd/system");
            }
        }
        self.restart(&host).await.then_some(host)
    }

    /// Restarts the host, and has it start what is to be started.
    async fn restart(self, host: &Arc<Host>) -> bool {
        let restarting = Arc::clone(host);
        if !tokio::task::spawn_blocking(move || restarting.restart()).await.expect("restarted") {
            return false;
        }
        self.comes_up(host);
        true
    }

    fn comes_up(self, host: &Host) {
        match self {
            Self::Cron => host.start_cron(),
            Self::Systemd => {
                for link in
                    std::fs::read_dir(host.place("units/multi-user.target.wants")).into_iter().flatten().flatten()
                {
                    let unit = std::fs::read_to_string(link.path()).expect("the link leads to a unit");
                    let start =
                        unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("it starts something");
                    host.start(&start.split(' ').collect::<Vec<_>>());
                }
            }
        }
    }

    /// Whether the host is to start something of ours.
    fn is_hooked(self, host: &Host) -> bool {
        match self {
            Self::Cron => host.lines("bin/tab").iter().any(|line| line.starts_with("@reboot ")),
            Self::Systemd => std::fs::read_dir(host.place("units/multi-user.target.wants"))
                .is_ok_and(|mut links| links.next().is_some()),
        }
    }

    /// Waits until nothing of ours is left in it, and what was there before is.
    async fn is_clean(self, host: &Host) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.is_hooked(host) {
            assert!(Instant::now() < until, "{self:?}: {:?}", host.lines("bin/tab"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match self {
            Self::Cron => assert_eq!(host.lines("bin/tab").join("\n") + "\n", LINES),
            Self::Systemd => {
                let left: Vec<_> = std::fs::read_dir(host.place("units")).expect("a folder").flatten().collect();
                assert_eq!(left.len(), 1, "beside the target's own folder: {left:?}");
            }
        }
    }
}

async fn done(host: &Host, line: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !host.lines("trace").iter().any(|done| done == line) {
        assert!(Instant::now() < until, "`{line}` never happens: {:?}", host.lines("trace"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Arms and begins the step, and restarts the host under it.
async fn restarted(init: Init, play: &Play, segment: &Segment) {
    let host = Arc::clone(&play.host);
    let (cut, ()) = tokio::join!(play.run(segment), async {
        done(&host, "act").await;
        assert!(init.is_hooked(&host), "{init:?}: begun before it could be taken back");
        assert!(init.restart(&host).await);
    });
    assert!(cut.0.is_err(), "told over a link that was cut");
}

async fn each(test: impl AsyncFn(Init, Arc<Host>, bool)) {
    for_each_shell(async |shell| {
        for (init, restarts) in [(Init::Cron, true), (Init::Cron, false), (Init::Systemd, true)] {
            // There `crontab` is busybox's own, which is not relied on.
            if (init, shell) == (Init::Cron, Shell::Busybox) {
                continue;
            }
            if let Some(host) = init.host(shell).await {
                test(init, host, restarts).await;
            }
        }
    })
    .await;
}

fn segment(host: &Host, restarts: bool) -> Segment {
    let mut segment = watched(host, "sleep 1", WITHIN);
    segment.steps[0].restarts = restarts;
    segment
}

#[tokio::test]
async fn r18_a_step_that_is_confirmed_after_a_restart_stands_and_nothing_stays_behind() {
    each(async |init, host, restarts| {
        let play = Play::on(Arc::clone(&host)).await;
        let segment = segment(&host, restarts);
        restarted(init, &play, &segment).await;
        if restarts {
            let end = play.side.attach(&mut Following::of(&segment), &mut |_, _| {}).await.expect("followed");
            assert_eq!(end.endings[0].1, Ending::Changed, "{init:?}");
        }
        assert_eq!(play.side.confirm(&act_of(0, "cut")).await.expect("asked"), Confirmation::Confirmed, "{init:?}");
        init.is_clean(&host).await;
        host.falls_silent_but_for(Duration::from_secs(10), "bin/cron").await.expect("silent");
        // It does not come back with the next restart either.
        assert!(init.restart(&host).await);
        tokio::time::sleep(WITHIN + Duration::from_secs(2)).await;
        assert_eq!(host.lines("trace"), ["act"], "{init:?}");
        play.side.renew(&play.lease).await.expect("renewed");
        play.side.release(&play.lease).await.expect("released");
    })
    .await;
}

#[tokio::test]
async fn r18_a_step_that_nobody_confirms_after_a_restart_is_taken_back_by_the_host_alone() {
    each(async |init, host, restarts| {
        let play = Play::on(Arc::clone(&host)).await;
        restarted(init, &play, &segment(&host, restarts)).await;
        let up = Instant::now();
        done(&host, "undone").await;
        // The time it was away for does not count.
        assert!(up.elapsed() >= WITHIN, "{init:?}: taken back after {:?}", up.elapsed());
        assert_eq!(host.lines("trace"), ["act", "undo", "undone"], "{init:?}");
        init.is_clean(&host).await;
        assert_eq!(play.side.confirm(&act_of(0, "cut")).await.expect("asked"), fired(), "{init:?}");
        assert_eq!(follow_undo(&play).await, (Ending::Changed, "taken back\n".to_owned()), "{init:?}");
        assert!(init.restart(&host).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(host.lines("trace"), ["act", "undo", "undone"], "{init:?}");
    })
    .await;
}

#[tokio::test]
async fn a_step_that_may_not_stand_is_taken_back_at_once_by_a_host_that_counts_anew() {
    let Some(host) = Init::Cron.host(Shell::Dash).await else { return };
    let play = Play::on(Arc::clone(&host)).await;
    let mut segment = segment(&host, true);
    segment.steps[0].deadman.as_mut().expect("watched").within = Duration::from_mins(10);
    restarted(Init::Cron, &play, &segment).await;
    assert_eq!(play.side.refuse(&act_of(0, "cut")).await.expect("asked"), fired());
    assert_eq!(follow_undo(&play).await.0, Ending::Changed);
    assert_eq!(play.side.confirm(&act_of(0, "cut")).await.expect("asked"), fired());
    assert_eq!(host.lines("trace"), ["act", "undo", "undone"]);
    Init::Cron.is_clean(&host).await;
}

#[tokio::test]
async fn a_host_that_restarts_before_the_step_began_has_nothing_to_take_back() {
    each(async |init, host, restarts| {
        let play = Play::on(Arc::clone(&host)).await;
        let here = host.place("here");
        host.hook("armed", &format!(": >{here}; sleep 60"));
        let segment = segment(&host, restarts);
        let (cut, ()) = tokio::join!(play.run(&segment), async {
            let until = Instant::now() + Duration::from_secs(20);
            while !Path::new(&here).exists() {
                assert!(Instant::now() < until, "{init:?}: it is never armed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            host.unhook();
            assert!(init.is_hooked(&host), "{init:?}");
            assert!(init.restart(&host).await);
        });
        assert!(cut.0.is_err(), "{init:?}: {cut:?}");
        init.is_clean(&host).await;
        assert_eq!(host.lines("trace"), [""; 0], "{init:?}");
        assert_eq!(play.state(&act_of(0, "cut")).await, AttemptState::NotStarted, "{init:?}");
        assert_eq!(play.state(&undo()).await, AttemptState::NotStarted, "{init:?}");
    })
    .await;
}

#[tokio::test]
async fn a_host_that_could_not_take_a_restart_back_is_not_restarted() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        assert_eq!(play.side.boot_hook().await.expect("asked"), None, "{shell:?}");
        let (end, _) = play.run(&segment(&play.host, true)).await;
        let refused = Ending::NotStarted { refusal: Some(Refusal::NoHook) };
        assert_eq!(end.expect("followed"), [refused], "{shell:?}");
        assert_eq!(play.host.lines("trace"), [""; 0], "{shell:?}");
        // What restarts nothing is watched as long as the host stays up.
        let play = Play::begin(shell).await;
        let (end, _) = play.run(&segment(&play.host, false)).await;
        assert_eq!(end.expect("followed"), [Ending::Changed], "{shell:?}");
        play.side.confirm(&act_of(0, "cut")).await.expect("asked");
        play.host.falls_silent(Duration::from_secs(10)).await.expect("silent");
    })
    .await;
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_not_replaced() {
    let host = Host::new(Shell::Dash);
    host.install_cron(LINES);
    host.start_cron();
    let side = host.side("run-1");
    assert_eq!(side.boot_hook().await.expect("asked").as_deref(), Some("crontab"));
    let crontab = std::fs::read_to_string(host.place("bin/crontab")).expect("the stand-in");
    std::fs::write(host.place("bin/crontab"), crontab.replace("-l)", "-l) echo busy >&2; exit 1 ;; -x)"))
        .expect("written");
    assert_eq!(side.boot_hook().await.expect("asked"), None);
    let play = Play::on(Arc::clone(&host)).await;
    let (end, _) = play.run(&segment(&host, true)).await;
    assert_eq!(end.expect("followed"), [Ending::NotStarted { refusal: Some(Refusal::NoHook) }]);
    assert_eq!(host.lines("bin/tab").join("\n") + "\n", LINES);
}
