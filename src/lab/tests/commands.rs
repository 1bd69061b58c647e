//! Commands, logins and sessions.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_in_the_hosts_own_directory_and_environment() {
    let fleet = fleet(vec![web(1), web(2)]).await;
    let handle = log_in(&fleet, 1).await.unwrap();
    let home = fleet.hosts()[1].home.display().to_string();
    let ran =
        run(&handle, r#"echo "$HOME|$(pwd)|$USER|$LOGNAME|$SHELL|$LONGSHORE_LAB_HOST|$TMPDIR|$CARGO"; echo no >&2"#)
            .await;
    assert_eq!(ran.text(), format!("{home}|{home}|lab|lab|/bin/sh|web-2|{home}/tmp|\n"));
    assert_eq!((ran.err.as_slice(), ran.status), (b"no\n".as_slice(), Some(0)));
    assert!(ran.order.ends_with('c') && ran.order.contains('e'), "{ran:?}");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_statuses_and_signals_are_told_apart() {
    let fleet = fleet(vec![web(1)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    for status in [0, 1, 7, 126, 255] {
        let ran = run(&handle, &format!("exit {status}")).await;
        assert_eq!((ran.status, ran.signal), (Some(status), None));
    }
    for (signal, shown) in [("KILL", "KILL"), ("TERM", "TERM"), ("SEGV", "SEGV"), ("USR2", "Custom(\"USR2\")")] {
        let ran = run(&handle, &format!("kill -{signal} $$")).await;
        assert_eq!((ran.status, ran.signal.as_deref()), (None, Some(shown)), "{signal}");
    }
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_output_and_input_arrive_whole_and_bytes_stay_what_they_are() {
    let fleet = fleet(vec![web(1)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    let ran = run(&handle, "yes 0123456789abcde | head -c 10485760").await;
    assert_eq!(ran.out.len(), 10 << 20);
    assert!(ran.out.chunks(16).all(|line| line == b"0123456789abcde\n"));
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    assert!(run_with(&handle, b"cat", &input).await.out == input, "not what was sent");
    assert_eq!(run_with(&handle, b"printf %s '\xff\x01'", b"").await.out, b"\xff\x01");
    // Not read to the end: the rest is thrown away and the connection lives on.
    assert_eq!(run_with(&handle, b"head -c 3", &input).await.out.len(), 3);
    assert_eq!(run(&handle, "echo again").await.text(), "again\n");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_reads_its_commands_from_standard_input() {
    let fleet = fleet(vec![web(1)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_shell(true).await.unwrap();
    let mut stream = channel.into_stream();
    stream.write_all(b"x=4\necho $((x * x))\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut out = String::new();
    stream.read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "16\n");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_reaches_the_whole_group_of_the_program() {
    let fleet = fleet(vec![web(1)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "trap 'echo caught; exit 3' TERM; sh -c 'echo ready; exec sleep 1000' & wait").await.unwrap();
    let mut out = String::new();
    let mut status = None;
    let waiting = async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    out.push_str(std::str::from_utf8(&data).unwrap());
                    if out == "ready\n" {
                        channel.signal(Sig::TERM).await.unwrap();
                    }
                }
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
    };
    timeout(LONG, waiting).await.expect("the channel closes: `sleep`, which held its output, is gone, too");
    assert_eq!((out.as_str(), status), ("ready\ncaught\n", Some(3)));
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lab_host_does_not_offer_is_refused_and_nothing_hangs() {
    let fleet = fleet(vec![web(1)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.set_env(true, "LD_PRELOAD", "/x").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.set_env(true, "LC_TEST", "set").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Success)));
    channel.exec(true, "echo $LC_TEST").await.unwrap();
    let mut out = Vec::new();
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } = message {
            out.extend_from_slice(&data);
        }
    }
    assert_eq!(out, b"set\n");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_labs_user_with_the_labs_key_or_password_gets_in() {
    let options = LabOptions { password: Some("pass word".to_owned()), ..LabOptions::numbered(1) };
    let fleet = Fleet::start(options).await.unwrap();
    let mode = fs::metadata(fleet.client_key()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut handle = connect(&fleet, 0).await.unwrap();
    let stranger = PrivateKeyWithHashAlg::new(Arc::new(new_key().unwrap()), None);
    assert!(!handle.authenticate_publickey("lab", stranger).await.unwrap().success());
    assert!(!handle.authenticate_password("lab", "wrong").await.unwrap().success());
    assert!(!handle.authenticate_password("root", "pass word").await.unwrap().success());
    assert!(handle.authenticate_password("lab", "pass word").await.unwrap().success());
    assert_eq!(run(&handle, "echo in").await.text(), "in\n");

    let mut handle = connect(&fleet, 0).await.unwrap();
    let asked = handle.authenticate_keyboard_interactive_start("lab", None).await.unwrap();
    assert!(matches!(asked, client::KeyboardInteractiveAuthResponse::InfoRequest { .. }));
    let answer = handle.authenticate_keyboard_interactive_respond(vec!["pass word".to_owned()]).await.unwrap();
    assert!(matches!(answer, client::KeyboardInteractiveAuthResponse::Success));
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_one_connection_are_limited_and_come_free_again() {
    let fleet = fleet(vec![web(1).fault(Fault::MaxSessions(1)), web(2)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    let first = handle.channel_open_session().await.unwrap();
    first.exec(true, "cat").await.unwrap();
    assert!(matches!(handle.channel_open_session().await, Err(russh::Error::ChannelOpenFailure(_))));
    first.eof().await.unwrap();
    let mut is_free = false;
    for _ in 0..100 {
        is_free = handle.channel_open_session().await.is_ok();
        if is_free {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_free);

    // As OpenSSH: ten unless told otherwise, and twenty commands one after the other are no matter.
    let handle = log_in(&fleet, 1).await.unwrap();
    for _ in 0..20 {
        assert_eq!(run(&handle, "exit 1").await.status, Some(1));
    }
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(handle.channel_open_session().await.unwrap());
    }
    assert!(handle.channel_open_session().await.is_err());
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_understands_the_lab_and_its_project() {
    if std::process::Command::new("ssh").arg("-V").stderr(std::process::Stdio::null()).status().is_err() {
        return;
    }
    let fleet = fleet(vec![web(1)]).await;
    let host = &fleet.hosts()[0];
    let ssh = tokio::process::Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", fleet.known_hosts().display()))
        .arg("-i")
        .arg(fleet.client_key())
        .args([
            "-p",
            &host.port.to_string(),
            &format!("{}@{}", fleet.user(), host.address),
            "cat; echo err >&2; exit 42",
        ])
        .stdin(std::process::Stdio::null())
        .output();
    let output = timeout(LONG, ssh).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(42), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("err\n"));
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_reached_through_another() {
    let fleet = fleet(vec![web(1), web(2)]).await;
    let jump = log_in(&fleet, 0).await.unwrap();
    let host = &fleet.hosts()[1];
    let way =
        jump.channel_open_direct_tcpip("127.0.0.1", host.port.into(), "127.0.0.1", 0).await.unwrap().into_stream();
    let known = known_line(&fleet, 1);
    let mut handle = client::connect_stream(Arc::new(client::Config::default()), way, Client { known }).await.unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(fleet.client_key(), None).unwrap()), None);
    assert!(handle.authenticate_publickey(fleet.user(), key).await.unwrap().success());
    assert_eq!(run(&handle, "echo $LONGSHORE_LAB_HOST").await.text(), "web-2\n");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_takes_many_connections_at_once() {
    many_connections(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "two thousand hosts, each with a connection and a command: for measuring"]
async fn two_thousand_hosts_are_no_matter() {
    many_connections(2000).await;
}

async fn many_connections(count: usize) {
    let began = std::time::Instant::now();
    let fleet = Arc::new(Fleet::start(LabOptions::numbered(count).with_shop(&[])).await.unwrap());
    let started = began.elapsed();
    let opening = (0..count).map(|index| {
        let fleet = fleet.clone();
        tokio::spawn(async move { log_in(&fleet, index).await })
    });
    let handles = futures::future::join_all(opening.collect::<Vec<_>>()).await;
    let handles: Vec<_> = handles.into_iter().map(|handle| handle.unwrap().unwrap()).collect();
    let opened = began.elapsed();
    for handle in &handles {
        assert!(!handle.is_closed());
    }
    let ran = futures::future::join_all(handles.iter().map(|handle| run(handle, "exit 3"))).await;
    assert!(ran.iter().all(|ran| ran.status == Some(3)));
    let all = began.elapsed();
    drop(handles);
    Arc::into_inner(fleet).unwrap().stop().await.unwrap();
    println!("{count} hosts: started {started:?}, connected {opened:?}, ran {all:?}, gone {:?}", began.elapsed());
}
