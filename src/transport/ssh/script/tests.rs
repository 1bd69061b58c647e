//! The frame, tried on every shell that is here.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use proptest::prelude::*;

use super::*;

/// Every shell on this machine that may be a host's `/bin/sh`.
fn shells() -> Vec<Vec<&'static str>> {
    [vec!["/bin/dash"], vec!["/bin/bash", "--posix"], vec!["/bin/busybox", "sh"], vec!["/bin/ksh"], vec!["/bin/mksh"]]
        .into_iter()
        .filter(|shell| std::path::Path::new(shell[0]).exists())
        .collect()
}

fn run(shell: &[&str], framed: &Framed, sent: &[u8]) -> Output {
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .arg("-c")
        .arg(framed.body)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell starts");
    let mut input = child.stdin.take().expect("a pipe");
    let sent = sent.to_vec();
    let writer = std::thread::spawn(move || {
        // A program need not read its input.
        let _ = input.write_all(&sent);
    });
    let output = child.wait_with_output().expect("the shell ends");
    writer.join().expect("no panic");
    output
}

fn after_mark(framed: &Framed, bytes: &[u8]) -> Vec<u8> {
    let mut noise = Noise::before(&framed.mark);
    let mut text = noise.pass(bytes).into_owned();
    assert!(noise.was_found(), "no mark in {:?}", String::from_utf8_lossy(bytes));
    text.extend(noise.rest());
    text
}

#[test]
fn a_program_never_reads_itself_and_gets_its_own_input_to_the_byte() {
    let input: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    for shell in shells() {
        let framed = frame("cat\necho end >&2", &[], Input::Follows).expect("framed");
        let sent = [framed.head.reveal().as_bytes(), &input].concat();
        let output = run(&shell, &framed, &sent);
        assert!(after_mark(&framed, &output.stdout) == input, "{shell:?} changed the input");
        assert_eq!(after_mark(&framed, &output.stderr), b"end\n", "{shell:?}");

        let framed = frame("cat; echo and on", &[], Input::Empty).expect("framed");
        let output = run(&shell, &framed, framed.head.reveal().as_bytes());
        assert_eq!(after_mark(&framed, &output.stdout), b"and on\n", "{shell:?}");
    }
}

#[test]
fn half_a_program_is_not_run() {
    for shell in shells() {
        for input in [Input::Empty, Input::Follows] {
            let framed = frame("echo one\necho two\n", &[], input).expect("framed");
            let head = framed.head.reveal();
            for cut in [head.len() - 1 - framed.mark.len(), head.find("two").expect("there"), framed.mark.len() + 1] {
                let output = run(&shell, &framed, &head.as_bytes()[..cut]);
                assert_eq!(output.stdout, b"", "{shell:?} {input:?} ran {:?}", &head[..cut]);
                assert_eq!(output.status.code(), Some(125), "{shell:?} {input:?}");
            }
        }
    }
}

#[test]
fn every_byte_of_a_text_arrives_whatever_the_shell_makes_of_it_inside() {
    // Letters whose second byte is one of those that shells use for marks of their own.
    let odd: String = ('\u{80}'..'\u{250}').chain(['\u{1}', '\u{7f}', '\u{fffd}', '🛳']).collect();
    let text = format!("printf '%s' '{odd}' \"a\\\\b\" '  two  spaces ' '\t*'");
    let expected = format!("{odd}a\\b  two  spaces \t*");
    for shell in shells() {
        for input in [Input::Empty, Input::Follows] {
            let framed = frame(&text, &[], input).expect("framed");
            let output = run(&shell, &framed, framed.head.reveal().as_bytes());
            let printed = after_mark(&framed, &output.stdout);
            assert_eq!(String::from_utf8_lossy(&printed), expected, "{shell:?} {input:?}");
        }
    }
}

#[test]
fn status_heredocs_errexit_and_secrets_work_inside_the_frame() {
    let secrets = [("LONGSHORE_SECRET_x".to_owned(), Secret::new("it's\n$HOME `x` \\ 'end'"))];
    let text = "set -e\ncat <<'EOF'\nhere $x\nEOF\nsh -c 'printf %s \"$LONGSHORE_SECRET_x\"'\nfalse\necho never";
    for shell in shells() {
        for input in [Input::Empty, Input::Follows] {
            let framed = frame(text, &secrets, input).expect("framed");
            let output = run(&shell, &framed, framed.head.reveal().as_bytes());
            let printed = after_mark(&framed, &output.stdout);
            let expected = "here $x\nit's\n$HOME `x` \\ 'end'";
            assert_eq!(String::from_utf8_lossy(&printed), expected, "{shell:?} {input:?}");
            assert_eq!(output.status.code(), Some(1), "{shell:?} {input:?}");
            let framed = frame("exit 42", &[], input).expect("framed");
            let output = run(&shell, &framed, framed.head.reveal().as_bytes());
            assert_eq!(output.status.code(), Some(42), "{shell:?} {input:?}");
        }
    }
}

#[test]
fn a_large_program_passes_in_reasonable_time() {
    let line = "# a comment of some fifty characters, more or less\n";
    let text = format!("{}echo done", line.repeat(20_000));
    for shell in shells() {
        let framed = frame(&text, &[], Input::Empty).expect("framed");
        let output = run(&shell, &framed, framed.head.reveal().as_bytes());
        assert_eq!(after_mark(&framed, &output.stdout), b"done\n", "{shell:?}");
    }
}

#[test]
fn the_constant_commands_are_plain_enough_for_any_login_shell() {
    for body in [WHOLE, STREAM] {
        assert!(!body.contains(['\'', '!', '\n', '\0']), "{body}");
        // In fish's single quotes a backslash means something before another and before a quote.
        assert!(!body.contains("\\\\"), "{body}");
    }
}

#[test]
fn what_cannot_be_said_to_a_shell_is_refused() {
    assert!(frame("echo \0", &[], Input::Empty).is_err());
    for name in ["", "1a", "a-b", "a b", "a=b"] {
        assert!(frame("true", &[(name.to_owned(), Secret::new("x"))], Input::Empty).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn noise_is_taken_out_however_the_stream_is_cut(
        noise in "[a-z\n-]{0,40}", output in "[a-z\n-]{0,40}", cuts in prop::collection::vec(1_usize..9, 1..60),
    ) {
        let mark = "longshore-00";
        let stream = format!("{noise}{mark}\n{output}").into_bytes();
        let mut filter = Noise::before(mark);
        let (mut passed, mut rest, mut cuts) = (Vec::new(), stream.as_slice(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            passed.extend_from_slice(&filter.pass(now));
            rest = later;
        }
        prop_assert!(filter.was_found());
        prop_assert_eq!(passed, output.into_bytes());
    }
}
