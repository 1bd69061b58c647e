//! Logins at a small SSH server inside the test.

use std::fs;

use russh::{
    Channel, ChannelId, Pty,
    keys::{Algorithm, PrivateKey, PublicKey, ssh_key::LineEnding},
    server::{self, Auth, Msg, Session},
};

use super::*;

/// What the server does with visitors.
#[derive(Clone)]
struct Door {
    password: Option<&'static str>,
    key: Option<PublicKey>,
    screen: &'static str,
    has_terminal: bool,
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(if self.password.is_none() && self.key.is_none() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(if self.password == Some(password) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _: &str, key: server::VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let is_known = self.key.as_ref().is_some_and(|known| known.key_data() == key.public_key.key_data());
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.has_terminal { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        if self.screen == "bye" {
            return session.close(channel);
        }
        session.data(channel, self.screen.as_bytes().to_vec())
    }
}

fn door() -> Door {
    Door { password: None, key: None, screen: "\x1b[1mWel\x1b[0mcome, \x1b[31mguest", has_terminal: true }
}

fn new_key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a key")
}

/// Starts the server on one end of a pipe; returns the other, and its fingerprint.
fn open(door: Door) -> (Box<dyn ByteStream>, String) {
    let key = new_key();
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let config = server::Config {
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..server::Config::default()
    };
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        if let Ok(session) = server::run_stream(Arc::new(config), theirs, door).await {
            let _ = session.await;
        }
    });
    (Box::new(ours), fingerprint)
}

fn visit(proof: Proof, wait_for: &[&str]) -> Login {
    Login {
        user: "guest".to_owned(),
        proof,
        host_key: None,
        wait_for: wait_for.iter().map(|text| (*text).to_owned()).collect(),
    }
}

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_login_sees_the_host_key_and_the_first_screen() {
    let (stream, fingerprint) = open(door());
    let seen = login(stream, visit(Proof::Nothing, &["Welcome, guest"]), LIMIT).await.expect("logged in");
    assert_eq!(seen, LoginSeen { host_key: fingerprint, screen: "Welcome, guest".to_owned() });
    let (stream, _) = open(door());
    let seen = login(stream, visit(Proof::Nothing, &[]), LIMIT).await.expect("logged in");
    assert_eq!(seen.screen, "Welcome, guest");
}

#[tokio::test]
async fn passwords_and_keys_are_accepted_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = new_key();
    let file = folder.path().join("key");
    fs::write(&file, key.to_openssh(LineEnding::LF).expect("written").as_bytes()).expect("writable");
    let password = || Door { password: Some("s3cret"), ..door() };
    let by_key = || Door { key: Some(key.public_key().clone()), ..door() };
    for (door, proof) in
        [(password(), Proof::Password(Secret::new("s3cret"))), (by_key(), Proof::KeyFile(file.clone()))]
    {
        login(open(door).0, visit(proof, &[]), LIMIT).await.expect("logged in");
    }
    for (door, proof) in [
        (password(), Proof::Password(Secret::new("wrong"))),
        (password(), Proof::Nothing),
        (Door { key: Some(new_key().public_key().clone()), ..door() }, Proof::KeyFile(file)),
    ] {
        let error = login(open(door).0, visit(proof, &[]), LIMIT).await.expect_err("refused");
        assert!(matches!(error, LoginError::Refused { .. }), "{error}");
    }
    let away = Proof::KeyFile(folder.path().join("away"));
    let error = login(open(door()).0, visit(away, &[]), LIMIT).await.expect_err("no key");
    assert!(error.is_ours(), "{error}");
}

#[tokio::test]
async fn another_host_key_ends_the_login_before_a_password_is_sent() {
    let (stream, fingerprint) = open(Door { password: Some("s3cret"), ..door() });
    let wanted = "SHA256:somethingelse".to_owned();
    let visit = Login { host_key: Some(wanted.clone()), ..visit(Proof::Password(Secret::new("s3cret")), &[]) };
    match login(stream, visit, LIMIT).await {
        Err(LoginError::HostKey { wanted: said, seen }) => assert_eq!((said, seen), (wanted, fingerprint)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_login_without_its_screen_is_none() {
    let short = Duration::from_millis(800);
    let error = login(open(door()).0, visit(Proof::Nothing, &["Inbox"]), short).await.expect_err("another screen");
    assert!(matches!(error, LoginError::TimedOut { phase: "waiting for the screen", .. }), "{error}");
    let closing = Door { screen: "bye", ..door() };
    let error = login(open(closing).0, visit(Proof::Nothing, &["Inbox"]), LIMIT).await.expect_err("closed");
    assert_eq!(error.to_string(), "the screen did not show `Inbox` (it stayed empty)");
    let bare = Door { has_terminal: false, ..door() };
    let error = login(open(bare).0, visit(Proof::Nothing, &[]), LIMIT).await.expect_err("no terminal");
    assert!(matches!(error, LoginError::Terminal(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_never_speaks_is_given_up() {
    let (stream, _theirs) = tokio::io::duplex(1024);
    let error = login(Box::new(stream), visit(Proof::Nothing, &[]), Duration::from_millis(200)).await;
    assert!(matches!(error, Err(LoginError::TimedOut { .. })), "{error:?}");
    let (stream, mut theirs) = tokio::io::duplex(1024);
    tokio::spawn(async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut theirs, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let error = login(Box::new(stream), visit(Proof::Nothing, &[]), LIMIT).await.expect_err("no SSH");
    assert!(matches!(error, LoginError::Handshake(_)), "{error}");
}
