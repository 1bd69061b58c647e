//! Host keys: known, unknown, changed, revoked, certified.

use longshore::{
    model::FailureClass,
    transport::{
        Transport as _, TransportError,
        ssh::{SshTransport, known_hosts},
    },
};

use crate::sshd::{Lab, WITHIN, ssh};

#[tokio::test]
async fn unknown_changed_and_revoked_keys_are_three_errors() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    let target = host.target(&lab);
    lab.write("known_hosts", "");
    let error = lab.connect(&target).await.map(|_| ()).expect_err("unknown");
    let TransportError::HostKeyUnknown { fingerprint, algorithm, .. } = &error else { panic!("{error}") };
    assert_eq!(algorithm, "ssh-ed25519");
    let seen = fingerprint.clone();
    assert!(seen.starts_with("SHA256:"), "{seen}");

    lab.key("another", &[]);
    lab.write("known_hosts", &format!("# a comment\n{} {}\n", host.known_as(), lab.public("another")));
    let error = lab.connect(&target).await.map(|_| ()).expect_err("changed");
    assert_eq!(error.class(), FailureClass::HostKeyChanged);
    let TransportError::HostKeyChanged { seen: now, place, .. } = &error else { panic!("{error}") };
    assert_eq!(*now, seen);
    assert_eq!(*place, format!("{}:2", lab.path("known_hosts").display()));

    let known = format!("{} {}\n", host.known_as(), host.public_key());
    lab.write("known_hosts", &format!("{known}@revoked * {}\n", host.public_key()));
    let error = lab.connect(&target).await.map(|_| ()).expect_err("revoked");
    assert!(matches!(error, TransportError::HostKeyRevoked { .. }), "{error}");

    lab.write("known_hosts", &known);
    let session = lab.connect(&target).await.expect("known");
    assert_eq!(session.peer().host_key.as_deref(), Some(seen.as_str()));
}

#[tokio::test]
async fn a_host_shows_the_kind_of_key_it_is_known_by() {
    let Some(lab) = Lab::new() else { return };
    let rsa = lab.key("host-rsa", &["-t", "rsa", "-b", "2048"]);
    let host = lab.sshd().line(&format!("HostKey {}", rsa.display())).start();
    lab.write("known_hosts", &format!("{} {}\n", host.known_as(), lab.public("host-rsa")));
    let connected = lab.connect(&host.target(&lab)).await;
    assert!(connected.is_ok(), "{:?}", connected.err());
}

#[tokio::test]
async fn a_host_certificate_is_trusted_for_its_name_and_no_other() {
    let Some(lab) = Lab::new() else { return };
    let authority = lab.key("authority", &[]);
    let key = lab.key("host", &[]);
    let certificate = lab.path("host-cert.pub");
    lab.sign("authority", "host", "127.0.0.1,right.example", &["-h"]);
    let host = lab
        .sshd()
        .line(&format!("HostKey {}", key.display()))
        .line(&format!("HostCertificate {}", certificate.display()))
        .start();
    let authority = std::fs::read_to_string(authority.with_extension("pub")).expect("a key");
    lab.write("known_hosts", &format!("@cert-authority *.example {authority}"));
    let mut target = host.target(&lab);
    ssh(&mut target).host_key_alias = Some("right.example".to_owned());
    let connected = lab.connect(&target).await;
    assert!(connected.is_ok(), "{:?}", connected.err());

    ssh(&mut target).host_key_alias = Some("wrong.example".to_owned());
    let error = lab.connect(&target).await.map(|_| ()).expect_err("not its name");
    assert!(matches!(error, TransportError::HostKeyUnknown { .. }), "{error}");
}

#[tokio::test]
async fn a_probe_learns_the_key_without_logging_in_and_can_be_written_down() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    lab.write("known_hosts", "");
    let transport = lab.transport();
    let offered = transport.probe_host_key(&host.target_without_keys(), WITHIN).await.expect("a key");
    assert_eq!((offered.algorithm.as_str(), offered.is_jump), ("ssh-ed25519", false));
    assert!(!host.log().contains("Accepted"), "{}", host.log());
    known_hosts::add(&lab.path("known_hosts"), &offered.id, &offered.key, "host-1").expect("written");
    transport.forget_known_hosts();
    let connected = transport.connect(&host.target(&lab), WITHIN).await;
    assert!(connected.is_ok(), "{:?}", connected.err());
}

#[tokio::test]
async fn a_probe_behind_an_unknown_jump_host_returns_the_jump_hosts_key_first() {
    let Some(lab) = Lab::new() else { return };
    let (jump, host) = (lab.sshd().start(), lab.sshd().start());
    lab.write("known_hosts", "");
    lab.config(&format!("IdentityFile {}\n", lab.path("me").display()));
    let mut target = host.target(&lab);
    ssh(&mut target).jump = vec![format!("{}:{}", jump.address, jump.port)];
    let transport = lab.transport();
    let first = transport.probe_host_key(&target, WITHIN).await.expect("a key");
    assert_eq!((first.address, first.is_jump), (format!("{}:{}", jump.address, jump.port), true));
    known_hosts::add(&lab.path("known_hosts"), &first.id, &first.key, "").expect("written");
    transport.forget_known_hosts();
    let second = transport.probe_host_key(&target, WITHIN).await.expect("a key");
    assert_eq!((second.address, second.is_jump), (format!("{}:{}", host.address, host.port), false));
}

#[tokio::test]
async fn an_unreadable_known_hosts_file_stops_everything() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.sshd().start();
    std::fs::create_dir(lab.path("folder")).expect("made");
    let mut options = lab.options();
    options.known_hosts = Some(lab.path("folder"));
    let error = SshTransport::new(options).connect(&host.target(&lab), WITHIN).await.map(|_| ()).expect_err("no file");
    assert!(matches!(error, TransportError::Configuration(_)), "{error}");
}
