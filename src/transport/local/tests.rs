//! Programs on the controller: how they end, and that nothing of them is left.

use std::{fs, path::Path};

use super::*;
use crate::model::RemoteCommand;

async fn run(exec: Exec) -> Result<Ended, TransportError> {
    LocalTransport::new().session().run(exec, &mut ()).await
}

/// Waits until a process is gone; zombies count as gone.
async fn is_gone(pid: &str) -> bool {
    for _ in 0..100 {
        let state = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
        if state.is_empty() || state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn a_program_says_how_it_ended_and_what_it_printed() {
    let ended = run(Exec::script("echo out; echo err >&2; exit 3")).await.expect("it ends");
    assert_eq!(
        (ended.status.clone(), ended.out.text(), ended.err.text()),
        (Status::Exited(3), "out\n".to_owned(), "err\n".to_owned())
    );
    let ended = run(Exec::script("kill -TERM $$")).await.expect("it ends");
    assert_eq!(ended.status, Status::Signaled("TERM".to_owned()));
    let ended = run(Exec::command(RemoteCommand::new(["printf", "%s", "a  $b"]))).await.expect("it ends");
    assert_eq!(ended.out.text(), "a  $b");
    let error = run(Exec::command(RemoteCommand::new(["no such program"]))).await.expect_err("nothing to start");
    assert!(matches!(error, TransportError::Spawn { .. }), "{error}");
}

#[tokio::test]
async fn a_program_has_the_input_it_was_given_and_no_line_of_itself() {
    let ended = run(Exec::script("cat; echo after").stdin("one\ntwo")).await.expect("it ends");
    assert_eq!(ended.out.text(), "one\ntwoafter\n");
    let ended = run(Exec::script("cat; echo after")).await.expect("it ends");
    assert_eq!(ended.out.text(), "after\n");
    let large = vec![b'x'; 3 << 20];
    let ended =
        LocalTransport::new().session().push(&mut large.as_slice(), Exec::script("wc -c")).await.expect("it ends");
    assert_eq!(ended.out.text().trim(), large.len().to_string());
}

#[tokio::test]
async fn an_unread_input_is_no_error() {
    let ended = run(Exec::script("exit 4").stdin(vec![0; 1 << 20])).await.expect("it ends");
    assert_eq!(ended.status, Status::Exited(4));
}

#[tokio::test]
async fn a_secret_is_in_the_environment_alone() {
    let mut exec = Exec::script("printf %s \"$TOKEN\"; tr '\\0' ' ' </proc/$$/cmdline >&2");
    exec.secrets.push(("TOKEN".to_owned(), Secret::new("it's $(secret)")));
    let ended = run(exec).await.expect("it ends");
    assert_eq!(ended.out.text(), "it's $(secret)");
    assert!(!ended.err.text().contains("secret"), "{}", ended.err.text());
}

#[tokio::test]
async fn a_pulled_file_is_whole_and_nothing_of_it_is_kept() {
    let mut into = Vec::new();
    let exec = Exec::script("head -c 3000000 /dev/zero; echo done >&2");
    let ended = LocalTransport::new().session().pull(exec, &mut into).await.expect("it ends");
    assert_eq!(
        (into.len(), ended.out.total, ended.out.head.len(), ended.err.text().as_str()),
        (3_000_000, 3_000_000, 0, "done\n")
    );
}

#[tokio::test]
async fn a_time_limit_ends_everything_that_was_started() {
    let mut said = Vec::new();
    let mut exec = Exec::script("trap '' TERM; sleep 600 & echo $!; wait; sleep 600");
    exec.timeout = Some(Duration::from_millis(300));
    let result = LocalTransport::new().session().run(exec, &mut |_, bytes: &[u8]| said.extend_from_slice(bytes)).await;
    assert!(matches!(result, Err(TransportError::TimedOut { .. })), "{result:?}");
    assert!(is_gone(&String::from_utf8_lossy(&said)).await);
}

#[tokio::test]
async fn silence_is_limited_apart_from_time() {
    let mut exec = Exec::script("for i in 1 2 3 4; do echo $i; sleep 0.1; done; sleep 600");
    exec.idle_timeout = Some(Duration::from_millis(400));
    let error = run(exec).await.expect_err("it falls silent");
    assert!(matches!(error, TransportError::Idle { .. }), "{error}");
}

#[tokio::test]
async fn who_stops_waiting_ends_the_program() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let session = LocalTransport::new().in_folder(folder.path()).session();
    let running = tokio::spawn(async move { session.run(Exec::script("echo $$ >pid; sleep 600"), &mut ()).await });
    let pid = loop {
        match fs::read_to_string(folder.path().join("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    running.abort();
    assert!(is_gone(&pid).await);
}

#[tokio::test]
async fn what_a_program_leaves_running_holds_up_nobody() {
    let began = std::time::Instant::now();
    let ended = run(Exec::script("sleep 600 & echo $!")).await.expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(20), "waited for what was left running");
    let pid = ended.out.text().trim().parse().expect("a process");
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it still runs: it was left alone");
}

#[tokio::test]
async fn a_reader_that_fails_cuts_the_program_off() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Err(io::Error::other("torn")))
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let session = LocalTransport::new().in_folder(folder.path()).session();
    let error = session.push(&mut Broken, Exec::script("cat >part && touch whole")).await.expect_err("torn");
    assert!(matches!(error, TransportError::Local { .. }), "{error}");
    assert!(!folder.path().join("whole").exists());
}

#[tokio::test]
async fn becoming_somebody_else_is_refused_on_the_controller() {
    let mut exec = Exec::script("true");
    exec.run_as = Some(("nobody-of-this-name".to_owned(), None));
    let error = run(exec).await.expect_err("not possible");
    assert!(matches!(error, TransportError::Become { .. }), "{error}");
}
