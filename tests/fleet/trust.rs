//! Host keys from the command line: unknown, confirmed, refused, changed, behind jump hosts; documents with mistakes.

use std::{fs, net::TcpListener, path::Path, process::Command};

use crate::fleet::{Fleet, Host};

fn fingerprint(host: &Host) -> String {
    let key = host.sshd.public_key();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), key).expect("written");
    let output = Command::new("ssh-keygen").args(["-l", "-f"]).arg(file.path()).output().expect("ssh-keygen runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().nth(1).unwrap_or_else(|| panic!("no fingerprint: {text}")).to_owned()
}

#[test]
fn a_key_is_trusted_only_by_somebodys_word_and_a_changed_one_by_nobodys() {
    let Some(mut fleet) = Fleet::new() else { return };
    fleet.add("web-1", |sshd| sshd);
    fleet.add("web-2", |sshd| sshd);
    fleet.write_inventory("");
    let known_hosts = fleet.project().join("known_hosts");
    let known = || fs::read_to_string(&known_hosts).unwrap_or_default();
    let print = fingerprint(fleet.host("web-1"));
    let true_on = |hosts: &'static str| fleet.longshore(["exec", hosts, "--", "true"]).run();

    // Nothing is known yet: nobody gets in, and the hint says what to do.
    let ran = true_on("web-1").expect_code(1).says("is not known (ssh-ed25519 ");
    assert!(ran.out.contains(&print), "{ran}");
    let ran = fleet.longshore(["check", "all"]).run().expect_code(1);
    ran.says("host key").says("`longshore trust web-2` shows the key").says("compare it with the host's own");

    // Nobody at the terminal, no word: nothing is trusted.
    let ran = fleet.longshore(["trust", "all"]).run().expect_code(2);
    ran.says(&print).tells("nobody can be asked here").tells("hint: name the expected key with `--fingerprint");
    assert_eq!(known(), "");

    // Another key than the one named is refused; the one named is written down, and the host is reached.
    let wrong = fingerprint(fleet.host("web-2"));
    let ran = fleet.longshore(["trust", "web-1", "--fingerprint", &wrong]).run().expect_code(1);
    ran.tells("is none of the fingerprints named; not trusted");
    assert_eq!(known(), "");
    let ran = fleet.longshore(["trust", "web-1", "--fingerprint", &print]).run().expect_code(0);
    ran.tells("1 key written to");
    assert!(known().contains(&fleet.host("web-1").sshd.known_as()), "{}", known());
    true_on("web-1").expect_code(0);
    true_on("web-2").expect_code(1);

    // What is known is not written twice; `--yes` is said aloud.
    let ran = fleet.longshore(["trust", "all", "--yes"]).run().expect_code(0);
    ran.tells("without anybody having compared them").tells("1 key written to").says("web-1 known").says("web-2 new");
    assert_eq!(known().lines().filter(|line| !line.starts_with('#')).count(), 2, "{}", known());
    true_on("all").expect_code(0);
    fleet.longshore(["check", "all"]).run().expect_code(0).says("web-[1,2]");
    let ran = fleet.longshore(["--output", "json", "trust", "all"]).run().expect_code(0);
    let lines: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line["state"] == "known"), "{ran}");
    assert_eq!(lines[0]["fingerprint"], print.as_str());

    // A changed key is another matter: said differently, and trusted on nobody's word.
    fleet.lab.key("another", &[]);
    let changed = known().replace(&key_of(fleet.host("web-1")), &key_text(&fleet.lab.public("another")));
    fleet.write("known_hosts", &changed);
    let ran = true_on("web-1").expect_code(1);
    ran.says("has changed").says("somebody may be in between: do not go on").says(&print);
    for word in [["--yes"].as_slice(), &["--fingerprint", &print]] {
        let arguments = ["trust", "web-1"].into_iter().chain(word.iter().copied());
        let ran = fleet.longshore(arguments).run().expect_code(1);
        ran.says("web-1 changed").tells("if the host was reinstalled, remove that line");
        assert_eq!(known(), changed);
    }
    // Somebody revokes the other one.
    fleet.write("known_hosts", &format!("{changed}@revoked * {}\n", fleet.host("web-2").sshd.public_key()));
    true_on("web-2").expect_code(1).says("is revoked");
    fleet.longshore(["trust", "web-2", "--yes"]).run().expect_code(1).says("web-2 revoked");

    // A host that is not there is unreachable and nothing else.
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    fleet.write("inventory/gone.toml", &format!("[hosts.gone]\naddress = \"127.0.0.1\"\nport = {gone}\n"));
    fleet.longshore(["trust", "gone", "--yes"]).run().expect_code(4).tells("gone: no connection to");
    fleet.longshore(["exec", "gone", "--", "true"]).run().expect_code(4).says("no connection to");
}

fn key_of(host: &Host) -> String {
    key_text(&host.sshd.public_key())
}

/// Algorithm and key, without the comment.
fn key_text(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn two_unknown_jump_hosts_are_trusted_one_after_another_and_the_host_last() {
    let Some(mut fleet) = Fleet::new() else { return };
    fleet.add("outer", |sshd| sshd);
    fleet.add("middle", |sshd| sshd).lines = "jump = \"outer\"".to_owned();
    fleet.add("inner", |sshd| sshd).lines = "jump = \"middle\"".to_owned();
    fleet.write_inventory("");
    let prints: Vec<_> = fleet.hosts.iter().map(fingerprint).collect();
    // Each call gets one server further; the next one on the way is refused as none of those named.
    for (index, print) in prints.iter().enumerate() {
        let expected = i32::from(index < 2);
        let ran = fleet.longshore(["trust", "inner", "--fingerprint", print]).run().expect_code(expected);
        let ran = ran.tells("1 key written to").says(print);
        assert_eq!(ran.out.contains(" (on the way) "), index < 2, "{ran}");
    }
    let ran = fleet.longshore(["exec", "inner", "--", "sh", "-c", "echo $SSH_CONNECTION"]).run().expect_code(0);
    assert!(ran.out.trim().ends_with(&format!("{}", fleet.host("inner").sshd.port)), "{ran}");
    for jump in ["outer", "middle"] {
        assert!(fleet.host(jump).sshd.log().contains("Accepted publickey"), "{jump}");
    }

    // In one go, too.
    fs::remove_file(fleet.project().join("known_hosts")).expect("it was written");
    fleet.longshore(["trust", "inner", "--yes"]).run().expect_code(0).tells("3 keys written to");
    fleet.longshore(["exec", "all", "--", "true"]).run().expect_code(0);

    // A jump host that went is the fault of the jump host, and says so.
    let outer = fleet.hosts.remove(0);
    let at = format!("{}:{}", outer.sshd.address, outer.sshd.port);
    drop(outer);
    let ran = fleet.longshore(["--connect-timeout", "3s", "exec", "inner", "--", "true"]).run().expect_code(4);
    ran.says(&at);
    fleet.assert_nothing_runs();
}

#[test]
fn eight_mistakes_are_told_in_one_go_and_nothing_is_contacted() {
    let Some(mut fleet) = Fleet::new() else { return };
    fleet.hosts.clear();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it is ours");
    let port = listener.local_addr().expect("an address").port();
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/lint/eight-mistakes");
    for file in ["playbooks/upgrade.toml", "roles/shop/role.toml", "inventory/fleet.toml"] {
        let text = fs::read_to_string(case.join(file)).expect("the case is there");
        // Every host would be one that notices.
        let there = format!("]\naddress = \"127.0.0.1\"\nport = {port}\n");
        let text = text
            .lines()
            .map(|line| match line.strip_suffix(']').filter(|_| line.starts_with("[hosts.")) {
                Some(table) => format!("{table}{there}"),
                None => format!("{line}\n"),
            })
            .collect::<String>();
        fleet.write(file, &text);
    }
    let lint = fleet.longshore(["lint"]).run().expect_code(2);
    let all = format!("{}{}", lint.out, lint.err);
    let expected = fs::read_to_string(case.join("errors.txt")).expect("the case is there");
    for message in expected.lines().filter(|line| line.starts_with("error: ")) {
        assert!(all.contains(message), "not told: {message}\n{lint}");
    }
    assert_eq!(all.lines().filter(|line| line.trim_start().starts_with("--> playbooks/upgrade.toml:")).count(), 8);
    for command in [["plan", "upgrade"].as_slice(), &["apply", "upgrade", "--yes"], &["check", "--playbook", "upgrade"]]
    {
        let ran = fleet.longshore(command.iter().copied()).run().expect_code(2);
        ran.tells("8 errors; nothing was done");
    }
    let contacted = listener.accept().expect_err("nobody came");
    assert_eq!(contacted.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!fleet.project().join(".longshore").exists(), "nothing was recorded either");
}
