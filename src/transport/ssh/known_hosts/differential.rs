//! Asks `ssh-keygen -F` which lines are for a host, and compares.

use std::{fs, process::Command};

use super::{
    tests::{hashed, text},
    *,
};

/// Lines of one file, as they are put before the key, and what is in them.
fn lines() -> Vec<String> {
    let key = text(1);
    let names = [
        "web-1.example.com",
        "Web-2.Example.COM",
        "web-3.example.com,198.51.100.3",
        "*.example.com",
        "web-?.example.com",
        "*.example.com,!web-1.example.com",
        "!web-1.example.com,*.example.com",
        "!web-1.example.com",
        "*",
        "?",
        "**",
        "[web-1.example.com]:2222",
        "[*.example.com]:2222",
        "[web-1.example.com]:*",
        "[web-1.example.com]:22",
        "[2001:db8::7]:2222",
        "2001:db8::7",
        "2001:DB8::*",
        "198.51.100.*",
        "198.51.100.7",
        "web-1.example.com,",
        ",web-1.example.com",
        ",",
        "web-1",
        "web-1.example.co",
        "web-1.example.com.",
        "*web*1*com",
        "*,!*.example.com",
        "*,!",
        "!!web-1.example.com",
    ];
    let mut lines: Vec<String> = names.iter().map(|names| format!("{names} {key}")).collect();
    for name in ["web-1.example.com", "[web-1.example.com]:2222", "2001:db8::7"] {
        lines.push(format!("{} {key}", hashed(3, name)));
    }
    lines.extend([
        format!("{},web-1.example.com {key}", hashed(4, "web-1.example.com")),
        format!("|2|abc|def {key}"),
        format!("@revoked web-1.example.com {key}"),
        format!("@cert-authority *.example.com {key}"),
        format!("@cert-authority   [*.example.com]:2222   {key}"),
        format!("\t web-1.example.com\t {}\tcomment", key.replace(' ', "\t")),
        format!("# web-1.example.com {key}"),
        format!("#web-1.example.com {key}"),
        String::new(),
        "web-1.example.com".to_owned(),
        format!("@other web-1.example.com {key}"),
        format!("@revoked @cert-authority web-1.example.com {key}"),
        format!("web-1.example.com {key} # remark"),
        format!("web-1.example.com {key}\r"),
        "web-1.example.com # no key".to_owned(),
    ]);
    lines
}

#[test]
fn s3_the_same_lines_are_found_for_a_host_as_ssh_keygen_finds() {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        println!("SKIPPED: ssh-keygen is not installed, so nothing was compared with OpenSSH");
        return;
    }
    let lines = lines();
    assert!(lines.len() >= 40);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known_hosts");
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let known = KnownHosts::load(std::slice::from_ref(&file)).unwrap();

    let hosts = [
        ("web-1.example.com", 22),
        ("web-1.example.com", 2222),
        ("web-2.example.com", 22),
        ("web-3.example.com", 22),
        ("web-10.example.com", 22),
        ("web-1", 22),
        ("198.51.100.7", 22),
        ("198.51.100.3", 2222),
        ("2001:db8::7", 22),
        ("2001:db8::7", 2222),
        ("a", 22),
    ];
    for (host, port) in hosts {
        let lookup = HostId::new(host, port).to_string();
        let output = Command::new("ssh-keygen").arg("-F").arg(&lookup).arg("-f").arg(&file).output().unwrap();
        let theirs: Vec<(usize, Marker)> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("# Host {lookup} found: line ")))
            .map(|found| {
                let (line, marker) = found.split_once(' ').unwrap();
                let marker = match marker {
                    "CA" => Marker::Authority,
                    "REVOKED" => Marker::Revoked,
                    _ => Marker::Host,
                };
                (line.parse().unwrap(), marker)
            })
            .collect();
        assert!(!theirs.is_empty(), "{lookup}: the table should find something: {output:?}", output = output.stderr);
        let ours: Vec<_> = known.covering(&lookup).map(|(entry, place)| (place.line, entry.marker)).collect();
        assert_eq!(ours, theirs, "{lookup}");
    }
}
