//! Becoming another user, by the real sudo.

use std::{path::Path, sync::Arc, time::Duration};

use longshore::{
    model::{RemoteCommand, Secret},
    transport::{Exec, Session, Status, TransportError},
};

use crate::{
    people::{PASSWORD, Person},
    sshd::{Lab, Sshd, is_root, skip, ssh},
};

struct Scene {
    session: Arc<dyn Session>,
    person: Person,
    _host: Sshd,
}

/// A host with a user whom sudo allows what `rule` says.
async fn scene(lab: &Lab, rule: Option<&str>) -> Option<Scene> {
    if !is_root() {
        return None;
    }
    if !Path::new("/usr/bin/sudo").exists() {
        skip("there is no sudo");
        return None;
    }
    let person = Person::with_shell("/bin/bash");
    let person = match rule {
        Some(rule) => person.sudoer(rule),
        None => person,
    };
    let host = lab.sshd().start();
    lab.trust(&[&host]);
    let mut target = host.target(lab);
    ssh(&mut target).user = Some(person.name.clone());
    let session = lab.connect(&target).await.expect("reached");
    Some(Scene { session, person, _host: host })
}

fn as_root(exec: Exec, password: Option<&str>) -> Exec {
    Exec { run_as: Some(("root".to_owned(), password.map(Secret::new))), ..exec }
}

#[tokio::test]
async fn without_a_password_sudo_is_not_made_to_ask() {
    let Some(lab) = Lab::new() else { return };
    let Some(Scene { session, person: _person, _host }) = scene(&lab, Some("ALL=(ALL) NOPASSWD: ALL")).await else {
        return;
    };
    for password in [None, Some(PASSWORD)] {
        let exec = as_root(Exec::script("id -un; echo $HOME; echo err >&2; cat; exit 6"), password);
        let ended = session.run(exec, &mut ()).await.expect("it ran");
        assert_eq!((ended.out.text().as_str(), ended.err.text().as_str()), ("root\n/root\n", "err\n"));
        assert_eq!(ended.status, Status::Exited(6));
    }
    let command = as_root(Exec::command(RemoteCommand::new(["printf", "%s", "a b;c"])), None);
    assert_eq!(session.run(command, &mut ()).await.expect("it ran").out.text(), "a b;c");
}

#[tokio::test]
async fn the_password_is_given_when_asked_for_and_is_in_no_stream() {
    let Some(lab) = Lab::new() else { return };
    let Some(Scene { session, person, _host }) = scene(&lab, Some("ALL=(ALL) ALL")).await else { return };
    // First asked for, with a lecture; then remembered by sudo; then with input of its own.
    for stdin in ["", "", "line one\nline two\n"] {
        let text = "id -un; cat; echo err >&2";
        let ended = session.run(as_root(Exec::script(text).stdin(stdin), Some(PASSWORD)), &mut ()).await;
        let ended = ended.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((ended.out.text(), ended.err.text()), (format!("root\n{stdin}"), "err\n".to_owned()));
    }
    let exec = Exec { run_as: Some((person.name.clone(), None)), ..Exec::script("id -un") };
    let ended = session.run(exec, &mut ()).await.expect("one is oneself already");
    assert_eq!(ended.out.text(), format!("{}\n", person.name));
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once_and_tried_once() {
    let Some(lab) = Lab::new() else { return };
    let Some(Scene { session, person: _person, _host }) = scene(&lab, Some("ALL=(ALL) ALL")).await else { return };
    let marker = lab.path("ran");
    let exec = as_root(Exec::script(format!("touch {}", marker.display())), Some("rm -rf /nonexistent"));
    let asked = tokio::time::timeout(Duration::from_secs(10), session.run(exec, &mut ())).await.expect("quickly");
    assert_eq!(asked.expect_err("refused").to_string(), "cannot become `root`: the password was refused");
    assert!(!marker.exists());
}

#[tokio::test]
async fn who_may_not_or_need_a_password_is_told_so() {
    let Some(lab) = Lab::new() else { return };
    let Some(Scene { session, person: _person, _host }) = scene(&lab, Some("ALL=(ALL) ALL")).await else { return };
    let error = session.run(as_root(Exec::script("id"), None), &mut ()).await.expect_err("no password");
    assert_eq!(error.to_string(), "cannot become `root`: sudo: a password is required");

    let Some(Scene { session, person: _person, _host }) = scene(&lab, None).await else { return };
    let error = session.run(as_root(Exec::script("id"), Some(PASSWORD)), &mut ()).await.expect_err("not in sudoers");
    let TransportError::Become { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("is not in the sudoers file"), "{reason}");
}

#[tokio::test]
async fn ten_megabytes_and_a_signal_pass_through_sudo() {
    let Some(lab) = Lab::new() else { return };
    let Some(Scene { session, person: _person, _host }) = scene(&lab, Some("ALL=(ALL) NOPASSWD: ALL")).await else {
        return;
    };
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000_000).collect();
    let exec = Exec { keep: 32 << 20, ..Exec::script("cat").stdin(bytes.clone()) };
    let ended = session.run(as_root(exec, None), &mut ()).await.expect("it ran");
    assert!(ended.out.bytes() == bytes, "{} bytes of {}", ended.out.total, bytes.len());
    let ended = session.run(as_root(Exec::script("kill -KILL $$"), None), &mut ()).await.expect("it ran");
    assert!(matches!(ended.status, Status::Signaled(_) | Status::Exited(137)), "{}", ended.status);
}

#[tokio::test]
async fn one_can_become_someone_who_is_not_root() {
    let Some(lab) = Lab::new() else { return };
    let Some(Scene { session, person: _person, _host }) = scene(&lab, Some("ALL=(ALL) NOPASSWD: ALL")).await else {
        return;
    };
    let exec = Exec { run_as: Some(("nobody".to_owned(), None)), ..Exec::script("id -un") };
    assert_eq!(session.run(exec, &mut ()).await.expect("it ran").out.text(), "nobody\n");
    let exec = Exec { run_as: Some(("no such; user".to_owned(), None)), ..Exec::script("id -un") };
    let error = session.run(exec, &mut ()).await.expect_err("no such user");
    assert!(matches!(error, TransportError::Become { .. }), "{error}");
}
