//! What is the same about an error on two hosts: its words, without what belongs to one host or one moment.

use std::collections::BTreeSet;

use crate::model::{Failure, HostName};

/// Reduces a failure to what another host would say of the same trouble.
///
/// Names of hosts, addresses, numbers, times, and names made at random are taken out. A status or a code stays: a
/// program that ends with 1 and one that is killed with 137 do not have the same trouble.
pub(super) fn fingerprint(failure: &Failure, hosts: &BTreeSet<&HostName>) -> String {
    let mut text = format!("{:?} {} {}", failure.class, failure.message, failure.causes.join(" "));
    if let Some(last) = failure.output.iter().rev().find(|line| line.chars().any(char::is_alphanumeric)) {
        text.push(' ');
        text.push_str(last);
    }
    let mut plain: Vec<String> = Vec::new();
    let mut keeps_number = false;
    for token in text.split(|c: char| c.is_whitespace() || ",;()[]{}<>\"'`=|/@".contains(c)) {
        let token = token.trim_matches([':', '.', '!', '?', '-', '_', '*', '#']);
        if token.is_empty() {
            continue;
        }
        let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
        let word = if keeps_number && is_number { token.to_owned() } else { reduce(token, hosts) };
        keeps_number = ["status", "code", "signal", "http", "errno", "exit"].contains(&token.to_lowercase().as_str());
        // A list of three hosts and one of two, a time with and without its fraction: the same.
        if !(word == PLACE && plain.last().is_some_and(|last| last == PLACE)) {
            plain.push(word);
        }
    }
    plain.join(" ")
}

/// Stands where something of one host or one moment was.
const PLACE: &str = "*";

fn reduce(token: &str, hosts: &BTreeSet<&HostName>) -> String {
    if names_a_host(token, hosts) || is_made_up(token) || is_of_the_calendar(token) {
        return PLACE.to_owned();
    }
    // What begins with a digit is a number with its unit, a time, a date or an address.
    if token.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit()) {
        return PLACE.to_owned();
    }
    if token.contains([':', '.']) {
        // `host:5432`, `file.rs:17`, `[::1]:80`: each part by itself.
        let parts: Vec<String> = token
            .split([':', '.'])
            .filter(|part| !part.is_empty())
            .map(|part| if names_a_host(part, hosts) { PLACE.to_owned() } else { reduce_word(part) })
            .collect();
        return if parts.iter().all(|part| part == PLACE) { PLACE.to_owned() } else { parts.join(".") };
    }
    reduce_word(token)
}

/// Takes the numbers out of a word and leaves its letters: `users_17` and `users_18`, not `users` and `orders`.
fn reduce_word(word: &str) -> String {
    if is_made_up(word) || word.bytes().all(|byte| byte.is_ascii_digit()) {
        return PLACE.to_owned();
    }
    let mut reduced = String::with_capacity(word.len());
    for c in word.chars() {
        if !c.is_ascii_digit() {
            reduced.push(c);
        } else if !reduced.ends_with(PLACE) {
            reduced.push_str(PLACE);
        }
    }
    reduced
}

/// Whether it is the name of a host of the run, short or with its domain.
fn names_a_host(token: &str, hosts: &BTreeSet<&HostName>) -> bool {
    let is_one = |name: &str| hosts.iter().any(|host| host.as_str().eq_ignore_ascii_case(name));
    let first = token.split(['.', ':']).next().unwrap_or_default();
    // Of a host's full name its first label may be all that the host knows itself.
    let short = || hosts.iter().any(|host| host.as_str().split_once('.').is_some_and(|(label, _)| label == first));
    is_one(token) || is_one(first) || short()
}

/// Whether it was drawn and not written: an id, a digest, a temporary name.
fn is_made_up(word: &str) -> bool {
    let word = word.strip_prefix("0x").unwrap_or(word);
    let bare: String = word.chars().filter(|c| *c != '-' && *c != ':').collect();
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    let is_hex = bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && (bare.len() >= 6 && digits > 0 || bare.len() >= 12) {
        return true;
    }
    // ULIDs, container names, `mktemp`: letters and digits mixed, or letters large and small in no order of words.
    let letters = bare.bytes().filter(u8::is_ascii_alphabetic).count();
    if bare.len() >= 20 && digits >= 3 && letters + digits == bare.len() {
        return true;
    }
    word.split_once('.').is_some_and(|(first, rest)| first == "tmp" && rest.len() >= 6)
}

fn is_of_the_calendar(word: &str) -> bool {
    const NAMES: [&str; 22] = [
        "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
        "Oct", "Nov", "Dec", "UTC", "CET", "CEST",
    ];
    NAMES.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureClass;

    fn of(text: &str) -> String {
        let names: Vec<HostName> =
            ["eu-1", "us-20", "berlin", "paris.example.org"].iter().map(|name| name.parse().expect("a name")).collect();
        fingerprint(&Failure::new(FailureClass::Step, "step `migrate` failed").because(text), &names.iter().collect())
    }

    #[test]
    fn the_same_trouble_on_two_hosts_reads_the_same() {
        for (one, other) in [
            ("connection to eu-1 refused", "connection to us-20 refused"),
            ("connection to berlin:5432 refused", "connection to paris:5433 refused"),
            ("cannot reach paris.example.org", "cannot reach berlin"),
            ("cannot reach 198.51.100.7", "cannot reach 10.0.0.12"),
            ("cannot reach [2001:db8::1]:443", "cannot reach 198.51.100.7:443"),
            ("at 2026-11-21T05:02:58.123Z: duplicate key", "at 2025-01-02T23:59:59Z: duplicate key"),
            ("Fri Nov 21 05:02:58 UTC 2026 duplicate key", "Tue Mar  3 17:00:01 CET 2026 duplicate key"),
            ("relation \"tmp_4711\" exists", "relation \"tmp_12\" exists"),
            ("took 1.5s, 300 rows", "took 870ms, 12 rows"),
            ("run 01JD3Q8Z5V6W7X8Y9ZABCDEFGH failed", "run 01JD3Q9A0B1C2D3E4F5G6H7J8K failed"),
            ("image sha256:9f86d081884c7d659a2feaa0 missing", "image sha256:60303ae22b998861bce3b28f missing"),
            ("container 3f2a9c81 exited", "container deadbeef12 exited"),
            ("id 123e4567-e89b-12d3-a456-426614174000", "id 00112233-4455-6677-8899-aabbccddeeff"),
            ("cannot write /tmp/tmp.XyZaBcQw/dump", "cannot write /tmp/tmp.qWeRtYuI/dump"),
            ("/srv/app/releases/20261121/run.sh: not found", "/srv/app/releases/20251003/run.sh: not found"),
            ("deploy@eu-1: permission denied", "deploy@berlin: permission denied"),
            ("pid 4242 was killed after 3 attempts", "pid 17 was killed after 5 attempts"),
        ] {
            assert_eq!(of(one), of(other), "{one:?} / {other:?}");
        }
    }

    #[test]
    fn different_troubles_stay_different() {
        for (one, other) in [
            ("relation \"users\" exists", "relation \"orders\" exists"),
            ("no space left on device", "permission denied"),
            ("`psql` ended with status 1", "`psql` ended with status 3"),
            ("`psql` ended with status 1", "`pg_dump` ended with status 1"),
            ("expected 200, got HTTP 503", "expected 200, got HTTP 404"),
            ("cannot write /var/lib/app/data", "cannot write /var/lib/app/cache"),
            ("column a is missing", "column b is missing"),
            ("wanted arm builds, found none", "wanted mips builds, found none"),
        ] {
            assert_ne!(of(one), of(other), "{one:?} / {other:?}");
        }
    }

    #[test]
    fn the_last_line_that_says_something_counts_and_the_class_does() {
        let hosts = BTreeSet::new();
        let failure = |class, lines: &[&str]| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            fingerprint(&Failure::new(class, "step failed").output(lines), &hosts)
        };
        let step = FailureClass::Step;
        assert_eq!(failure(step, &["a", "b", ""]), failure(step, &["c", "b", "---"]));
        assert_ne!(failure(step, &["a", "b"]), failure(step, &["a", "c"]));
        assert_ne!(failure(step, &["a"]), failure(FailureClass::TimedOut, &["a"]));
    }
}
