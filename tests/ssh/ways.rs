//! The way to a host: jump hosts, proxy commands, many connections at once.

use std::{path::Path, sync::Arc, time::Duration};

use longshore::{
    model::FailureClass,
    transport::{Exec, Transport as _, TransportError},
};

use crate::sshd::{Lab, Sshd, WITHIN, skip, ssh, user_name};

fn place(host: &Sshd) -> String {
    format!("{}@{}:{}", user_name(), host.address, host.port)
}

#[tokio::test]
async fn two_jump_hosts_are_passed_on_one_connection_each() {
    let Some(lab) = Lab::new() else { return };
    let (first, second) = (lab.sshd().start(), lab.sshd().start());
    let hosts: Vec<_> = (0..4).map(|_| lab.sshd().start()).collect();
    let mut all: Vec<&Sshd> = hosts.iter().collect();
    all.extend([&first, &second]);
    lab.trust(&all);
    lab.config(&format!("IdentityFile {}\n", lab.path("me").display()));
    let transport = lab.transport();
    let sessions = futures::future::join_all(hosts.iter().map(|host| {
        let mut target = host.target(&lab);
        ssh(&mut target).jump = vec![place(&first), place(&second)];
        let transport = transport.clone();
        async move { transport.connect(&target, WITHIN).await.unwrap_or_else(|error| panic!("{error:?}")) }
    }))
    .await;
    for (session, host) in sessions.iter().zip(&hosts) {
        let ended = session.run(Exec::script("echo $SSH_CONNECTION"), &mut ()).await.expect("it runs");
        assert!(ended.out.text().ends_with(&format!("{} {}\n", host.address, host.port)), "{}", ended.out.text());
    }
    for jump in [&first, &second] {
        assert_eq!(jump.log().matches("Accepted publickey").count(), 1, "{}", jump.log());
    }
    transport.close().await;
    assert!(sessions[0].run(Exec::script("true"), &mut ()).await.is_err(), "the way there is closed");
}

#[tokio::test]
async fn the_configs_proxy_jump_counts_where_the_inventory_says_nothing() {
    let Some(lab) = Lab::new() else { return };
    let (jump, host) = (lab.sshd().start(), lab.sshd().start());
    lab.trust(&[&jump, &host]);
    lab.config(&format!(
        "IdentityFile {key}\nHost inner\n  HostName {}\n  Port {}\n  ProxyJump outer\nHost outer\n  HostName {}\n  Port {}\n",
        host.address,
        host.port,
        jump.address,
        jump.port,
        key = lab.path("me").display(),
    ));
    let mut target = host.target_without_keys();
    ssh(&mut target).address = "inner".to_owned();
    ssh(&mut target).port = None;
    let session = lab.connect(&target).await.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(session.peer().address, format!("{}:{}", host.address, host.port));
    assert_eq!(jump.log().matches("Accepted publickey").count(), 1);
}

#[tokio::test]
async fn the_key_of_a_jump_host_is_checked_too() {
    let Some(lab) = Lab::new() else { return };
    let (jump, host) = (lab.sshd().start(), lab.sshd().start());
    lab.trust(&[&host]);
    lab.config(&format!("IdentityFile {}\n", lab.path("me").display()));
    let mut target = host.target(&lab);
    ssh(&mut target).jump = vec![place(&jump)];
    let error = lab.connect(&target).await.map(|_| ()).expect_err("unknown");
    let TransportError::HostKeyUnknown { address, .. } = &error else { panic!("{error}") };
    assert_eq!(*address, format!("{}:{}", jump.address, jump.port));
}

#[tokio::test]
async fn a_jump_host_that_forbids_forwarding_is_named() {
    let Some(lab) = Lab::new() else { return };
    let (jump, host) = (lab.sshd().line("AllowTcpForwarding no").start(), lab.sshd().start());
    lab.trust(&[&jump, &host]);
    lab.config(&format!("IdentityFile {}\n", lab.path("me").display()));
    let mut target = host.target(&lab);
    ssh(&mut target).jump = vec![place(&jump)];
    let error = lab.connect(&target).await.map(|_| ()).expect_err("no forwarding");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert_eq!(error.class(), FailureClass::Unreachable);
    assert_eq!(cause, format!("the jump host {}:{} does not allow forwarding", jump.address, jump.port));
}

#[tokio::test]
async fn a_proxy_command_is_the_way_and_ends_with_the_connection() {
    let Some(lab) = Lab::new() else { return };
    if !Path::new("/bin/busybox").exists() {
        return skip("needs busybox nc");
    }
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    let pid = lab.path("pid");
    lab.config(&format!("ProxyCommand echo $$ > {}; /bin/busybox nc %h %p\n", pid.display()));
    let session = lab.connect(&host.target(&lab)).await.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(session.run(Exec::script("echo hello"), &mut ()).await.expect("it runs").out.text(), "hello\n");
    let pid = std::fs::read_to_string(pid).expect("the command ran");
    let process = format!("/proc/{}", pid.trim());
    assert!(Path::new(&process).exists());
    drop(session);
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    while Path::new(&process).exists() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!Path::new(&process).exists(), "the command still runs");
}

#[tokio::test]
async fn a_proxy_command_that_fails_is_quoted() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    lab.config("ProxyCommand echo no route through here >&2; exit 1\n");
    let error = lab.connect(&host.target(&lab)).await.map(|_| ()).expect_err("no way");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert_eq!(cause, "the ProxyCommand said: no route through here");
}

#[tokio::test]
async fn r44_forty_connections_at_once_all_get_in_although_sshd_drops_the_eleventh() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().line("MaxStartups 10:100:10").start();
    lab.trust(&[&host]);
    let transport = lab.transport();
    let target = host.target(&lab);
    let all = futures::future::join_all((0..40).map(|_| transport.connect(&target, WITHIN))).await;
    let failed: Vec<_> = all.iter().filter_map(|session| session.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn r44_a_busy_server_is_tried_again() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().line("MaxStartups 1:100:1").start();
    lab.trust(&[&host]);
    let mut options = lab.options();
    options.limits.opening_per_address = 4;
    let transport = longshore::transport::ssh::SshTransport::new(options);
    let target = host.target(&lab);
    let all = futures::future::join_all((0..4).map(|_| transport.connect(&target, WITHIN))).await;
    let failed: Vec<_> = all.iter().filter_map(|session| session.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(Arc::strong_count(all[0].as_ref().expect("looked at above")) == 1);
}
