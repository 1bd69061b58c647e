//! What means harm, from the command line down to the hosts' disks: secrets that want out, output that wants to
//! be obeyed, links laid in the way, hosts that lie, names that are no names.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use longshore::model::HostOutcome;

use crate::{
    command::Ran,
    fleet::{Fleet, Host},
    sshd::is_root,
};

/// It has what URLs, shells and JSON write in another way, and nothing that is not this test's contains it.
const SECRET: &str = "s9/Zq8v+Kx7wLm2 \"of\" the&day";

/// Every spelling of it that a program may print.
fn spellings() -> Vec<String> {
    let mut all = vec![SECRET.to_owned()];
    for space in ["%20", "+"] {
        for is_upper in [true, false] {
            let spelt = SECRET.bytes().map(|byte| match byte {
                b' ' => space.to_owned(),
                _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                _ if is_upper => format!("%{byte:02X}"),
                _ => format!("%{byte:02x}"),
            });
            all.push(spelt.collect());
        }
    }
    all.push(SECRET.replace('"', "\\\""));
    for before in ["", "u:", "x"] {
        let mut encoder = Command::new("base64")
            .arg("-w0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("base64 works");
        encoder
            .stdin
            .take()
            .expect("base64 works")
            .write_all(format!("{before}{SECRET}").as_bytes())
            .expect("base64 works");
        let text = String::from_utf8(encoder.wait_with_output().expect("base64 works").stdout).expect("base64 works");
        all.push(text.replace('+', "-").replace('/', "_"));
        all.push(text);
    }
    all
}

/// What gives the secret away, in whichever spelling: pieces that each spelling has and nothing else.
fn gives_away(text: &str) -> Option<&'static str> {
    // The middles of the base64 spellings are those of the three places in which a group may begin.
    ["Zq8v", "Kx7wLm2", "eDd3TG0yICJv", "K0t4N3dMbTIg", "S3g3d0xtMiAi"].into_iter().find(|piece| text.contains(piece))
}

/// All text below a folder, by file.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(texts(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    found
}

#[test]
fn s9_a_secret_is_in_no_sink_however_it_is_spelt_and_wherever_it_is_cut() {
    let Some(fleet) = Fleet::of(1) else { return };
    let home = fleet.host("web-01").home.clone();
    let lines = spellings();
    // The pieces that are looked for are in what is printed: a search that finds nothing must be able to find.
    let unseen: Vec<_> = lines.iter().filter(|line| gives_away(line).is_none()).collect();
    assert!(unseen.is_empty(), "no piece of {unseen:?} is looked for");
    let mut said = String::new();
    for line in &lines {
        said += &format!("login with {line} now\n");
    }
    fs::write(home.join("said"), &said).unwrap();
    // At every border of a read or a block that there may be, with a piece of the secret on either side.
    let mut long = String::new();
    for border in [1024_usize, 4096, 8192, 16384, 32768, 65536, 131_072] {
        let fill = border - 11 - long.len();
        long += &("x".repeat(fill - 1) + "\n");
        long += SECRET;
        long += "\n";
    }
    fs::write(home.join("long"), &long).unwrap();
    fleet.write(
        "playbooks/leaky.toml",
        r#"hosts = "all"
vars = { token = { secret = { env = "TOKEN" } } }

[[steps]]
name = "Says it all"
command = { run = "cat said; cat said >&2; cat long; cat long >&2", dir = "{{path}}" }
no-undo = "said is said"

[[steps]]
name = "Says it slowly"
command = { run = "t={{token}}; while [ -n \"$t\" ]; do printf %s \"${t%\"${t#?}\"}\"; t=${t#?}; sleep 0.02; done; echo", dir = "{{path}}" }
no-undo = "said is said"

[[steps]]
name = "Writes it"
file = { to = "{{path}}/app.conf", content = "token = {{token}}\n" }

[[steps]]
name = "Fails with it"
command = { run = "cat said >&2; echo no: {{token}} >&2; exit 3", dir = "{{path}}" }
no-undo = "said is said"

[[check]]
name = "Looks at it"
command = { run = "cat said; echo {{token}}; exit 0", dir = "{{path}}", contains = "login" }
"#,
    );
    let call = |words: &[&str]| fleet.longshore(words.iter().copied()).env("TOKEN", SECRET);
    let (over, watch) = watch_arguments();
    let mut shown: Vec<(String, String)> = Vec::new();
    let kept = fleet.project().join("plan.json").display().to_string();
    let mut run = |words: &[&str]| {
        let ran = call(words).run();
        shown.push((format!("standard output of {words:?}"), ran.out.clone()));
        shown.push((format!("standard error of {words:?}"), ran.err.clone()));
        ran
    };
    run(&["plan", "leaky", "--steps", "-o", &kept]).expect_code(0);
    run(&["apply", "leaky", "--check", "--diff"]);
    run(&["apply", "leaky", "--yes"]).expect_code(1).says("[hidden]");
    run(&["-v", "--output", "json", "apply", "leaky", "--yes"]).expect_code(1);
    run(&["check", "--playbook", "leaky"]).expect_code(0);
    for words in [
        &["history", "show", "last"][..],
        &["history", "show", "last", "--host", "web-01"],
        &["--output", "json", "history", "show", "2"],
        &["status", "2"],
        &["history"],
        &["hosts"],
    ] {
        run(words);
    }
    run(&["retry", "2", "--failed"]).expect_code(1);
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let arguments = watch.join().expect("the watch does not panic");

    let allowed = [home.join("said"), home.join("long"), home.join("app.conf")];
    let allowed: Vec<_> = allowed.iter().map(|path| path.display().to_string()).collect();
    shown.extend(texts(&fleet.project()));
    shown.extend(texts(&home).into_iter().filter(|(path, _)| !allowed.contains(path)));
    shown.extend(arguments.into_iter().map(|words| ("arguments of a process".to_owned(), words)));
    let found: Vec<_> = shown
        .iter()
        .filter_map(|(place, text)| {
            let piece = gives_away(text)?;
            let line = text.lines().find(|line| line.contains(piece))?;
            Some(format!("{place}: {}", line.chars().take(300).collect::<String>()))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(shown.iter().any(|(_, text)| text.contains("login with [hidden] now")), "nothing was said at all");
}

/// Collects arguments that give the secret away, for as long as it is let.
fn watch_arguments() -> (std::sync::Arc<std::sync::atomic::AtomicBool>, std::thread::JoinHandle<Vec<String>>) {
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = std::sync::Arc::clone(&over);
    let watch = std::thread::spawn(move || {
        let mut found = Vec::new();
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            for process in fs::read_dir("/proc").expect("/proc is there").flatten() {
                let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
                let words = String::from_utf8_lossy(&words).replace('\0', " ");
                if gives_away(&words).is_some() {
                    found.push(words);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        found
    });
    (over, watch)
}

#[test]
fn s9_a_crash_leaves_no_image_of_the_memory() {
    let Some(fleet) = Fleet::of(1) else { return };
    fleet.write(
        "playbooks/slow.toml",
        "hosts = \"all\"\n[[steps]]\nname = \"Wait\"\ncommand = \"sleep 2\"\nno-undo = \"none\"\n",
    );
    let running = fleet.longshore(["apply", "slow", "--yes"]).start();
    let limits = || fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap_or_default();
    let core = || limits().lines().find(|line| line.starts_with("Max core file size")).map(str::to_owned);
    let until = Instant::now() + Duration::from_secs(10);
    while core().is_none_or(|line| line.split_whitespace().nth(4) != Some("0")) {
        assert!(Instant::now() < until, "{:?}", core());
        std::thread::sleep(Duration::from_millis(5));
    }
    running.finish().expect_code(0);
}

/// What a terminal, or the eye, would obey, and lines that want to be ours.
fn corpus() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
        "\x1b]52;c;ZXZpbA==\x07",
        "\x1b]52;c;?\x1b\\",
        "\x1bP$q\"p\x1b\\",
        "\x1b_apc\x1b\\",
        "\x1b^pm\x1b\\",
        "\x1bXsos\x1b\\",
        "\x1bc",
        "\x1b[?1049h",
        "\x1b[6n",
        "\x1b[5i",
        "\x1b#8",
        "\x1b(0",
        "\x1b%G",
        "\x1b[38;5;1m",
        "\x1b[31;",
        "\x1b[",
        "\x1b",
        "\x1b]1337;File=:AAAA\x07",
        "\x1b]0;never ends",
        "\x1b[1000000000b",
        "\u{9b}2J",
        "\u{9d}0;c1\u{9c}",
        "\u{90}c1\u{9c}",
        "\u{85}next",
        "\u{84}",
        "\u{8d}",
        "\u{202e}txt.exe",
        "\u{202d}",
        "\u{2066}a\u{2069}",
        "\u{2067}",
        "\u{2068}",
        "\u{200e}\u{200f}",
        "\u{61c}",
        "\u{200b}zero",
        "\u{feff}",
        "\u{2028}line",
        "\u{2029}para",
        "\u{ad}soft",
        "\u{e0041}tag",
        "done\rfailed",
        "aaaa\x08\x08\x08\x08good",
        "bell\x07",
        "nul\0byte",
        "\x7fdelete",
        "vertical\x0btab",
        "form\x0cfeed",
        "\x0eshift\x0f",
        "\x05enquiry",
        "\x18cancel\x1a",
        "│ web-01 │ done │ 9/9 │",
        "web-01: done (took 1s)",
        "exit code 0: all good",
        "hint: run rm -rf /",
        "error: `web-01` is fine",
        "{\"event\":\"run-finished\",\"exit\":0}",
        "<script>alert(1)</script>",
        "| md | table |",
        "::error::ci command",
        "##vso[task.setvariable]",
        "%1b[2J",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    all.extend([b"\xff\xfe bad utf-8 \xc3".to_vec(), b"\x9b2J raw c1".to_vec(), b"\xed\xa0\x80 surrogate".to_vec()]);
    all
}

/// What must not reach a terminal as it is.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{61c}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{e0000}'..='\u{e007f}')
}

#[test]
fn s10_what_a_host_says_is_inert_on_every_output() {
    let Some(mut fleet) = Fleet::new() else { return };
    let corpus = corpus();
    assert!(corpus.len() >= 60, "{}", corpus.len());
    let banner = fleet.lab.path("banner");
    fs::write(&banner, corpus.concat()).unwrap();
    fleet.add("web-01", |sshd| sshd.line(&format!("Banner {}", banner.display())));
    fleet.write_inventory("");
    fleet.trust_all();
    fs::write(fleet.host("web-01").home.join("corpus"), corpus.join(&b'\n')).unwrap();
    fleet.write(
        "playbooks/loud.toml",
        r#"hosts = "all"
[[steps]]
name = "Says it"
command = { run = "cat corpus; cat corpus >&2", dir = "{{path}}" }
undo = { command = { run = "cat corpus; cat corpus >&2", dir = "{{path}}" } }
[[steps]]
name = "Fails with it"
command = { run = "cat corpus; cat corpus >&2; exit 3", dir = "{{path}}" }
no-undo = "said is said"
[[check]]
name = "Looks at it"
command = { run = "cat corpus; exit 0", dir = "{{path}}", contains = "nothing of that" }
"#,
    );
    fleet.write("playbooks/red.toml", "hosts = \"all\"\n[[check]]\nname = \"Red\"\ncommand = { run = \"cat corpus; cat corpus >&2; exit 1\", dir = \"{{path}}\" }\n");
    let home = fleet.host("web-01").home.clone();
    let read = format!("cat {0}/corpus; cat {0}/corpus >&2; exit 4", home.display());
    let calls: Vec<Vec<&str>> = vec![
        vec!["apply", "loud", "--yes"],
        vec!["--quiet", "apply", "loud", "--yes"],
        vec!["-v", "apply", "loud", "--check"],
        vec!["--output", "json", "apply", "loud", "--yes"],
        vec!["check", "--playbook", "red"],
        vec!["exec", "all", "--", "sh", "-c", &read],
        vec!["--output", "json", "exec", "all", "--", "sh", "-c", &read],
        vec!["history", "show", "1", "--host", "web-01"],
        vec!["history", "show", "1"],
        vec!["--output", "json", "history", "show", "1"],
        vec!["history"],
        vec!["status", "1"],
        vec!["--color", "always", "apply", "loud", "--yes"],
    ];
    let mut has_said = false;
    for words in calls {
        let ran = fleet.longshore(words.iter().copied()).run();
        has_said |= ran.out.contains("bad utf-8");
        for (name, text) in [("out", &ran.out), ("err", &ran.err)] {
            // Our own colours, where they were asked for, are these and no others.
            let text = if words.contains(&"always") { without_colours(text) } else { text.clone() };
            let bad: Vec<_> = text.lines().filter(|line| line.chars().any(is_obeyed)).take(5).collect();
            assert!(bad.is_empty(), "{words:?}, {name}: {bad:?}");
        }
        if !words.contains(&"json") {
            forges_nothing(&ran, &words);
        }
    }
    assert!(has_said, "the host was not heard at all");
}

fn without_colours(text: &str) -> String {
    let mut left = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        left += before;
        let end = after.find(|c: char| !(c.is_ascii_digit() || c == ';')).unwrap_or(after.len());
        let is_colour = after[end..].starts_with('m');
        if !is_colour {
            left += "\x1b[";
        }
        rest = if is_colour { &after[end + 1..] } else { after };
    }
    left + rest
}

/// Asserts that no line which the host wrote stands where a line of ours would.
fn forges_nothing(ran: &Ran, words: &[&str]) {
    for line in ran.out.lines().chain(ran.err.lines()) {
        for forged in [
            "│ web-01 │ done │ 9/9",
            "web-01: done (took 1s)",
            "exit code 0: all good",
            "hint: run rm",
            "error: `web-01` is fine",
        ] {
            // What `exec` prints for one host is that host's output, as it is.
            assert!(!line.starts_with(forged) || words.contains(&"exec"), "{words:?}: {line}");
        }
    }
}

/// Lays links at paths for as long as it lives, as a user that owns nothing there.
struct Racer(Child);

impl Racer {
    fn laying(links: &[(&Path, &Path)]) -> Self {
        let mut script = String::from("while :; do\n");
        for (to, at) in links {
            script += &format!("ln -sfn '{}' '{}' 2>/dev/null\n", to.display(), at.display());
        }
        script += "done";
        let racer = Command::new("/bin/sh").args(["-c", &script]).uid(65_534).gid(65_534).spawn().expect("a racer");
        Self(racer)
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn s12_links_laid_by_others_in_a_folder_open_to_all_lead_nowhere() {
    if !is_root() {
        return;
    }
    let Some(fleet) = Fleet::of(1) else { return };
    let home = fleet.host("web-01").home.clone();
    let precious = fleet.lab.path("precious");
    fs::write(&precious, "root's own\n").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o600)).unwrap();
    let open = home.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    let at = |name: &str| open.join(name);
    fs::write(fleet.project().join("playbooks/large.bin"), vec![b'x'; 300_000]).unwrap();
    fleet.write(
        "playbooks/open.toml",
        "hosts = \"all\"\n[rollout.budget]\nfailed = 9\n[[steps]]\nname = \"File\"\nfile = { to = \"{{path}}/open/app.conf\", content = \"ours\\n\" }\n\
         [[steps]]\nname = \"Upload\"\nfile = { to = \"{{path}}/open/large\", from = \"large.bin\" }\n\
         [[steps]]\nname = \"Env\"\nenv = { file = \"{{path}}/open/.env\", create = true, set = { A = \"1\" } }\n",
    );
    // The names that are written to and, as a step makes them, those beside them.
    let temporary = |name: &str| {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(at(name).display().to_string().as_bytes());
        let number = digest[..6].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        at(&format!(".longshore-{number:012x}.new"))
    };
    let names = ["app.conf", "large", ".env"];
    let mut links: Vec<_> = names.iter().map(|name| at(name)).collect();
    links.extend(names.iter().map(|name| temporary(name)));
    let untouched = || {
        let meta = fs::symlink_metadata(&precious).expect("it is there");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "root's own\n");
        assert_eq!((meta.permissions().mode() & 0o7777, meta.uid()), (0o600, 0));
    };
    for round in 0..4 {
        for path in &links {
            let _ = fs::remove_file(path);
        }
        let pairs: Vec<_> = links.iter().map(|link| (precious.as_path(), link.as_path())).collect();
        if round == 0 {
            // They lie there already, and nobody moves.
            for path in &links {
                std::os::unix::fs::symlink(&precious, path).unwrap();
                std::os::unix::fs::lchown(path, Some(65_534), Some(65_534)).unwrap();
            }
        }
        let racer = (round > 0).then(|| Racer::laying(&pairs));
        let ran = fleet.longshore(["apply", "open", "--yes"]).run();
        drop(racer);
        assert!(matches!(ran.code, Some(0 | 1 | 3 | 5)), "{ran}");
        untouched();
    }
}

#[test]
fn s12_a_state_folder_that_another_made_or_that_is_a_link_is_not_used() {
    if !is_root() {
        return;
    }
    let Some(mut fleet) = Fleet::new() else { return };
    let host = fleet.add("web-01", |sshd| sshd);
    let home = host.home.clone();
    host.lines = format!("state-dir = \"{}/state\"", home.display());
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write(
        "playbooks/one.toml",
        "hosts = \"all\"\n[[steps]]\nname = \"Once\"\ncommand = { run = \"echo ran >>trace\", dir = \"{{path}}\" }\nno-undo = \"none\"\n",
    );
    let elsewhere = fleet.lab.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let state = home.join("state");
    std::os::unix::fs::symlink(&elsewhere, &state).unwrap();
    let ran = fleet.longshore(["apply", "one", "--yes"]).run().expect_code(6);
    let ran = ran.says("is a symbolic link");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{ran}");
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65_534), Some(65_534)).unwrap();
    let ran = fleet.longshore(["apply", "one", "--yes"]).run().expect_code(6).says("belongs to another user");
    assert!(fs::read_dir(&state).unwrap().count() == 0 && fleet.read("web-01", "trace").is_empty(), "{ran}");
}

#[test]
fn s17_names_that_are_no_names_are_refused_before_anything_is_contacted() {
    let Some(fleet) = Fleet::of(1) else { return };
    let long = "a".repeat(300);
    for bad in [
        "a\u{202e}b",
        "a\\nb",
        "..",
        "../up",
        "a/b",
        "-oProxyCommand=id",
        "--upload-pack=id",
        "a b",
        "$(id)",
        "`id`",
        "",
        "a\\u0000b",
        "ho\u{200b}st",
        "h\u{43e}st",
        "all",
        &long,
    ] {
        fleet.write("inventory/bad.toml", &format!("[hosts.\"{bad}\"]\naddress = \"127.0.0.1\"\n"));
        let ran = fleet.longshore(["lint"]).run().expect_code(2);
        assert!(ran.out.contains("inventory/bad.toml"), "{bad:?}: {ran}");
        assert!(!ran.err.chars().chain(ran.out.chars()).any(is_obeyed), "{bad:?}: {ran}");
        fleet.longshore(["exec", "all", "--", "true"]).run().expect_code(2);
    }
    for (key, bad) in [
        ("address", "-oProxyCommand=touch pwned"),
        ("user", "-oProxyCommand=id"),
        ("user", "a b"),
        ("address", "a\u{202e}b"),
        ("jump", "-oProxyCommand=id"),
        ("address", "a\\nb"),
        ("host-key-alias", "a\\nb"),
    ] {
        let address = if key == "address" { "" } else { "address = \"127.0.0.1\"\n" };
        fleet.write("inventory/bad.toml", &format!("[hosts.bad]\n{address}{key} = \"{bad}\"\n"));
        let ran = fleet.longshore(["lint"]).run();
        assert_eq!(ran.code, Some(2), "{key} = {bad:?}: {ran}");
    }
    assert!(!fleet.project().join("pwned").exists());
    fs::remove_file(fleet.project().join("inventory/bad.toml")).unwrap();
    fleet.longshore(["lint"]).run().expect_code(0);
}

/// Answers every request with one version, whatever is done on the hosts.
fn web(version: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = format!("{{\"version\":\"{version}\"}}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    port
}

#[test]
fn s18_a_host_that_says_done_and_did_nothing_is_found_out_from_outside() {
    let Some(fleet) = Fleet::of(1) else { return };
    let Host { home, .. } = fleet.host("web-01");
    fs::write(home.join("version"), "1\n").unwrap();
    let playbook = |port: u16| {
        format!(
            "hosts = \"all\"\n[[steps]]\nname = \"Switch\"\ncommand = {{ run = \"echo switched\", dir = \"{{{{path}}}}\" }}\n\
             undo = {{ command = {{ run = \"echo back >>trace\", dir = \"{{{{path}}}}\" }} }}\n\
             [[check]]\nname = \"It runs the new one\"\nafter-only = true\n\
             http = {{ url = \"http://127.0.0.1:{port}/\", json = {{ version = \"2\" }}, from = \"controller\" }}\n"
        )
    };
    for (version, code, outcome) in [("2", 0, HostOutcome::Done), ("1", 1, HostOutcome::Undone)] {
        fleet.write("playbooks/up.toml", &playbook(web(version)));
        let ran = fleet.longshore(["--output", "json", "apply", "up", "--yes"]).run().expect_code(code);
        let outcomes: Vec<_> = ran.state().hosts.values().map(|host| host.outcome).collect();
        assert_eq!(outcomes, [Some(outcome)], "{ran}");
    }
    assert_eq!(fleet.read("web-01", "trace"), "back\n");
}
