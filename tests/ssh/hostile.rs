//! Hosts and networks that mean harm: downgrades, channels opened backwards, keys that changed, passwords of others.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore::{
    model::{HostName, Secret, SecretSource},
    transport::{
        Exec, SshTarget, Target, Transport as _, TransportError, Way,
        ssh::{Prompter, Questions, SshTransport},
    },
};
use russh::{
    Channel, ChannelId,
    keys::{Algorithm, PrivateKey},
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::sshd::{Lab, Sshd, WITHIN, ssh};

#[tokio::test]
async fn s1_s2_nothing_is_said_about_who_we_are_to_a_host_whose_key_is_unknown_or_changed() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().line("LogLevel DEBUG2").start();
    let target = host.target(&lab);
    lab.key("another", &[]);
    lab.key("another-rsa", &["-t", "rsa", "-b", "2048"]);
    for (known, is_changed) in [
        (String::new(), false),
        (format!("{} {}\n", host.known_as(), lab.public("another")), true),
        (format!("{} {}\n", host.known_as(), lab.public("another-rsa")), true),
        (format!("@revoked {} {}\n", host.known_as(), host.public_key()), false),
    ] {
        lab.write("known_hosts", &known);
        let error = lab.connect(&target).await.map(|_| ()).expect_err("not this key");
        assert_eq!(matches!(error, TransportError::HostKeyChanged { .. }), is_changed, "{known}: {error}");
    }
    let asked = |host: &Sshd| host.log().matches("userauth").count();
    assert_eq!(asked(&host), 0, "{}", host.log());
    // What would be seen: the log does tell of it.
    drop(lab.session(&host).await);
    assert!(asked(&host) > 0, "{}", host.log());
}

/// Sends the server's side on as it is, but for one packet of our own in the middle of the key exchange.
async fn meddle(to: (String, u16), is_meddling: bool) -> SocketAddr {
    /// `SSH_MSG_IGNORE` with nothing in it, as a packet that is neither encrypted nor authenticated yet.
    const IGNORE: [u8; 16] = [0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect((to.0.as_str(), to.1)).await.expect("sshd listens");
            tokio::spawn(async move {
                let (mut from_near, mut to_near) = near.into_split();
                let (mut from_far, mut to_far) = far.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_near, &mut to_far).await });
                if is_meddling {
                    // Its version, a line, and its offer, a packet that tells its length.
                    let mut byte = [0];
                    while byte != *b"\n" {
                        from_far.read_exact(&mut byte).await.expect("a version");
                        to_near.write_all(&byte).await.expect("passed on");
                    }
                    let length = from_far.read_u32().await.expect("a length");
                    let mut offer = vec![0; length as usize];
                    from_far.read_exact(&mut offer).await.expect("an offer");
                    to_near.write_u32(length).await.expect("passed on");
                    to_near.write_all(&offer).await.expect("passed on");
                    to_near.write_all(&IGNORE).await.expect("put in");
                }
                let _ = tokio::io::copy(&mut from_far, &mut to_near).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn s5_a_packet_put_into_the_key_exchange_ends_the_connection() {
    let Some(lab) = Lab::new() else { return };
    // As in the Terrapin attack, on the cipher it is about: with a packet put in, one could be dropped unseen later.
    let host = lab.sshd().line("Ciphers chacha20-poly1305@openssh.com").start();
    for is_meddling in [false, true] {
        let wire = meddle((host.address.clone(), host.port), is_meddling).await;
        lab.write("known_hosts", &format!("[{}]:{} {}\n", wire.ip(), wire.port(), host.public_key()));
        let mut target = host.target(&lab);
        let way = ssh(&mut target);
        (way.address, way.port) = (wire.ip().to_string(), Some(wire.port()));
        let connected = lab.transport().connect(&target, WITHIN).await.map(|_| ());
        assert_eq!(connected.is_err(), is_meddling, "{connected:?}");
        if let Err(error) = connected {
            assert!(matches!(error, TransportError::Handshake { .. }), "{error:?}");
        }
    }
    assert_eq!(host.log().matches("Accepted publickey").count(), 1, "{}", host.log());
}

#[tokio::test]
async fn s5_a_host_that_knows_only_weak_algorithms_is_refused_and_told_so() {
    let Some(lab) = Lab::new() else { return };
    let rsa = lab.key("host-rsa", &["-t", "rsa", "-b", "2048"]);
    for (weak, lines) in [
        ("3des-cbc", vec!["Ciphers 3des-cbc".to_owned()]),
        ("aes128-cbc", vec!["Ciphers aes128-cbc".to_owned()]),
        ("hmac-md5", vec!["Ciphers aes128-ctr".to_owned(), "MACs hmac-md5".to_owned()]),
        ("hmac-sha1-96", vec!["Ciphers aes128-ctr".to_owned(), "MACs hmac-sha1-96".to_owned()]),
        ("group1", vec!["KexAlgorithms diffie-hellman-group1-sha1".to_owned()]),
        ("group14-sha1", vec!["KexAlgorithms diffie-hellman-group14-sha1".to_owned()]),
        ("ssh-rsa", vec![format!("HostKey {}", rsa.display()), "HostKeyAlgorithms ssh-rsa".to_owned()]),
    ] {
        let mut sshd = lab.sshd();
        for line in &lines {
            sshd = sshd.line(line);
        }
        let host = sshd.start();
        let key = if weak == "ssh-rsa" { lab.public("host-rsa") } else { host.public_key() };
        lab.write("known_hosts", &format!("{} {key}\n", host.known_as()));
        let error = lab.connect(&host.target(&lab)).await.map(|_| ()).expect_err(weak);
        assert!(matches!(error, TransportError::Handshake { .. }), "{weak}: {error:?}");
        assert!(!host.log().contains("Accepted"), "{weak}: {}", host.log());
    }
    // With what it has by itself it lets us in.
    let host = lab.sshd().start();
    drop(lab.session(&host).await);
}

/// A server of our own that writes down all it hears, and opens channels to its client.
#[derive(Clone, Default)]
struct Stub {
    heard: Arc<Mutex<Vec<String>>>,
    /// What became of each channel it opened.
    opened: Arc<Mutex<Vec<(&'static str, bool)>>>,
    password: &'static str,
}

impl Stub {
    fn note(&self, what: &str) {
        self.heard.lock().expect("no panic").push(what.to_owned());
    }

    /// Listens for ever. Returns where, and its key.
    async fn start(&self) -> (SocketAddr, String) {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a key");
        let public = key.public_key().to_openssh().expect("text");
        let config = Arc::new(Config {
            keys: vec![key],
            auth_rejection_time: Duration::from_millis(10),
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..Config::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stub = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (config, stub) = (Arc::clone(&config), stub.clone());
                tokio::spawn(async move {
                    if let Ok(session) = russh::server::run_stream(config, stream, stub).await {
                        let _ = session.await;
                    }
                });
            }
        });
        (address, public)
    }
}

impl Handler for Stub {
    type Error = russh::Error;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        self.note(user);
        Ok(if self.password.is_empty() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        self.note(&format!("{user} {password}"));
        Ok(if password == self.password { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let text = String::from_utf8_lossy(data).into_owned();
        self.note(&text);
        // It says of every program that it went well, whatever that was.
        let _ = (session.exit_status_request(channel, 0), session.eof(channel), session.close(channel));
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.note(&String::from_utf8_lossy(data));
        session.channel_success(channel)?;
        let (handle, opened) = (session.handle(), Arc::clone(&self.opened));
        tokio::spawn(async move {
            let note = |what, is_open| opened.lock().expect("no panic").push((what, is_open));
            note("agent", handle.channel_open_agent().await.is_ok());
            note("x11", handle.channel_open_x11("127.0.0.1", 6000).await.is_ok());
            note("tcp", handle.channel_open_forwarded_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.is_ok());
            note("socket", handle.channel_open_forwarded_streamlocal("/run/x").await.is_ok());
            note("direct", handle.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.is_ok());
            note("session", handle.channel_open_session().await.is_ok());
        });
        Ok(())
    }
}

fn target(name: &str, address: SocketAddr) -> Target {
    Target {
        host: HostName::new(name).expect("a name"),
        way: Way::Ssh(SshTarget {
            address: address.ip().to_string(),
            port: Some(address.port()),
            user: Some("admin".to_owned()),
            ..SshTarget::default()
        }),
        run_as: None,
    }
}

#[tokio::test]
async fn s7_every_channel_that_a_host_opens_to_us_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let stub = Stub::default();
    let (address, key) = stub.start().await;
    lab.write("known_hosts", &format!("[{}]:{} {key}\n", address.ip(), address.port()));
    let mut options = lab.options();
    // An agent is there; the inventory does not let the host use it.
    options.agent = Some(lab.path("agent"));
    let session = SshTransport::new(options).connect(&target("stub", address), WITHIN).await.expect("reached");
    let _ = session.run(Exec::script("true").timeout(Duration::from_secs(5)), &mut ()).await;
    let until = tokio::time::Instant::now() + WITHIN;
    while stub.opened.lock().expect("no panic").len() < 6 {
        assert!(tokio::time::Instant::now() < until, "{:?}", stub.opened);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let opened = stub.opened.lock().expect("no panic").clone();
    assert!(opened.iter().all(|(_, is_open)| !is_open), "{opened:?}");
    // And nothing of it ended the connection, which others of its kind share.
    assert!(!session.is_closed());
}

/// Types the password of the host it is asked for.
struct Typing;

#[async_trait::async_trait]
impl Prompter for Typing {
    async fn passphrase(&self, _: &std::path::Path, _: bool) -> Option<Secret> {
        None
    }

    async fn password(&self, _: &str, address: &str, _: bool) -> Option<Secret> {
        Some(Secret::new(format!("typed for {address}")))
    }

    async fn answers(&self, _: &Questions) -> Option<Vec<Secret>> {
        None
    }
}

#[tokio::test]
async fn s19_the_password_of_one_host_is_never_said_to_another() {
    let Some(lab) = Lab::new() else { return };
    let stubs = [Stub { password: "first one's", ..Stub::default() }, Stub { password: "second's", ..Stub::default() }];
    let mut known = String::new();
    let mut targets = Vec::new();
    for (stub, (name, variable)) in stubs.iter().zip([("first", "FIRST"), ("second", "SECOND")]) {
        let (address, key) = stub.start().await;
        known += &format!("[{}]:{} {key}\n", address.ip(), address.port());
        let mut target = target(name, address);
        ssh(&mut target).password = Some(SecretSource::Env(variable.to_owned()));
        targets.push(target);
    }
    lab.write("known_hosts", &known);
    let mut options = lab.options();
    options.prompter = Arc::new(Typing);
    options.secrets = Arc::new(|source| match source {
        SecretSource::Env(name) if name == "FIRST" => Ok(Secret::new("first one's")),
        SecretSource::Env(name) if name == "SECOND" => Ok(Secret::new("second's")),
        _ => Err("not here".to_owned()),
    });
    let transport = SshTransport::new(options);
    // Each after the other, both at once, and each when the other's is wrong.
    for order in [[0, 1], [1, 0]] {
        for index in order {
            let connected = transport.connect(&targets[index], WITHIN).await;
            assert!(connected.is_ok(), "{:?}", connected.err());
        }
        let (a, b) = tokio::join!(transport.connect(&targets[0], WITHIN), transport.connect(&targets[1], WITHIN));
        assert!(a.is_ok() && b.is_ok());
    }
    // Typed ones are kept for the host they were typed for.
    for target in &mut targets {
        ssh(target).password = None;
        let refused = transport.connect(target, WITHIN).await;
        assert!(refused.is_err());
    }
    for (index, other) in [(0, 1), (1, 0)] {
        let heard = stubs[index].heard.lock().expect("no panic").clone();
        assert!(heard.iter().any(|words| words.contains(stubs[index].password)), "{heard:?}");
        assert!(!heard.iter().any(|words| words.contains(stubs[other].password)), "{heard:?}");
        let Way::Ssh(theirs) = &targets[other].way else { unreachable!("made above") };
        let port = theirs.port.expect("given").to_string();
        assert!(!heard.iter().any(|words| words.contains("typed for") && words.contains(&port)), "{heard:?}");
    }
}
