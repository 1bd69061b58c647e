//! Every kind of step once on a real host: looked at, shown, done, done again; and a secret that is nowhere.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use longshore::{event::Happening, model::StepOutcome};

use crate::{
    command::{Ran, flat},
    fleet::Fleet,
};

/// A web server that answers everything alike and remembers what it was asked.
struct Web {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(request) = answer(stream) {
                    noted.lock().expect("no panic").push(request);
                }
            }
        });
        Self { port, asked }
    }

    fn asked(&self, beginning: &str) -> Vec<String> {
        self.asked.lock().expect("no panic").iter().filter(|asked| asked.starts_with(beginning)).cloned().collect()
    }
}

/// Reads one request and answers it; `None` where nothing was asked.
fn answer(mut stream: TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).ok()?;
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let said = r#"{"status":"ok","db":{"migration":"20260421"}}"#;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", said.len());
                stream.write_all((head + said).as_bytes()).ok()?;
                return Some(text);
            }
        }
        if read == 0 {
            return None;
        }
    }
}

/// Nothing that is not this test's contains it.
const SECRET: &str = "s9_Zq8vKx7wLm2-of-the-day";

fn playbook(web: &Web, sshd_port: u16, sshd_address: &str, key: &Path, mailbox: &Path) -> String {
    format!(
        r#"hosts = "web-1"
vars = {{ token = {{ secret = {{ env = "TOKEN" }} }}, greeting = "it's $HOME" }}

[[steps]]
name = "Command"
command = {{ run = "echo command >>trace; printf '%s' {{{{token}}}} | wc -c >length; echo token is {{{{token}}}}; sleep 0.5", dir = "{{{{path}}}}", creates = "{{{{path}}}}/length" }}
undo = {{ command = {{ run = "rm -f length", dir = "{{{{path}}}}" }} }}

[[steps]]
name = "Script"
script = {{ file = "files/say.sh", args = ["{{{{greeting}}}}"], dir = "{{{{path}}}}", env = {{ TOKEN = "{{{{token}}}}" }}, creates = "{{{{path}}}}/said" }}
no-undo = "what it said was said"

[[steps]]
name = "File"
file = {{ to = "{{{{path}}}}/app.conf", content = "port = 80\nname = {{{{host.name}}}}\n", mode = "0640" }}

[[steps]]
name = "Template"
file = {{ to = "{{{{path}}}}/secret.conf", template = "files/secret.conf" }}

[[steps]]
name = "Upload"
file = {{ to = "{{{{path}}}}/large.bin", from = "files/large.bin" }}

[[steps]]
name = "Env"
env = {{ file = "{{{{path}}}}/.env", require = ["KEEP"], set = {{ TOKEN = "{{{{token}}}}", TAG = "2" }} }}

[[steps]]
name = "Fetch"
fetch = {{ from = "{{{{path}}}}/seed.bin" }}

[[steps]]
name = "HTTP"
check = {{ http = {{ url = "http://localhost:{port}/health", headers = {{ Authorization = "Bearer {{{{token}}}}" }}, json = {{ status = "ok", "db.migration" = "20260421" }} }} }}

[[steps]]
name = "TCP"
check = {{ tcp = {{ connect = "localhost:{port}" }} }}

[[steps]]
name = "Command check"
check = {{ command = {{ run = "echo '{{\"ready\": true, \"of\": 3}}'", json = {{ ready = true }}, jq = ".of > 2" }} }}

[[steps]]
name = "Disk"
check = {{ disk = {{ path = "{{{{path}}}}/not/there/yet", free = "1KiB" }} }}

[[steps]]
name = "Login"
check = {{ ssh = {{ connect = "{sshd_address}:{sshd_port}", user = "{user}", identity-file = "{key}", contains = "" }} }}

[[steps]]
name = "Wait until"
wait = {{ until = {{ tcp = {{ connect = "localhost:{port}" }} }}, every = "100ms", within = "5s" }}

[[steps]]
name = "Wait"
wait = {{ for = "200ms" }}

[[steps]]
name = "Tell by a command"
notify = {{ message = "{{{{host.name}}}} is done with {{{{token}}}}", command = ["sh", "-c", "cat >'{mailbox}'; echo $LONGSHORE_HOST >>'{mailbox}'"], on-failure = "fail" }}

[[steps]]
name = "Tell by a webhook"
notify = {{ message = "{{{{host.name}}}} is done", webhook = "http://127.0.0.1:{port}/hook", headers = {{ X-Token = "{{{{token}}}}" }}, on-failure = "fail" }}
"#,
        port = web.port,
        user = crate::sshd::user_name(),
        mailbox = mailbox.display(),
        key = key.display(),
    )
}

/// Looks for the secret in every process's arguments and in the host's state, for as long as it lives.
struct Watch {
    over: Arc<AtomicBool>,
    watching: Option<JoinHandle<(usize, Vec<String>)>>,
}

impl Watch {
    fn over(state: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let watching = std::thread::spawn(move || {
            let (mut rounds, mut found) = (0, Vec::new());
            while !ended.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").expect("/proc is there").flatten() {
                    let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
                    if contains(&words) {
                        found.push(format!("argument of a process: {}", String::from_utf8_lossy(&words)));
                    }
                }
                // A program that prints it itself finds that in its own output, for as long as the run lasts.
                found.extend(files_with_secret(&state).into_iter().filter(|file| !file.ends_with("/01-command.1/out")));
                rounds += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            (rounds, found)
        });
        Self { over, watching: Some(watching) }
    }

    /// Returns where the secret was seen.
    fn end(mut self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        let (rounds, mut found) = self.watching.take().expect("ended once").join().expect("the watch does not panic");
        assert!(rounds > 10, "it looked only {rounds} times");
        found.dedup();
        found
    }
}

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// Lists the files below a folder in which the secret stands.
fn files_with_secret(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(files_with_secret(&entry.path()));
        } else if kind.is_file() && fs::read(entry.path()).is_ok_and(|bytes| contains(&bytes)) {
            found.push(format!("file {}", entry.path().display()));
        }
    }
    found
}

/// How each step ended, by name.
fn results(ran: &Ran, host: &str) -> Vec<(String, StepOutcome)> {
    let happened = ran.happened(host);
    let names: Vec<_> = happened
        .iter()
        .filter_map(|what| match what {
            Happening::StepStarted { step, name, .. } => Some((step.clone(), name.clone())),
            _ => None,
        })
        .collect();
    let ends = happened.into_iter().filter_map(|what| match what {
        Happening::StepFinished { step, outcome, .. } => {
            let name = names.iter().find(|(id, _)| *id == step).map(|(_, name)| name.clone());
            Some((name.expect("begun before it ended"), outcome))
        }
        _ => None,
    });
    ends.collect()
}

#[test]
fn every_kind_of_step_works_and_a_secret_is_seen_nowhere() {
    let Some(mut fleet) = Fleet::new() else { return };
    fleet.add("web-1", |sshd| sshd);
    fleet.add("closed", |sshd| sshd.line("AllowTcpForwarding no"));
    fleet.write_inventory("");
    fleet.trust_all();
    let web = Web::start();
    let mailbox = fleet.lab.path("mailbox");
    let home = fleet.host("web-1").home.clone();
    let large: Vec<u8> = (0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    fs::create_dir(fleet.project().join("playbooks/files")).expect("made");
    fs::write(fleet.project().join("playbooks/files/large.bin"), &large).expect("written");
    fleet.write("playbooks/files/secret.conf", "token = {{token}}\n");
    fleet.write("playbooks/files/say.sh", "printf '%s\\n' \"$1\" >said\nprintf %s \"$TOKEN\" | wc -c >>said\n");
    let sshd = &fleet.host("web-1").sshd;
    let text = playbook(&web, sshd.port, &sshd.address, &fleet.lab.path("me"), &mailbox);
    fleet.write("playbooks/all.toml", &text);
    fs::write(home.join(".env"), "# mine\nKEEP=1\nTAG=1 # old\n").expect("written");
    fs::write(home.join("seed.bin"), &large).expect("written");
    fs::write(home.join("app.conf"), "port = 8080\nname = web-1\n").expect("written");
    let with_token = |arguments: &[&'static str]| fleet.longshore(arguments.iter().copied()).env("TOKEN", SECRET);

    // Without its value nothing begins; the plan needs none and has none.
    fleet.longshore(["apply", "all", "--yes"]).run().expect_code(1).says("the secret `token` has no value here");
    let plan = fleet.longshore(["plan", "all", "--steps"]).run().expect_code(0);
    assert!(!plan.out.contains(SECRET) && plan.out.contains("[hidden]"), "{plan}");

    // Looking changes nothing, and shows what would be: the difference, and of secrets none.
    let look = with_token(&["apply", "all", "--check", "--diff"]).run().expect_code(0);
    let shown = flat(&look.out);
    for text in ["-port = 8080", "+port = 80", "would fetch", "would tell: web-1 is done with [hidden]"] {
        assert!(shown.contains(text), "not shown: {text}\n{look}");
    }
    assert!(!look.out.contains(SECRET) && !look.err.contains(SECRET), "{look}");
    assert_eq!(fleet.read("web-1", "app.conf"), "port = 8080\nname = web-1\n");
    assert!(!home.join("trace").exists() && !home.join("large.bin").exists() && !mailbox.exists());
    assert!(web.asked("POST").is_empty());

    // Doing it does each step once, and the secret reaches the programs it is for and nothing else.
    let watch = Watch::over(home.join("state"));
    let ran = with_token(&["--output", "json", "apply", "all", "--yes"]).run();
    let seen = watch.end();
    let ran = ran.expect_code(0);
    assert!(seen.is_empty(), "{seen:#?}");
    let read = |file| fleet.read("web-1", file);
    assert_eq!(read("length").trim(), SECRET.len().to_string());
    assert_eq!(read("said").split_whitespace().collect::<Vec<_>>(), ["it's", "$HOME", &SECRET.len().to_string()]);
    assert_eq!(read("trace"), "command\n");
    assert_eq!(read("app.conf"), "port = 80\nname = web-1\n");
    assert_eq!(read("secret.conf"), format!("token = {SECRET}\n"));
    assert_eq!(mode(&home.join("secret.conf")), 0o600);
    assert_eq!(mode(&home.join("app.conf")), 0o640);
    assert_eq!(read(".env"), format!("# mine\nKEEP=1\nTAG=2 # old\nTOKEN={SECRET}\n"));
    assert!(fs::read(home.join("large.bin")).expect("uploaded") == large);
    let told = fs::read_to_string(&mailbox).expect("told");
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["web-1", "is", "done", "with", "[hidden]", "web-1"]);
    let hooks = web.asked("POST /hook");
    assert!(hooks.len() == 1 && hooks[0].contains("web-1 is done") && hooks[0].contains(SECRET), "{hooks:?}");
    let health = web.asked("GET /health");
    // Looked at once, and made once.
    assert!(health.len() == 2 && health[1].contains(&format!("Bearer {SECRET}")), "{health:?}");
    let fetched = fs::read_dir(fleet.project().join(".longshore/runs")).expect("runs").flatten();
    let fetched: Vec<_> = fetched.map(|run| run.path().join("web-1/seed.bin")).filter(|file| file.exists()).collect();
    assert!(fetched.len() == 1 && fs::read(&fetched[0]).expect("fetched") == large);
    assert_eq!(mode(&fetched[0]), 0o600);

    // No event, no row of the ledger, no page of the history holds it.
    assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{ran}");
    assert!(ran.out.contains("token is [hidden]"), "what the host said is not there: {ran}");
    for arguments in [&["history", "show", "last", "--host", "web-1"][..], &["history", "show", "last"]] {
        let history = fleet.longshore(arguments.iter().copied()).run().expect_code(0);
        assert!(!history.out.contains(SECRET), "{history}");
    }
    assert_eq!(files_with_secret(&fleet.project()), [""; 0]);
    assert_eq!(files_with_secret(&home.join("state")), [""; 0]);

    // Again: what is there is left alone, and only the notices and the fetched file are new.
    let ran = with_token(&["--output", "json", "apply", "all", "--yes"]).run().expect_code(0);
    let changed: Vec<_> = results(&ran, "web-1")
        .into_iter()
        .filter(|(_, outcome)| *outcome == StepOutcome::Changed)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(changed, ["Fetch", "Tell by a command", "Tell by a webhook"], "{ran}");
    assert_eq!(read("trace"), "command\n");
    fleet.assert_released("web-1");

    // The request goes through the host's own connection: a host that forbids that cannot be asked so.
    let one = |url: String| format!("hosts = \"closed\"\n[[check]]\nname = \"Web\"\nhttp = {{ {url} }}\n");
    let address = format!("url = \"http://127.0.0.1:{}/x\"", web.port);
    fleet.write("playbooks/look.toml", &one(address.clone()));
    fleet.longshore(["check", "--playbook", "look"]).run().expect_code(1).says("Web");
    assert!(web.asked("GET /x").is_empty());
    fleet.write("playbooks/look.toml", &one(format!("{address}, from = \"controller\"")));
    fleet.longshore(["check", "--playbook", "look"]).run().expect_code(0).says("pass");
    assert_eq!(web.asked("GET /x").len(), 1);

    // What looking shows to be missing is said; what is bound to fail fails the look as well.
    let alone = |step: &str| format!("hosts = \"web-1\"\n[[steps]]\nname = \"Needs it\"\n{step}\n");
    fleet.write("playbooks/missing.toml", &alone("env = { file = \"{{path}}/.env\", require = [\"MISSING\"] }"));
    fleet.longshore(["apply", "missing", "--check"]).run().expect_code(1).says("missing: MISSING");
    fleet.longshore(["apply", "missing", "--yes"]).run().expect_code(1).says("missing: MISSING");
    fleet.write("playbooks/missing.toml", &alone("check = { command = { run = \"false\" } }"));
    fleet.longshore(["apply", "missing", "--check"]).run().expect_code(1).says("looking at step `Needs it` failed");
    fleet.assert_nothing_runs();
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).expect("it is there").permissions()) & 0o7777
}

#[test]
fn a_last_try_that_the_end_of_the_time_cuts_short_does_not_hide_what_the_one_before_it_saw() {
    let Some(fleet) = Fleet::of(1) else { return };
    fleet.write(
        "playbooks/look.toml",
        r#"
hosts = "all"

[[steps]]
name = "Begin"
command = { run = "touch begun", dir = "{{path}}" }
repeat-safe = true
no-undo = "it does no harm"

[[check]]
name = "It is well"
after-only = true
timeout = "20s"
retry = { every = "1s", for = "3s" }
command = { run = "[ ! -e asked ] || sleep 30; touch asked; echo the disk is full; exit 1", dir = "{{path}}" }
"#,
    );
    let ran = fleet.longshore(["apply", "look", "--yes"]).run();
    assert_ne!(ran.code, Some(0), "{ran}");
    ran.says("the disk is full");
    assert!(fleet.host("web-01").home.join("asked").exists());
}
