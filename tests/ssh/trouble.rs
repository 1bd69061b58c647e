//! Links that break, servers that say nothing, hosts that are not there.

use std::{sync::Arc, time::Duration};

use longshore::{
    model::FailureClass,
    transport::{Exec, Transport as _, TransportError, ssh::SshTransport},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::sshd::{Lab, Sshd, ssh};

/// A wire to a host that can be cut, or frozen: then nothing passes, and nobody is told.
struct Wire {
    port: u16,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    Frozen,
    Cut,
}

impl Wire {
    async fn to(host: &Sshd) -> Self {
        let listener = TcpListener::bind((host.address.as_str(), 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (state, watched) = watch::channel(State::Whole);
        let place = (host.address.clone(), host.port);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut watched, place) = (watched.clone(), place.clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect((place.0.as_str(), place.1)).await.expect("sshd listens");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = watched.wait_for(|state| *state != State::Whole) => {}
                    }
                    // Frozen, both ends stay open.
                    let _ = watched.wait_for(|state| *state == State::Cut).await;
                });
            }
        });
        Self { port, state }
    }

    fn target(&self, lab: &Lab, host: &Sshd) -> longshore::transport::Target {
        lab.write("known_hosts", &format!("[{}]:{} {}\n", host.address, self.port, host.public_key()));
        let mut target = host.target(lab);
        ssh(&mut target).port = Some(self.port);
        target
    }
}

#[tokio::test]
async fn a_link_cut_in_the_middle_leaves_doubt_and_no_status() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let wire = Wire::to(&host).await;
    let session = lab.connect(&wire.target(&lab, &host)).await.expect("reached");
    let cutting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        wire.state.send_replace(State::Cut);
    };
    let exec = Exec::script("echo begun; sleep 3");
    let running = async { session.run(exec, &mut ()).await };
    let (ended, ()) = tokio::join!(running, cutting);
    let error = ended.expect_err("cut");
    assert!(matches!(error, TransportError::LinkLost { .. }), "{error}");
    assert!(error.leaves_doubt());
    assert_eq!(error.class(), FailureClass::Unreachable);
    assert!(session.is_closed());
    let again = session.run(Exec::script("true"), &mut ()).await.expect_err("gone");
    assert!(matches!(again, TransportError::LinkLost { .. }), "{again}");
}

#[tokio::test]
async fn a_host_that_falls_silent_is_found_out_by_keepalives() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let wire = Wire::to(&host).await;
    let target = wire.target(&lab, &host);
    let mut options = lab.options();
    options.limits.keepalive_interval = Duration::from_secs(1);
    options.limits.keepalive_count = 2;
    let session = SshTransport::new(options).connect(&target, Duration::from_secs(10)).await.expect("reached");
    wire.state.send_replace(State::Frozen);
    let run = async { session.run(Exec::script("echo hello"), &mut ()).await };
    let error = tokio::time::timeout(Duration::from_secs(15), run).await.expect("found out").expect_err("silent");
    assert!(matches!(error, TransportError::LinkLost { .. } | TransportError::ConnectTimeout { .. }), "{error}");
}

#[tokio::test]
async fn r42_a_server_that_never_speaks_costs_a_limited_time() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut target = host.target(&lab);
    ssh(&mut target).address = "127.0.0.1".to_owned();
    ssh(&mut target).port = Some(silent.local_addr().expect("an address").port());
    let began = std::time::Instant::now();
    let error = lab.transport().connect(&target, Duration::from_secs(1)).await.map(|_| ()).expect_err("silent");
    assert!(matches!(error, TransportError::ConnectTimeout { .. }), "{error}");
    assert!(error.to_string().contains("the SSH handshake"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn r43_a_server_that_says_a_byte_at_a_time_costs_a_limited_time() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let slow = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut target = host.target(&lab);
    ssh(&mut target).address = "127.0.0.1".to_owned();
    ssh(&mut target).port = Some(slow.local_addr().expect("an address").port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = slow.accept().await {
            tokio::spawn(async move {
                // Never silent for long, and never done.
                for byte in b"SSH-2.0-slow\r\n".iter().chain(std::iter::repeat_n(&0, 1000)) {
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
    });
    let began = std::time::Instant::now();
    let error = lab.transport().connect(&target, Duration::from_secs(3)).await.map(|_| ()).expect_err("slow");
    assert!(matches!(error, TransportError::ConnectTimeout { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_ssh_server_and_what_is_not_there_are_told_apart() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let mut target = host.target(&lab);
    ssh(&mut target).address = "127.0.0.1".to_owned();

    let web = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    ssh(&mut target).port = Some(web.local_addr().expect("an address").port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = web.accept().await {
            let _ = stream.write_all(&b"HTTP/1.1 400 Bad Request\r\n".repeat(4000)).await;
        }
    });
    let error = lab.transport().connect(&target, Duration::from_secs(3)).await.map(|_| ()).expect_err("no SSH");
    assert_eq!(error.class(), FailureClass::Unreachable, "{error}");

    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
    ssh(&mut target).port = Some(gone);
    let error = lab.transport().connect(&target, Duration::from_secs(5)).await.map(|_| ()).expect_err("nobody there");
    let TransportError::Connect { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_host_that_comes_up_late_is_reached() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let free = TcpListener::bind((host.address.as_str(), 0)).await.expect("a port").local_addr().expect("an address");
    lab.write("known_hosts", &format!("[{}]:{} {}\n", host.address, free.port(), host.public_key()));
    let mut target = host.target(&lab);
    ssh(&mut target).port = Some(free.port());
    let place = (host.address.clone(), host.port);
    let late = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let listener = TcpListener::bind(free).await.expect("still free");
        while let Ok((mut near, _)) = listener.accept().await {
            let place = place.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect((place.0.as_str(), place.1)).await.expect("sshd listens");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    };
    let transport = lab.transport();
    let connected = tokio::select! {
        connected = transport.connect(&target, Duration::from_secs(10)) => connected,
        () = late => unreachable!("it listens for ever"),
    };
    assert!(connected.is_ok(), "{:?}", connected.err());
}

#[tokio::test]
async fn a_session_that_is_dropped_or_closed_leaves_no_process_on_the_host() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let session = lab.session(&host).await;
    session.close().await;
    assert!(session.is_closed());
    session.close().await;
    let session = lab.session(&host).await;
    let weak = Arc::downgrade(&session);
    drop(session);
    assert!(weak.upgrade().is_none());
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    while host.log().matches("Disconnected").count() + host.log().matches("Connection closed").count() < 2
        && tokio::time::Instant::now() < until
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = host.log();
    let ends = log.matches("Disconnected").count() + log.matches("Connection closed").count();
    assert!(ends >= 2, "{log}");
}
