//! Files that others write: `known_hosts`, `ssh_config`, saved plans, stored events.

use std::{fs, path::PathBuf, sync::LazyLock};

use longshore::{
    event::{Event, Happening, RunState},
    model::{HostName, RunNumber},
    plan::Plan,
    report::{self, Detail, Page},
    transport::ssh::{
        config::{Overrides, Proxy, Resolver, ResolverOptions},
        known_hosts::{HostId, KeyVerdict, KnownHosts},
    },
};
use russh::keys::PublicKey;
use tempfile::TempDir;

/// The file the bytes are put into: of this process, for the parsers read files.
struct Slip {
    folder: TempDir,
}

impl Slip {
    fn with(name: &str, data: &[u8]) -> PathBuf {
        static SLIP: LazyLock<Slip> = LazyLock::new(|| Slip { folder: TempDir::new().expect("a folder") });
        // Tests run as threads of one process.
        let file = SLIP.folder.path().join(format!("{name}-{:?}", std::thread::current().id()));
        fs::write(&file, data).expect("a file");
        file
    }
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// No file makes a key known that it does not contain, and no line stops the reading of others.
pub fn known_hosts(data: &[u8]) {
    static KEYS: LazyLock<PublicKey> = LazyLock::new(|| KEY.parse().expect("a key"));
    let known = KnownHosts::load(&[Slip::with("known_hosts", data)]).expect("a small file can be read");
    assert!(known.warnings().len() <= 101, "warnings are bounded");
    let contains_key = data.windows(40).any(|window| KEY.as_bytes()[20..60] == *window);
    for host in [HostId::new("web-1.example.org", 22), HostId::new("127.0.0.1", 2222), HostId::alias("web")] {
        let verdict = known.judge(&host, &KEYS);
        assert!(contains_key || !matches!(verdict, KeyVerdict::Known { .. }), "{verdict:?}");
        let _ = known.known_algorithms(&host);
        let _ = known.has_authority_for(&host);
    }
    let mut more = b"web-1.example.org ".to_vec();
    more.extend_from_slice(KEY.as_bytes());
    more.push(b'\n');
    more.extend_from_slice(data);
    let known = KnownHosts::load(&[Slip::with("known_hosts", &more)]).expect("a small file can be read");
    let verdict = known.judge(&HostId::new("web-1.example.org", 22), &KEYS);
    assert!(matches!(verdict, KeyVerdict::Known { .. } | KeyVerdict::Revoked { .. }), "{verdict:?}");
}

/// Whatever a configuration says: resolving ends, and nothing in the result is an option or a command line
/// in disguise.
pub fn ssh_config(data: &[u8]) {
    // The files that a fuzzer would include are those of this machine.
    if data.to_ascii_lowercase().windows(7).any(|word| word == b"include") {
        return;
    }
    let options = ResolverOptions {
        files: vec![Slip::with("config", data)],
        home: PathBuf::from("/nonexistent"),
        local_user: "deploy".to_owned(),
        local_host: "controller".to_owned(),
        allow_exec: false,
    };
    let resolver = Resolver::load_with(options, |name| (name == "HOME").then(|| "/nonexistent".to_owned()));
    for problem in resolver.problems() {
        let _ = problem.to_string();
    }
    for alias in ["web-1", "db.example.org", "*"] {
        let resolved = resolver.resolve(alias, &Overrides::default());
        assert!(!resolved.host_name.starts_with('-') || resolved.refused.is_some(), "{resolved:?}");
        // A user may be called anything, but not on the line of a command.
        let is_in_command = matches!(&resolved.proxy, Proxy::Command(line) if line.contains(&resolved.user));
        assert!(!(resolved.user.starts_with('-') && is_in_command) || resolved.refused.is_some(), "{resolved:?}");
        let _ = resolved.host_id();
        if let Ok(route) = resolver.route(alias, &Overrides::default(), &[]) {
            assert_eq!(route.last().map(|last| last.alias.as_str()), Some(alias));
        }
        let overrides = Overrides { user: Some("root".to_owned()), port: Some(2222) };
        let overridden = resolver.resolve(alias, &overrides);
        assert_eq!((overridden.user.as_str(), overridden.port), ("root", 2222));
    }
}

/// A stored run never stops a report, and what a host said in it never reaches the terminal as it was.
pub fn events(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut state = RunState::new();
    let mut events = Vec::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else { continue };
        if event.what != Happening::Unknown {
            let written = serde_json::to_string(&event).expect("an event is plain data");
            assert_eq!(serde_json::from_str::<Event>(&written).expect("an event as it is written"), event, "{line}");
        }
        // What is refused leaves the state as it was.
        if state.apply(&event).is_ok() {
            events.push(event);
        }
    }
    let _ = state.exit_code();
    let page = Page::plain(80);
    super::assert_is_tame(&report::results(&state, None, &page));
    super::assert_is_tame(&report::sweep(&state, None, &page));
    super::assert_is_tame(&report::exec(&state, &page));
    super::assert_is_tame(&report::differences(&state, &page));
    super::assert_is_tame(&report::show(&state, RunNumber(1), &events, HostName::new("web-1").ok().as_ref(), &page));
    super::assert_is_tame(&report::show(&state, RunNumber(1), &events, None, &page));
    let folded = RunState::fold(&events).expect("what was accepted once is accepted again");
    assert_eq!(folded.exit_code(), state.exit_code());
}

/// A plan that reads is written as it was read, and can be shown.
pub fn plan(data: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<Plan>(data) else { return };
    let _ = plan.is_intact();
    let sealed = plan.clone().seal();
    assert!(sealed.is_intact());
    let written = serde_json::to_vec(&sealed).expect("a plan is plain data");
    let again = serde_json::from_slice::<Plan>(&written).expect("a plan as it is written");
    assert!(again.is_intact(), "{}", String::from_utf8_lossy(&written));
    for detail in [Detail::Brief, Detail::Full] {
        super::assert_is_tame(&report::plan(&plan, detail, &Page::plain(80)));
    }
}
