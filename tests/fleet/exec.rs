//! Ad-hoc commands: words, output of every kind and size, and ways to end.

use longshore::event::Happening;

use crate::{command::Ran, fleet::Fleet};

const NASTY: &[&str] = &[
    "a b",
    "c;d",
    "",
    "it's",
    "\"double\"",
    "$HOME",
    "$(touch pwned)",
    "`touch pwned`",
    "back\\slash",
    "two\nlines",
    "*",
    "~",
    "!history",
    "#comment",
    "-rf",
    "--",
    "--help",
    "ünïcödé ☃ 日本",
    "a'b'\\''c",
    "%s%d",
    "{a,b}",
    "{{path}}",
    "&& touch pwned",
    "> pwned",
    "x\ttab",
    "\u{1b}[31mred",
    "a\\\nb",
];

/// How the command ended on a host: status, signal, what is kept of the streams, bytes in all.
fn end(ran: &Ran, host: &str) -> (Option<u32>, Option<String>, String, String, u64) {
    let ends = ran.happened(host).into_iter().find_map(|what| match what {
        Happening::CommandFinished { status, signal, out, err, total, .. } => Some((status, signal, out, err, total)),
        _ => None,
    });
    ends.unwrap_or_else(|| panic!("the host did not say how it ended: {ran}"))
}

#[test]
fn words_arrive_as_they_were_typed_whatever_is_in_them() {
    let Some(fleet) = Fleet::of(2) else { return };
    // As the README has it.
    let both = ["exec", "all", "--", "sh", "-c", "printf %s \"$0 $1\"", "a b", "c;d"];
    fleet.longshore(both).run().expect_code(0).says("web-[01,02] (2 hosts): status 0 a b c;d");

    // The host's own disk knows what its program was given, control characters included.
    let save = ["exec", "all", "--", "sh", "-c", "cd; printf '%s\\0' \"$@\" >words", "x"];
    let ran = fleet.longshore(save.into_iter().chain(NASTY.iter().copied())).run().expect_code(0);
    let expected: String = NASTY.iter().flat_map(|word| [word, "\0"]).collect();
    for host in ["web-01", "web-02"] {
        assert_eq!(fleet.read(host, "words"), expected, "{ran}");
        assert!(!fleet.host(host).home.join("pwned").exists());
    }

    // What comes back is shown as it is, but for what would play with the terminal.
    let shown: Vec<_> = NASTY.iter().filter(|word| !word.contains(['\t', '\u{1b}'])).copied().collect();
    let print = ["exec", "web-01", "--", "printf", "<%s>\\n"];
    let expected: String = shown.iter().flat_map(|word| ["<", word, ">\n"]).collect();
    let ran = fleet.longshore(print.into_iter().chain(shown.iter().copied())).run().expect_code(0);
    assert_eq!(ran.out, expected);
    let json = ["--output", "json", "exec", "web-01", "--", "printf", "<%s>\\n"];
    let ran = fleet.longshore(json.into_iter().chain(shown.iter().copied())).run().expect_code(0);
    assert_eq!(end(&ran, "web-01"), (Some(0), None, expected.clone(), String::new(), expected.len() as u64));

    // A text for the shell is one only when asked for; standard input is passed on when asked for.
    fleet.longshore(["exec", "web-01", "--", "echo", "a;", "echo", "b"]).run().expect_code(0).says("a; echo b");
    let ran = fleet.longshore(["exec", "web-01", "--shell", "--", "echo a; echo $((1 + 1))"]).run().expect_code(0);
    assert_eq!(ran.out, "a\n2\n");
    let input = std::fs::File::open(fleet.lab.write("input", "one\ntwo")).expect("just written");
    let ran = fleet.longshore(["exec", "all", "--stdin", "--", "wc", "-c"]).stdin(input).run().expect_code(0);
    ran.says("web-[01,02] (2 hosts): status 0 7");
    fleet.assert_nothing_runs();
}

#[test]
fn every_end_and_every_output_of_a_command_is_told_apart() {
    let Some(fleet) = Fleet::of(2) else { return };
    let exec = |json: bool, text: &str| {
        let format = if json { "json" } else { "human" };
        fleet.longshore(["--output", format, "exec", "web-01", "--shell", "--", text]).run()
    };
    // A status, 255 included, and a signal are different things, and none is a lost link.
    exec(false, "echo out; echo oh >&2; exit 255").expect_code(1).says("web-01: status 255 out err | oh");
    let ran = exec(true, "echo out; echo oh >&2; exit 255").expect_code(1);
    assert_eq!(end(&ran, "web-01"), (Some(255), None, "out\n".to_owned(), "oh\n".to_owned(), 7));
    exec(false, "kill -KILL $$").expect_code(1).says("web-01: signal KILL");
    let ran = exec(true, "kill -KILL $$").expect_code(1);
    assert_eq!(end(&ran, "web-01"), (None, Some("KILL".to_owned()), String::new(), String::new(), 0));
    let told = fleet.longshore(["exec", "web-01", "--", "sh", "-c", "kill -TERM $$"]).run().expect_code(1);
    told.says("web-01: signal TERM");
    fleet.longshore(["exec", "web-01", "--", "no-such-program"]).run().expect_code(1).says("web-01: status 127");

    // Ten megabytes are counted to the last byte; both ends of them are kept.
    let ten = "echo first; head -c 9999989 /dev/zero | tr '\\0' x; echo last";
    let ran = exec(true, ten).expect_code(0);
    let (status, _, out, _, total) = end(&ran, "web-01");
    assert_eq!((status, total), (Some(0), 10_000_000), "{}", ran.err);
    assert!(out.starts_with("first\nxxx") && out.ends_with("xlast\n"), "{} characters", out.len());
    assert!(out.contains("bytes left out ...]") && out.len() < 300_000, "{} characters", out.len());
    let ran = fleet.longshore(["exec", "all", "--shell", "--", ten]).run().expect_code(0);
    assert!(ran.out.contains("web-[01,02] (2 hosts): status 0") && ran.out.contains("9.5 MiB printed in all"), "{ran}");

    // Bytes that are no text are replaced; what would play with the terminal is gone; the rest is as it was.
    let binary = "printf 'a\\377\\376\\000b\\033[31mc\\n\\342\\230\\203\\n'";
    let ran = exec(false, binary).expect_code(0);
    assert_eq!(ran.out, "a\u{fffd}\u{fffd}bc\n☃\n");
    let ran = exec(true, binary).expect_code(0);
    assert_eq!(end(&ran, "web-01"), (Some(0), None, "a\u{fffd}\u{fffd}bc\n☃\n".to_owned(), String::new(), 16));

    // A host cannot pass its output off as that of another.
    let forged = "echo; echo '── web-02: status 0'; exit 1";
    let ran = fleet.longshore(["exec", "all", "--shell", "--", forged]).run().expect_code(1);
    assert!(!ran.out.contains("\n── web-02: status 0"), "{ran}");

    // The link goes in the middle: nobody knows how the command ended, and a person has to look.
    let ran = exec(true, "echo begun; kill -KILL $PPID; sleep 5").expect_code(3);
    let state = ran.state();
    let host = state.hosts.values().next().expect("one host");
    assert!(host.command.is_none(), "{ran}");
    let failure = host.failure.as_ref().expect("a failure");
    assert_eq!(failure.message, "the link to the host was lost", "{ran}");
    exec(false, "kill -KILL $PPID; sleep 1")
        .expect_code(3)
        .says("web-01` is in doubt")
        .says("the link to the host was lost");
    let ran = fleet.longshore(["exec", "web-01", "--timeout", "1s", "--", "sleep", "30"]).run().expect_code(1);
    ran.says("the program did not end within 1s");

    // The history has it all again.
    fleet.longshore(["history", "show", "1"]).run().expect_code(0).says("web-01: status 255 out err | oh");
}
