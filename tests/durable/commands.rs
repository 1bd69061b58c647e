//! Everything of a host killed before or after any one command of the script that launches, or of the one that follows.
//!
//! The hooks of `crashes.rs` stand at the places that were thought of; here every command is one, once for the
//! launcher and once for each of the followers that come after it.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use longshore::durable::{Attempt, Beginning, DurableError, Ending, Following, HostSide, Lease, Segment, SegmentStep};

use crate::{
    host::{Host, Shell},
    play::{LIMIT, act_of, until},
};

/// What the scripts call.
const COMMANDS: [&str; 11] = ["mkdir", "mkfifo", "mv", "rm", "wc", "sync", "flock", "setsid", "cat", "dd", "sleep"];

/// Longest time for a follower to say how it stands: no step here takes a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where everything is killed: before or after the so-manieth command of the link's own shell.
#[derive(Debug, Clone, Copy)]
struct At {
    command: usize,
    before: bool,
}

impl At {
    fn all(most: usize) -> impl Iterator<Item = Self> {
        (1..=most).flat_map(|command| [true, false].map(|before| Self { command, before }))
    }
}

/// Puts a word before each command that stops at the wanted one until it is killed.
fn stop_at_commands(host: &Host, shell: Shell) {
    let bin = host.dir.path().join("bin");
    for name in COMMANDS {
        let real = if shell == Shell::Busybox && name != "flock" {
            format!("/bin/busybox {name}")
        } else {
            ["/usr/bin", "/bin"]
                .map(|folder| format!("{folder}/{name}"))
                .into_iter()
                .find(|path| std::path::Path::new(path).exists())
                .expect("this machine has it")
        };
        // What it starts goes on when the link's own work may be over already.
        let after = if name == "setsid" { "exec".to_owned() } else { String::new() } + &format!(" {real} \"$@\"");
        let text = format!(
            "#!{bin}/sh\nif [ \"$PPID\" = \"$STOP_LINK\" ]; then\n  printf x >>\"$STOP_COUNT\"\n  read -r count <\"$STOP_COUNT\"\n  \
             if [ ${{#count}} = \"$STOP_AT\" ]; then\n    [ \"$STOP_BEFORE\" = true ] || {after}\n    : >\"$STOP_COUNT.hit\"\n    \
             /bin/sleep 60; exit\n  fi\nfi\nexec {real} \"$@\"\n",
            bin = bin.display(),
        );
        let file = bin.join(name);
        // On a host of busybox that is a link to all of it.
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    }
}

/// Does `work` over a link whose shell is stopped there, and everything of the host killed. Says whether it came to that.
async fn killed_at<T>(
    host: &Arc<Host>,
    number: usize,
    at: At,
    work: impl Future<Output = T>,
) -> Result<(T, bool), String> {
    let count = host.place(&format!("count-{number}"));
    host.login(&format!("export STOP_LINK=$$ STOP_COUNT={count} STOP_AT={} STOP_BEFORE={}", at.command, at.before));
    let hit = format!("{count}.hit");
    let killer = {
        let (host, hit) = (Arc::clone(host), hit.clone());
        tokio::spawn(async move {
            until(|| std::path::Path::new(&hit).exists()).await;
            host.kill_all();
        })
    };
    let done = tokio::time::timeout(PATIENCE, work).await;
    let was_hit = std::path::Path::new(&hit).exists();
    if was_hit {
        killer.await.expect("killed");
    } else {
        killer.abort();
    }
    host.login("");
    Ok((done.map_err(|_| format!("it waits for ever (killed: {was_hit})"))?, was_hit))
}

type Told = Result<Vec<Ending>, DurableError>;

async fn launched(side: &HostSide, lease: &Lease, segment: &Segment) -> Told {
    let end = side.run_segment(lease, segment, &[], &mut Following::of(segment), &mut |_, _| {}).await;
    end.map(|end| end.endings.into_iter().map(|(_, ending)| ending).collect())
}

async fn followed(side: &HostSide, segment: &Segment) -> Told {
    let end = side.attach(&mut Following::of(segment), &mut |_, _| {}).await;
    end.map(|end| end.endings.into_iter().map(|(_, ending)| ending).collect())
}

fn one_step(host: &Host, id: &str, attempt: Attempt) -> Segment {
    let trace = host.place("trace");
    let act = format!("echo begin >>{trace}; sleep 0.02; echo end >>{trace}");
    Segment { id: id.to_owned(), steps: vec![SegmentStep::new(attempt, act, LIMIT)] }
}

/// Kills at one place of the launcher, if it comes at all, then at one of the follower, then follows in peace. Says how
/// many of both were hit.
async fn survive(shell: Shell, launch: Option<At>, follow: Option<At>) -> Result<usize, String> {
    let host = Host::new(shell);
    stop_at_commands(&host, shell);
    let side = host.side("run-1");
    let lease = side.acquire("anna", "{}", Beginning::First).await.map_err(|error| error.to_string())?;
    let segment = one_step(&host, "s1", act_of(0, "s"));
    let mut hits = 0;
    let mut told = None;
    if let Some(at) = launch {
        let (end, hit) = killed_at(&host, 1, at, launched(&side, &lease, &segment)).await?;
        hits += usize::from(hit);
        told = Some(end);
    }
    if let Some(at) = follow {
        let (end, hit) = killed_at(&host, 2, at, followed(&side, &segment)).await?;
        hits += usize::from(hit);
        told = Some(end);
    }
    for error in told.into_iter().filter_map(Result::err) {
        if !error.leaves_doubt() {
            return Err(format!("{error}"));
        }
    }
    let end = tokio::time::timeout(PATIENCE, followed(&side, &segment)).await.map_err(|_| "followed in vain")?;
    let end = end.map_err(|error| error.to_string())?;
    let count = |word: &str| host.lines("trace").iter().filter(|line| *line == word).count();
    let traced = (count("begin"), count("end"));
    let agrees = match &end[..] {
        [Ending::Changed] => traced == (1, 1),
        [Ending::NotStarted { .. }] => traced == (0, 0),
        [Ending::Unknown { .. }] => traced.0 <= 1,
        _ => false,
    };
    if !agrees {
        return Err(format!("told as {end:?}, its lines are {traced:?}"));
    }
    if matches!(end[..], [Ending::NotStarted { .. }]) {
        let again = one_step(&host, "s2", act_of(0, "s"));
        let end = launched(&side, &lease, &again).await.map_err(|error| error.to_string())?;
        if end != [Ending::Changed] || (count("begin"), count("end")) != (1, 1) {
            return Err(format!("sent again it ended as {end:?}"));
        }
    }
    host.falls_silent(PATIENCE).await?;
    Ok(hits)
}

async fn survive_all(cases: impl Iterator<Item = (Option<At>, Option<At>)>) -> usize {
    let cases = cases.flat_map(|case| Shell::all().into_iter().map(move |shell| (shell, case)));
    let ends: Vec<Result<usize, String>> = futures::stream::iter(cases)
        .map(|(shell, (launch, follow))| async move {
            let survived = survive(shell, launch, follow).await;
            survived.map_err(|why| format!("{shell:?}, launch {launch:?}, follow {follow:?}: {why}"))
        })
        .buffer_unordered(10)
        .collect()
        .await;
    let (hits, violations): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    let violations: Vec<String> = violations.into_iter().filter_map(Result::err).collect();
    assert!(violations.is_empty(), "{violations:#?}");
    hits.into_iter().filter_map(Result::ok).sum()
}

#[tokio::test]
async fn r09_r15_whatever_command_of_the_launcher_everything_is_killed_at_it_is_known_what_ran() {
    let hits = survive_all(At::all(14).map(|at| (Some(at), None))).await;
    assert!(hits >= 12 * Shell::all().len(), "{hits} kills");
}

#[tokio::test]
async fn r09_r15_a_follower_that_is_killed_too_keeps_the_next_one_waiting_for_nothing() {
    // The segment never came, or is there with nobody who runs it.
    let before = [None, Some(At { command: 1, before: true }), Some(At { command: 7, before: false })];
    let cases = before.into_iter().flat_map(|launch| At::all(6).map(move |follow| (launch, Some(follow))));
    let hits = survive_all(cases).await;
    assert!(hits >= 30 * Shell::all().len(), "{hits} kills");
}
