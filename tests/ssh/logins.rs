//! Every way to log in.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use longshore::{
    model::{FailureClass, Secret, SecretSource},
    transport::{Exec, Transport as _, TransportError, ssh::SshTransport},
};

use crate::{
    people::{PASSWORD, Person},
    sshd::{Answering, Lab, WITHIN, is_root, run, ssh},
};

/// An ssh-agent of its own, ended when dropped.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn holding(lab: &Lab, keys: &[&Path]) -> Self {
        let socket = lab.path("agent");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent starts");
        let agent = Self { child, socket };
        let until = Instant::now() + WITHIN;
        // The socket is there a moment before anybody listens at it.
        while UnixStream::connect(&agent.socket).is_err() {
            assert!(Instant::now() < until, "ssh-agent does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        for key in keys {
            run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket));
        }
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn by(transport: &SshTransport, target: &longshore::transport::Target) -> Result<String, TransportError> {
    let session = transport.connect(target, WITHIN).await?;
    let ended = session.run(Exec::script("echo hello"), &mut ()).await?;
    assert_eq!(ended.out.text(), "hello\n");
    let by = session.peer().authenticated_by.clone();
    session.close().await;
    Ok(by)
}

#[tokio::test]
async fn a_key_file_of_each_type_opens_the_door() {
    let Some(lab) = Lab::new() else { return };
    let kinds: [&[&str]; 5] = [
        &["-t", "ed25519"],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "rsa", "-b", "2048", "-m", "PEM"],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "521"],
    ];
    for (number, kind) in kinds.iter().enumerate() {
        let name = format!("key-{number}");
        let key = lab.key(&name, kind);
        let host = lab.sshd().authorized(&[&lab.public(&name)]).start();
        lab.trust(&[&host]);
        let mut target = host.target(&lab);
        ssh(&mut target).identity_files = vec![key.clone()];
        let by =
            by(&lab.transport(), &target).await.unwrap_or_else(|error| panic!("{kind:?}: {error}\n{}", host.log()));
        assert_eq!(by, format!("publickey (key {})", key.display()));
    }
}

#[tokio::test]
async fn an_encrypted_key_is_asked_for_once_for_the_whole_fleet() {
    let Some(lab) = Lab::new() else { return };
    let key = lab.key("locked", &["-N", "open sesame"]);
    let host = lab.sshd().authorized(&[&lab.public("locked")]).start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).identity_files = vec![key];
    let prompter = Answering::with("open sesame");
    let mut options = lab.options();
    options.prompter = Arc::<Answering>::clone(&prompter);
    let transport = SshTransport::new(options);
    let all = futures::future::join_all((0..6).map(|_| by(&transport, &target))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(prompter.asked(), ["passphrase of locked"]);
}

#[tokio::test]
async fn no_passphrase_is_asked_for_where_the_host_does_not_want_the_key() {
    let Some(lab) = Lab::new() else { return };
    let locked = lab.key("locked", &["-N", "open sesame"]);
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).identity_files = vec![locked, lab.path("me")];
    let prompter = Answering::with("open sesame");
    let mut options = lab.options();
    options.prompter = Arc::<Answering>::clone(&prompter);
    by(&SshTransport::new(options), &target).await.expect("the second key");
    assert_eq!(prompter.asked(), [""; 0]);
}

#[tokio::test]
async fn a_key_that_cannot_be_unlocked_is_named_in_the_refusal() {
    let Some(lab) = Lab::new() else { return };
    let locked = lab.key("locked", &["-N", "open sesame"]);
    let other = lab.key("other", &[]);
    let host = lab.sshd().authorized(&[&lab.public("locked")]).start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).identity_files = vec![locked.clone(), other.clone(), lab.path("absent")];
    let error = by(&lab.transport(), &target).await.expect_err("nobody to ask");
    assert_eq!(error.class(), FailureClass::Authentication);
    let TransportError::Authentication { tried, .. } = error else { panic!("{error}") };
    assert_eq!(
        tried,
        format!(
            "key {}; left out: key {} (no such file), key {} (it needs a passphrase, and there is nobody to ask); \
             it takes: publickey",
            other.display(),
            lab.path("absent").display(),
            locked.display()
        )
    );
}

#[tokio::test]
async fn the_agent_signs() {
    let Some(lab) = Lab::new() else { return };
    for kind in [&["-t", "ed25519"][..], &["-t", "rsa", "-b", "2048"]] {
        let name = format!("held-{}", kind[1]);
        let key = lab.key(&name, kind);
        let agent = Agent::holding(&lab, &[&key]);
        let host = lab.sshd().authorized(&[&lab.public(&name)]).start();
        lab.trust(&[&host]);
        let mut options = lab.options();
        options.agent = Some(agent.socket.clone());
        let by = by(&SshTransport::new(options), &host.target_without_keys()).await;
        assert_eq!(by.map_err(|e| e.to_string()), Ok(format!("publickey (key `{name}` (agent))")));
        drop(agent);
        std::fs::remove_file(lab.path("agent")).ok();
    }
}

#[tokio::test]
async fn with_identities_only_the_agents_other_keys_are_not_offered() {
    let Some(lab) = Lab::new() else { return };
    let wanted = lab.key("wanted", &[]);
    let others: Vec<_> = (0..7).map(|n| lab.key(&format!("other-{n}"), &[])).collect();
    let keys: Vec<&Path> = others.iter().map(PathBuf::as_path).chain([wanted.as_path()]).collect();
    let agent = Agent::holding(&lab, &keys);
    let host = lab.sshd().authorized(&[&lab.public("wanted")]).start();
    lab.trust(&[&host]);
    let mut options = lab.options();
    options.agent = Some(agent.socket.clone());
    let error = by(&SshTransport::new(options), &host.target_without_keys()).await.expect_err("too many keys");
    let TransportError::Authentication { tried, .. } = &error else { panic!("{error}") };
    assert!(tried.contains("key `other-0` (agent)"), "{tried}");
    assert!(tried.contains("Too many authentication failures"), "{tried}");

    // Only the public half lies here; the agent has the other.
    std::fs::remove_file(&wanted).expect("removed");
    lab.config(&format!("IdentityFile {}\nIdentitiesOnly yes\n", wanted.display()));
    let mut options = lab.options();
    options.agent = Some(agent.socket.clone());
    let by = by(&SshTransport::new(options), &host.target_without_keys()).await;
    assert_eq!(by.map_err(|e| e.to_string()), Ok("publickey (key `wanted` (agent))".to_owned()));
}

#[tokio::test]
async fn a_user_certificate_opens_the_door_from_a_file_and_from_the_agent() {
    let Some(lab) = Lab::new() else { return };
    let authority = lab.key("authority", &[]);
    for kind in [&["-t", "ed25519"][..], &["-t", "rsa", "-b", "2048"]] {
        let name = format!("certified-{}", kind[1]);
        let key = lab.key(&name, kind);
        let certificate = lab.sign("authority", &name, &crate::sshd::user_name(), &[]);
        let host = lab.sshd().line(&format!("TrustedUserCAKeys {}.pub", authority.display())).authorized(&[]).start();
        lab.trust(&[&host]);
        let mut target = host.target_without_keys();
        ssh(&mut target).identity_files = vec![key.clone()];
        let seen = by(&lab.transport(), &target).await;
        assert_eq!(
            seen.map_err(|e| format!("{e}\n{}", host.log())),
            Ok(format!("publickey (certificate {})", key.display())),
            "{kind:?}, beside the key"
        );

        let agent = Agent::holding(&lab, &[&key]);
        let mut options = lab.options();
        options.agent = Some(agent.socket.clone());
        let seen = by(&SshTransport::new(options), &host.target_without_keys()).await;
        let agents = seen.unwrap_or_else(|error| panic!("{kind:?}, in the agent: {error}\n{}", host.log()));
        assert!(agents.starts_with("publickey (certificate `"), "{agents}");
        drop(agent);
        std::fs::remove_file(lab.path("agent")).ok();

        // The agent has the plain key only, the certificate is a file elsewhere.
        let elsewhere = lab.path(&format!("{name}-elsewhere"));
        std::fs::rename(&certificate, &elsewhere).expect("moved");
        let agent = Agent::holding(&lab, &[&key]);
        lab.config(&format!("Host {}\n  CertificateFile {}\n", host.address, elsewhere.display()));
        let mut options = lab.options();
        options.agent = Some(agent.socket.clone());
        let seen = by(&SshTransport::new(options), &host.target_without_keys()).await;
        let mixed = seen.unwrap_or_else(|error| panic!("{kind:?}, mixed: {error}\n{}", host.log()));
        assert_eq!(mixed, format!("publickey (certificate `{name}` (agent))"));
        drop(agent);
        std::fs::remove_file(lab.path("agent")).ok();
    }
}

#[tokio::test]
async fn a_password_comes_from_the_inventory_or_from_a_person() {
    let Some(lab) = Lab::new() else { return };
    if !is_root() {
        return;
    }
    let person = Person::with_shell("/bin/sh");
    let host = lab.sshd().line("PasswordAuthentication yes").start();
    lab.trust(&[&host]);
    let mut target = host.target_without_keys();
    ssh(&mut target).user = Some(person.name.clone());

    let prompter = Answering::with(PASSWORD);
    let mut options = lab.options();
    options.prompter = Arc::<Answering>::clone(&prompter);
    let transport = SshTransport::new(options);
    for _ in 0..2 {
        let by = by(&transport, &target).await;
        assert_eq!(by.map_err(|e| format!("{e}\n{}", host.log())), Ok("password".to_owned()));
    }
    assert_eq!(prompter.asked(), [format!("password of {}", person.name)]);

    ssh(&mut target).password = Some(SecretSource::Env("THE_PASSWORD".to_owned()));
    let mut options = lab.options();
    options.secrets = Arc::new(|source| match source {
        SecretSource::Env(name) if name == "THE_PASSWORD" => Ok(Secret::new(PASSWORD)),
        _ => Err("not here".to_owned()),
    });
    let seen = by(&SshTransport::new(options), &target).await;
    assert_eq!(seen.map_err(|e| e.to_string()), Ok("password".to_owned()));

    let mut options = lab.options();
    options.secrets = Arc::new(|_| Ok(Secret::new("wrong")));
    let error = by(&SshTransport::new(options), &target).await.expect_err("a wrong password");
    let TransportError::Authentication { tried, .. } = &error else { panic!("{error}") };
    assert_eq!(tried, "password; it takes: publickey, password");
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
}

#[tokio::test]
async fn a_host_that_asks_itself_is_answered() {
    let Some(lab) = Lab::new() else { return };
    if !is_root() || !Path::new("/etc/pam.d/sshd").exists() {
        return crate::sshd::skip("needs root and PAM");
    }
    let person = Person::with_shell("/bin/sh");
    let host = lab.sshd().line("UsePAM yes").line("KbdInteractiveAuthentication yes").start();
    lab.trust(&[&host]);
    let mut target = host.target_without_keys();
    ssh(&mut target).user = Some(person.name.clone());
    let prompter = Answering::with(PASSWORD);
    let mut options = lab.options();
    options.prompter = Arc::<Answering>::clone(&prompter);
    let seen = by(&SshTransport::new(options), &target).await;
    assert_eq!(seen.map_err(|e| format!("{e}\n{}", host.log())), Ok("keyboard-interactive".to_owned()));
    assert_eq!(prompter.asked().len(), 1, "{:?}", prompter.asked());

    ssh(&mut target).password = Some(SecretSource::Env("THE_PASSWORD".to_owned()));
    let mut options = lab.options();
    options.secrets = Arc::new(|_| Ok(Secret::new(PASSWORD)));
    let seen = by(&SshTransport::new(options), &target).await;
    assert_eq!(seen.map_err(|e| e.to_string()), Ok("keyboard-interactive".to_owned()));
}

#[tokio::test]
async fn a_host_that_wants_a_key_and_a_password_gets_both() {
    let Some(lab) = Lab::new() else { return };
    if !is_root() {
        return;
    }
    let person = Person::with_shell("/bin/sh");
    let host = lab.sshd().line("PasswordAuthentication yes").line("AuthenticationMethods publickey,password").start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).user = Some(person.name.clone());
    let mut options = lab.options();
    options.prompter = Answering::with(PASSWORD);
    let seen = by(&SshTransport::new(options), &target).await;
    let expected = format!("publickey (key {}), password", lab.path("me").display());
    assert_eq!(seen.map_err(|e| format!("{e}\n{}", host.log())), Ok(expected));
}

#[tokio::test]
async fn an_unknown_user_is_refused_and_not_unreachable() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    let mut target = host.target(&lab);
    ssh(&mut target).user = Some("nobody-of-that-name".to_owned());
    let error = by(&lab.transport(), &target).await.expect_err("no such user");
    assert_eq!(error.class(), FailureClass::Authentication, "{error}");
}
