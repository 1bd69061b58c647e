//! Programs on a host: output, ends, input, quoting, shells.

use std::{path::Path, sync::Arc, time::Duration};

use longshore::{
    model::{RemoteCommand, Secret},
    transport::{Ended, Exec, Session, Status, Stream, TransportError},
};
use tokio::io::AsyncReadExt as _;

use crate::{
    people::Person,
    sshd::{Lab, Sshd, is_root, skip, ssh},
};

async fn run(session: &Arc<dyn Session>, exec: Exec) -> Ended {
    session.run(exec, &mut ()).await.unwrap_or_else(|error| panic!("{error:?}"))
}

#[tokio::test]
async fn status_255_death_by_signal_and_success_are_told_apart() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    for (text, expected) in [
        ("exit 0", Status::Exited(0)),
        ("exit 255", Status::Exited(255)),
        ("sh -c 'exit 7'", Status::Exited(7)),
        ("kill -KILL $$", Status::Signaled("KILL".to_owned())),
        ("kill -TERM $$", Status::Signaled("TERM".to_owned())),
    ] {
        assert_eq!(run(&session, Exec::script(text)).await.status, expected, "{text}");
    }
    let command = Exec::command(RemoteCommand::new(["sh", "-c", "exit 255"]));
    assert_eq!(run(&session, command).await.status, Status::Exited(255));
}

#[tokio::test]
async fn ten_megabytes_and_every_byte_value_come_through_unchanged() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let (mut total, mut newest) = (0_u64, Vec::new());
    let mut count = |stream, bytes: &[u8]| {
        assert_eq!(stream, Stream::Out);
        total += bytes.len() as u64;
        newest = bytes.to_vec();
    };
    let mut exec = Exec::script("dd if=/dev/zero bs=1000000 count=10 2>/dev/null; echo end");
    exec.keep = 1000;
    let ended = session.run(exec, &mut count).await.expect("it ends");
    assert_eq!((total, ended.out.total), (10_000_004, 10_000_004));
    assert!(newest.ends_with(b"end\n"));
    assert_eq!((ended.out.head.len(), ended.out.tail.len()), (500, 500));

    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let ended = run(&session, Exec { keep: 1 << 20, ..Exec::script("cat").stdin(bytes.clone()) }).await;
    assert!(ended.out.bytes() == bytes, "the bytes changed on their way");
    let ended =
        run(&session, Exec { keep: 1 << 20, ..Exec::command(RemoteCommand::new(["cat"])).stdin(bytes.clone()) });
    assert!(ended.await.out.bytes() == bytes, "the bytes changed on their way");
}

#[tokio::test]
async fn output_and_errors_stay_apart() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let ended = run(&session, Exec::script("echo out; echo err >&2; exit 3")).await;
    assert_eq!((ended.out.text(), ended.err.text(), ended.status), ("out\n".into(), "err\n".into(), Status::Exited(3)));
}

const NASTY: &[&str] = &[
    "a b",
    "c;d",
    "",
    "it's",
    "\"double\"",
    "$HOME",
    "$(id)",
    "`id`",
    "back\\slash",
    "two\nlines",
    "*",
    "~",
    "!history",
    "#comment",
    "-n",
    "\ttab",
    "ünïcödé È",
    "a'b'\\''c",
    "%s%d",
    "{a,b}",
    "&& reboot",
    "\u{1b}[31m",
];

#[tokio::test]
async fn words_arrive_as_they_were_meant_in_every_shell() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    let mut shells = vec![None];
    let people: Vec<_> = if is_root() {
        // busybox finds its applet by the name it is called by.
        let busybox = lab.path("sh");
        std::os::unix::fs::symlink("/bin/busybox", &busybox).expect("a link");
        ["/bin/dash", "/bin/bash", busybox.to_str().expect("text"), "/usr/bin/fish", "/usr/bin/zsh", "/usr/bin/tcsh"]
            .into_iter()
            .filter(|shell| {
                Path::new(shell).exists() || {
                    skip(&format!("there is no {shell}"));
                    false
                }
            })
            .map(Person::with_shell)
            .collect()
    } else {
        Vec::new()
    };
    shells.extend(people.iter().map(|person| Some(person.name.clone())));
    let words: Vec<&str> = ["printf", "<%s>\n"].iter().chain(NASTY).copied().collect();
    let expected: String = NASTY.iter().flat_map(|word| ["<", word, ">\n"]).collect();
    for user in shells {
        let mut target = host.target(&lab);
        if let Some(user) = &user {
            ssh(&mut target).user = Some(user.clone());
        }
        let session = lab.connect(&target).await.unwrap_or_else(|error| panic!("{user:?}: {error}"));
        let command = RemoteCommand::new(words.iter().copied());
        let by_login_shell = run(&session, Exec::command(command.clone())).await;
        assert_eq!(by_login_shell.out.text(), expected, "{user:?}");
        let by_script = run(&session, Exec::script(command.to_shell())).await;
        assert_eq!(by_script.out.text(), expected, "{user:?}");
        let by_script_with_input =
            run(&session, Exec::script(format!("{}; cat", command.to_shell())).stdin("in")).await;
        assert_eq!(by_script_with_input.out.text(), format!("{expected}in"), "{user:?}");
        let killed = run(&session, Exec::script("kill -KILL $$")).await;
        // A shell that starts another one instead of becoming it reports the signal as a status.
        assert!(matches!(killed.status, Status::Signaled(_) | Status::Exited(137)), "{user:?}: {}", killed.status);
    }
}

/// Runs sshd where `/bin/sh` is another shell, in a mount namespace of its own.
fn sshd_with_sh(lab: &Lab, shell: &str) -> Option<Sshd> {
    if !is_root() {
        return None;
    }
    let real = std::fs::canonicalize("/bin/sh").expect("a shell");
    let script = format!("mount --bind {shell} {} && exec \"$@\"", real.display());
    let unshare = std::process::Command::new("unshare").args(["-m", "/bin/bash", "-c", &script, "x", "true"]).output();
    if !unshare.is_ok_and(|output| output.status.success()) {
        skip("no mount namespaces here");
        return None;
    }
    Some(lab.sshd().wrapper(&["unshare", "-m", "/bin/bash", "-c", &script, "x"]).start())
}

#[tokio::test]
async fn any_posix_shell_will_do_as_the_only_sh() {
    let Some(lab) = Lab::new() else { return };
    for shell in ["/bin/busybox", "/bin/bash", "/bin/dash"] {
        let Some(host) = sshd_with_sh(&lab, shell) else { return };
        let session = lab.session(&host).await;
        let mut exec = Exec::script("read -r line; echo \"$line $TOKEN\"; cat; exit 9").stdin("first\nrest\n");
        exec.secrets = vec![("TOKEN".to_owned(), Secret::new("it's a 'secret'\nof two lines"))];
        let ended = run(&session, exec).await;
        assert_eq!(
            (ended.out.text().as_str(), ended.status),
            ("first it's a 'secret'\nof two lines\nrest\n", Status::Exited(9)),
            "{shell}: {}",
            ended.err.text()
        );
        let ended = run(&session, Exec::script("cat; readlink -f /proc/$$/exe")).await;
        let real = std::fs::canonicalize(shell).expect("a shell");
        let own = std::fs::canonicalize("/bin/sh").expect("a shell");
        assert!([real, own].iter().any(|path| ended.out.text().trim() == path.to_str().expect("text")), "{shell}");
    }
}

#[tokio::test]
async fn a_noisy_profile_and_a_banner_are_no_output_of_a_script() {
    let Some(lab) = Lab::new() else { return };
    if !is_root() {
        return;
    }
    let person = Person::with_shell("/bin/bash");
    std::fs::write(person.home.join(".bashrc"), "echo WELCOME; echo 'be good' >&2; printf 'no newline'\n")
        .expect("written");
    let banner = lab.write("banner", "Authorized use only\n");
    let host = lab.sshd().line(&format!("Banner {}", banner.display())).start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).user = Some(person.name.clone());
    let session = lab.connect(&target).await.expect("reached");
    let noisy = run(&session, Exec::command(RemoteCommand::new(["echo", "hello"]))).await;
    assert!(noisy.out.text().contains("WELCOME"), "the profile is not noisy: {}", noisy.out.text());
    for exec in [Exec::script("echo hello; echo oh >&2"), Exec::script("cat; echo oh >&2").stdin("hello\n")] {
        let ended = run(&session, exec).await;
        assert_eq!((ended.out.text().as_str(), ended.err.text().as_str()), ("hello\n", "oh\n"));
    }
}

#[tokio::test]
async fn a_forced_command_is_not_mistaken_for_the_program() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().authorized(&[&format!("command=\"echo only this\" {}", lab.public("me"))]).start();
    let session = lab.session(&host).await;
    let error = session.run(Exec::script("echo hello"), &mut ()).await.expect_err("it did not run");
    let TransportError::NotRun { status, said } = &error else { panic!("{error}") };
    assert_eq!((status, said.as_str()), (&Status::Exited(0), "only this"));
    assert!(!error.leaves_doubt());

    // One that runs what was asked for is as good as none.
    let wrapper = format!("command=\"sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {}", lab.public("me"));
    let host = lab.sshd().authorized(&[&wrapper]).start();
    let session = lab.session(&host).await;
    assert_eq!(run(&session, Exec::script("echo hello")).await.out.text(), "hello\n");
}

#[tokio::test]
async fn an_account_without_a_shell_is_not_a_failed_program() {
    let Some(lab) = Lab::new() else { return };
    if !is_root() {
        return;
    }
    let person = Person::with_shell("/usr/sbin/nologin");
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).user = Some(person.name.clone());
    let session = lab.connect(&target).await.expect("reached");
    let error = session.run(Exec::script("echo hello"), &mut ()).await.expect_err("it did not run");
    assert_eq!(
        error.to_string(),
        "the host did not run the program: it ended with status 1 and said `This account is currently not available.`"
    );
}

#[tokio::test]
async fn a_server_that_allows_one_session_serves_many_in_turn() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().line("MaxSessions 1").start();
    let session = lab.session(&host).await;
    let all = (0..12).map(|n| {
        let session = Arc::clone(&session);
        async move { run(&session, Exec::script(format!("sleep 0.05; echo {n}"))).await.out.text() }
    });
    let all = tokio::time::timeout(Duration::from_secs(30), futures::future::join_all(all))
        .await
        .expect("no one waits for ever");
    assert_eq!(all, (0..12).map(|n| format!("{n}\n")).collect::<Vec<_>>());
}

#[tokio::test]
async fn given_up_programs_leave_no_channel_behind() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().line("MaxSessions 3").start();
    let session = lab.session(&host).await;
    for round in 0..12 {
        // Given up at different moments: before the channel is open, while the program runs. It ends with its
        // input, and with it the server's session: one that went on would rightly hold it.
        let (mut endless, _never_written) = tokio::io::duplex(64);
        let work = async { session.push(&mut endless, Exec::script("cat")).await };
        let _ = tokio::time::timeout(Duration::from_micros(1 << (2 * round).min(17)), work).await;
    }
    // The server may not have seen the last one end yet when it is asked for the next channel.
    let after = async {
        loop {
            match session.run(Exec::script("echo still here"), &mut ()).await {
                Err(TransportError::Channel(_) | TransportError::LinkLost { .. }) if !session.is_closed() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                ended => break ended.expect("it ran"),
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(50), after).await.expect("a channel is free");
    assert_eq!(ended.out.text(), "still here\n");
}

#[tokio::test]
async fn a_connection_full_of_given_up_programs_that_go_on_is_told_as_lost() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().line("MaxSessions 2").start();
    let session = lab.session(&host).await;
    for name in ["one", "two"] {
        let begun = lab.path(name);
        // sshd counts a session until its program ends, whoever still listens.
        let work = async {
            // Until the lab is gone.
            let goes_on = Exec::script(format!("touch {0}; while [ -e {0} ]; do sleep 0.2; done", begun.display()));
            session.run(goes_on, &mut ()).await.map(|ended| ended.status)
        };
        let has_begun = async {
            while !begun.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = work => panic!("{ended:?}"),
            () = has_begun => {}
        }
    }
    let error = session.run(Exec::script("echo refused"), &mut ()).await.expect_err("no session is left");
    let TransportError::LinkLost { source: Some(source) } = &error else { panic!("{error}") };
    assert!(source.to_string().contains("given up"), "{source}");
    let anew = lab.connect(&host.target(&lab)).await.expect("a connection of its own");
    assert_eq!(run(&anew, Exec::script("echo here")).await.out.text(), "here\n");
}

#[tokio::test]
async fn a_program_that_takes_too_long_or_falls_silent_is_ended() {
    let Some(lab) = Lab::new() else { return };
    if !is_root() {
        return;
    }
    let person = Person::with_shell("/bin/sh");
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).user = Some(person.name.clone());
    let session = lab.connect(&target).await.expect("reached");
    let ended = person.home.join("ended");
    let text = format!("trap 'touch {}; exit' TERM; while :; do sleep 0.1; done", ended.display());
    let error =
        session.run(Exec::script(text).timeout(Duration::from_millis(500)), &mut ()).await.expect_err("too long");
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error}");
    assert!(ended.exists(), "an ordinary user's program is told to end");

    let mut exec = Exec::script("for i in 1 2 3 4; do echo; sleep 0.3; done; sleep 60");
    exec.idle_timeout = Some(Duration::from_millis(800));
    let began = std::time::Instant::now();
    let error = session.run(exec, &mut ()).await.expect_err("silent");
    assert!(matches!(error, TransportError::Idle { .. }), "{error}");
    assert!(began.elapsed() > Duration::from_millis(1500), "it spoke for a while: {:?}", began.elapsed());
}

#[tokio::test]
async fn r15_a_killed_program_is_over_although_what_it_started_keeps_its_output_open() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let exec = Exec::script("echo begun; sleep 120 & kill -9 $$").timeout(Duration::from_secs(90));
    let ended = session.run(exec, &mut ()).await.expect("it is over long before its limit");
    assert_eq!(ended.status, Status::Signaled("KILL".to_owned()), "{ended:?}");
    assert_eq!(ended.out.text(), "begun\n");
    drop(session.run(Exec::script("true"), &mut ()).await.expect("the connection is as good as before"));
}

#[tokio::test]
async fn a_large_stream_goes_in_and_comes_out_without_being_held() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let size = 64 << 20;
    let mut from = tokio::io::repeat(b'x').take(size);
    let path = lab.path("uploaded");
    let text = format!("cat > '{}'; echo done", path.display());
    let ended = session.push(&mut from, Exec::script(text)).await.expect("pushed");
    assert_eq!(ended.out.text(), "done\n");
    assert_eq!(std::fs::metadata(&path).expect("a file").len(), size);

    let into = lab.path("downloaded");
    let mut file = tokio::fs::File::create(&into).await.expect("a file");
    let text = format!("cat '{}'; echo well >&2; exit 4", path.display());
    let ended = session.pull(Exec::script(text), &mut file).await.expect("pulled");
    assert_eq!((ended.status, ended.err.text().as_str()), (Status::Exited(4), "well\n"));
    assert_eq!((ended.out.total, ended.out.bytes().len()), (size, 0));
    assert!(std::fs::read(&into).expect("read").iter().all(|&byte| byte == b'x'));
    assert_eq!(std::fs::metadata(&into).expect("a file").len(), size);
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_ends_all_the_same() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let mut endless = tokio::io::repeat(b'x');
    let pushed = tokio::time::timeout(Duration::from_secs(20), session.push(&mut endless, Exec::script("echo enough")));
    assert_eq!(pushed.await.expect("it ends").expect("it ran").out.text(), "enough\n");
}

#[tokio::test]
async fn a_local_reader_that_fails_does_not_look_like_the_end_of_the_file() {
    struct Failing;
    impl tokio::io::AsyncRead for Failing {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Err(std::io::Error::other("the disk is broken")))
        }
    }
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let error = session.push(&mut Failing, Exec::script("cat")).await.expect_err("no input");
    assert!(matches!(error, TransportError::Local { doing: "reading", .. }), "{error}");
    assert_eq!(run(&session, Exec::script("echo on")).await.out.text(), "on\n");
}

#[tokio::test]
async fn a_slow_reader_of_output_does_not_stop_its_neighbours() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let (mut stuck, _other_end) = tokio::io::duplex(1024);
    let slow = Arc::clone(&session);
    let pulling = tokio::spawn(async move { slow.pull(Exec::script("cat /dev/zero"), &mut stuck).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = tokio::time::timeout(Duration::from_secs(20), pulling).await.expect("bounded").expect("no panic");
    assert!(matches!(error, Err(TransportError::Local { doing: "writing", .. })), "{error:?}");
    assert_eq!(run(&session, Exec::script("echo on")).await.out.text(), "on\n");
}

#[tokio::test]
async fn a_port_of_the_host_is_reached_through_the_connection() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    let mut stream = session.open_tcp(&host.address, host.port).await.expect("open");
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).await.expect("sshd greets");
    assert_eq!(&greeting, b"SSH-2.0-");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let error = session.open_tcp("127.0.0.1", closed).await.map(|_| ()).expect_err("nobody listens");
    assert_eq!(
        error.to_string(),
        format!("the host refused to open a channel: it cannot connect to 127.0.0.1:{closed}")
    );
}

#[tokio::test]
async fn secrets_are_in_no_argument_and_no_environment_but_the_programs_own() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    for stdin in ["", "input"] {
        let mut exec =
            Exec::script("printf %s \"$TOKEN\"; cat; cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' >&2").stdin(stdin);
        exec.secrets = vec![("TOKEN".to_owned(), Secret::new("s3cr3t-of-the-day"))];
        exec.keep = 4 << 20;
        let ended = run(&session, exec).await;
        assert_eq!(ended.out.text(), format!("s3cr3t-of-the-day{stdin}"));
        assert!(!ended.err.text().contains("s3cr3t-of-the-day"), "it stands in an argument");
    }
    let mut exec = Exec::command(RemoteCommand::new(["sh", "-c", "echo \"$TOKEN\""]));
    exec.secrets = vec![("TOKEN".to_owned(), Secret::new("for a command"))];
    assert_eq!(run(&session, exec).await.out.text(), "for a command\n");
}
