//! `SVRunner` on plain hosts, under the login user's own manager of systemd.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, symlink},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    command::flat,
    sshd::run,
    svrunner_lab::{KEY, PASSWORD, SvRunner, as_before},
};

#[test]
fn s_01_s_02_s_03_s_04_s_05_s_15_s_16_s_17_s_18_s_19_s_20_s_22_s_25_s_26_s_27_s_47_the_build_is_replaced_and_the_data_stays()
 {
    let Some(product) = SvRunner::with(&[("sv-1", "{}", "")]) else { return };
    let of = |file: &str| fs::metadata(product.path("sv-1", file)).expect("there");
    let files = of("srv/shared/files").ino();
    let sums = || {
        let script = "cd srv/shared/files/assets && find . -type f -exec sha256sum {} + | sort";
        let output = Command::new("sh").args(["-c", script]).current_dir(&product.fleet.host("sv-1").home).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let assets = sums();
    // Somebody reads through the link all the time, and never finds it missing.
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let stop = Arc::clone(&stop);
        let file = product.path("sv-1", "srv/current/server.py");
        std::thread::spawn(move || {
            let (mut missing, mut reads) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                reads += 1;
                missing += u32::from(!file.exists());
            }
            (missing, reads)
        })
    };
    let ran = product.upgrade("2.1.0").expect_code(0);
    stop.store(true, Ordering::Relaxed);
    let (missing, reads) = reader.join().expect("it reads");
    assert!(missing == 0 && reads > 1000, "{missing} of {reads} reads: {ran}");

    // The build is another one, the old one is kept, and what outlives releases is linked into the new one.
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.1.0".to_owned(), "2.1.0".to_owned()));
    assert!(product.path("sv-1", "srv/releases/2.0.0/server.py").exists());
    for name in ["files", ".env"] {
        let link = fs::canonicalize(product.path("sv-1", "srv/releases/2.1.0").join(name)).expect("linked");
        assert_eq!(link, fs::canonicalize(product.path("sv-1", "srv/shared").join(name)).expect("there"));
    }
    // The data is what it was: the same folder, every asset, the same rows; the release migrated its own schema.
    assert_eq!((of("srv/shared/files").ino(), sums()), (files, assets));
    let sql = |query: &str| product.sql("sv-1", "srv/shared/files/local.db", query);
    assert_eq!([sql("select group_concat(name) from screens"), sql("pragma user_version")], ["welcome", "2"]);
    // Of `.env` only what was declared: the rest, its comments and its mode stay.
    let env = product.read("sv-1", "srv/shared/.env");
    assert_eq!(env, format!("# of this installation\nDATABASE_FILE=files/local.db\nMAIL=off\nSESSION_KEY={KEY}\n"));
    assert_eq!(of("srv/shared/.env").mode() & 0o777, 0o600);

    // What was saved of the files beforehand: assets, logs and `.env`, for nobody else to read.
    let mut copies = fs::read_dir(product.path("sv-1", "backups")).expect("there").flatten().map(|entry| entry.path());
    let named = |path: &std::path::Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let archive = copies
        .find(|path| named(path).starts_with("svrunner-files-") && !named(path).ends_with(".receipt"))
        .expect("a copy of the files");
    assert_eq!(fs::metadata(&archive).expect("there").mode() & 0o777, 0o600);
    let listed = Command::new("tar").arg("-tf").arg(&archive).output().expect("it runs").stdout;
    let listed = String::from_utf8(listed).expect("text");
    for file in ["files/assets/large.png", "files/assets/icons/one.png", "files/logs/server.log", "shared/.env"] {
        assert!(listed.lines().any(|line| line.ends_with(file)), "no {file} in {listed}");
    }

    // Everything in its order, nothing before the one before has passed.
    let state = product.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0).state();
    let host = state.hosts.values().next().expect("one host");
    let names: Vec<_> = host.steps.values().map(|step| step.name.clone()).collect();
    let place = |name: &str| {
        names.iter().position(|step| step.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {names:#?}"))
    };
    let order = [
        "Tell operators that maintenance begins",
        "Fetch the release",
        "Back up the files",
        "Show the page for maintenance",
        "Keep .env as it is",
        "Stop the server",
        "Back up the database",
        "Note what must stay as it is",
        "Add what the release asks for to .env",
        "Point to the new release",
        "The data is as it was",
        "Start the new release",
        "Before operators come back",
        "Only what was declared has changed in .env",
        "Take the page for maintenance away",
        "Tell operators that maintenance is over",
    ];
    assert!(order.map(place).is_sorted(), "{names:#?}");
    assert_eq!(
        product.notices.of("sv-1"),
        ["sv-1: maintenance begins, SVRunner 2.0.0 to 2.1.0", "sv-1: maintenance is over, SVRunner 2.1.0"]
    );
    // Operators were without it for as long as the table says: as long as they saw the page. Config changes are recorded by
    // their names.
    assert!(ran.out.contains("│ down"), "{ran}");
    assert!(ran.row("sv-1")[4].ends_with('s'), "{ran}");
    let step = |name: &str| host.steps.values().find(|step| step.name.starts_with(name)).expect("a step");
    let shown = step("Show the page for maintenance").started;
    let gone = step("Take the page for maintenance away").ended.expect("it ended");
    let down = i128::try_from(host.downtime.length().expect("it was down").0.as_millis()).expect("not so long");
    // A step ends on the host a little before we hear of it.
    let page = gone.duration_since(shown).as_millis();
    assert!((page..page + 3000).contains(&down), "{page} {down} {ran}");
    let told = product.longshore(["history", "show", "1", "--host", "sv-1"]).run().expect_code(0);
    let told = told.says("config: added SESSION_KEY");
    for secret in [PASSWORD, KEY] {
        assert!(!told.out.contains(secret) && !ran.out.contains(secret) && !ran.err.contains(secret));
    }
    assert_eq!(product.kept(), Vec::<String>::new());
    product.taken_back_with_its_data();
}

impl SvRunner {
    /// The finished upgrade goes back: only with an approval, to the backup of that run, and nothing good is overwritten.
    fn taken_back_with_its_data(&self) {
        // What operators did since is lost to them, and not to us.
        self.sql("sv-1", "srv/shared/files/local.db", "insert into screens (name) values ('of today')");
        let ran = self.longshore(["rollback", "1", "--yes"]).run().expect_code(6);
        assert_eq!(self.version("sv-1"), "2.1.0", "{ran}");
        let file = self.approval(&ran, "sv-1");
        let ran = self.longshore(["rollback", "1", "--yes", "--approvals", &file]).run();
        let ran = ran.expect_code(0);
        as_before(self, "sv-1", &ran);
        assert_eq!(self.kept_aside("sv-1"), ["welcome,of today"], "{ran}");
        assert_eq!(
            self.notices.of("sv-1")[2..],
            [
                "sv-1: maintenance begins again, SVRunner goes back to 2.0.0",
                "sv-1: maintenance is over, SVRunner is 2.0.0 as before"
            ]
        );
        assert!(!self.read("sv-1", "srv/shared/.env").contains("SESSION_KEY"), "{ran}");
    }
}

#[test]
fn s_07_s_23_s_28_s_34_s_35_s_36_s_37_s_38_s_39_s_40_s_41_s_46_every_check_finds_its_release_out_and_it_is_taken_back()
{
    let bad = |fault: &str| format!("{{\"2.0.1\": {{{fault}}}}}");
    let faults = [
        ("sv-dies", "\"dies\": true", "it was started and did not stay up"),
        ("sv-app", "\"app\": true", "The main app loads"),
        ("sv-docs", "\"docs\": true", "/docs loads"),
        ("sv-graphql", "\"graphql\": true", "/graphql responds"),
        ("sv-sign-in", "\"sign-in\": true", "`sign in`: status 401"),
        ("sv-asset", "\"asset\": \"icons/one.png\"", "icons/one.png: 404"),
        ("sv-preview", "\"preview\": true", "The preview works on a known screen"),
        ("sv-dashboard", "\"dashboard\": 7", "The dashboard looks normal"),
        ("sv-log", "\"log\": true", "server.log does not grow"),
        ("sv-read", "\"read\": true", "`read it`: status 500"),
        ("sv-env", "\"rewrites-env\": true", "changed in .env though nobody declared it: TELEMETRY"),
    ];
    let behaviours = faults.map(|(host, fault, _)| (host, bad(fault)));
    let sick = ("sv-sick", "{\"2.0.0\": {\"dashboard\": 7}}".to_owned());
    let all: Vec<_> =
        behaviours.iter().chain([&sick]).map(|(host, behaviour)| (*host, behaviour.as_str(), "")).collect();
    let Some(product) = SvRunner::with(&all) else { return };
    let ran = product.upgrade("2.0.1").expect_code(1);
    let outcomes = product.outcomes();
    for (host, _, cause) in faults {
        assert_eq!(outcomes[host], "undone", "{host}: {ran}");
        let said = product.longshore(["history", "show", "1", "--host", host]).run().expect_code(0);
        assert!(flat(&said.out).contains(cause), "{host} does not say {cause}: {said}");
        as_before(&product, host, &ran);
        let told = [
            format!("{host}: maintenance begins, SVRunner 2.0.0 to 2.0.1"),
            format!("{host}: maintenance is over, SVRunner is 2.0.0 as before"),
        ];
        assert_eq!(product.notices.of(host), told, "{ran}");
        assert!(!product.read(host, "srv/shared/.env").contains("TELEMETRY"), "{host}: {ran}");
    }
    // A host that was ill before is nothing the upgrade could prove itself on: nothing happened there.
    assert_eq!(outcomes["sv-sick"], "parked", "{ran}");
    assert!(!product.path("sv-sick", "srv/incoming").exists() && product.notices.of("sv-sick").is_empty(), "{ran}");
    assert_eq!(product.serves("sv-sick"), "2.0.0");
}

#[test]
fn s_24_s_43_s_44_a_release_that_fails_once_it_has_migrated_keeps_the_page_and_goes_back_with_its_data() {
    let Some(product) = SvRunner::with(&[("sv-1", "{\"2.1.0\": {\"graphql\": true}}", "")]) else { return };
    let ran = product.upgrade("2.1.0").expect_code(3);
    assert_eq!(ran.row("sv-1")[1], "held", "{ran}");
    // Nobody comes back to it, nothing runs, the data stays as the new release left it, and its logs are kept.
    assert!(product.path("sv-1", "srv/maintenance").exists(), "{ran}");
    assert_eq!((product.serves("sv-1"), product.version("sv-1")), (String::new(), "2.1.0".to_owned()), "{ran}");
    assert_eq!(product.sql("sv-1", "srv/shared/files/local.db", "pragma user_version"), "2");
    let kept = fs::read_dir(product.path("sv-1", "backups")).expect("there").flatten();
    assert_eq!(kept.filter(|file| file.file_name().to_string_lossy().starts_with("incident-")).count(), 1, "{ran}");
    let told = product.notices.of("sv-1");
    assert_eq!(told.last().map(String::as_str), Some("sv-1: SVRunner 2.1.0 failed, maintenance goes on"));

    let restore = ["resume", "--as", "restore", "--host", "sv-1"];
    let ran = product.longshore(restore).run().expect_code(6);
    assert_eq!(product.version("sv-1"), "2.1.0", "{ran}");
    let file = product.approval(&ran, "sv-1");
    let ran = product.longshore(restore.into_iter().chain(["--approvals", &file])).run().expect_code(1);
    as_before(&product, "sv-1", &ran);
    assert_eq!(product.kept_aside("sv-1"), ["welcome"], "{ran}");
}

/// A careless step between what is noted and what is compared, on the hosts that have one.
const CARELESS: &str = "[[upgrade]]\nname = \"A careless step\"\nwhen = \"careless\"\nno-undo = \"for the test\"\n\
    command = { run = \"{{raw careless}}\", dir = \"{{data}}\" }\n\n[[upgrade]]\nname = \"Point to the new release\"";

#[test]
fn s_06_s_09_s_10_s_18_s_19_s_20_what_must_never_happen_is_found_out_before_the_new_release_starts() {
    // What goes on listening when the unit has stopped.
    let left = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listens = format!("listens = {}", left.local_addr().expect("bound").port());
    let hosts = [
        ("sv-port", "{}", listens.as_str()),
        ("sv-wrong-path", "{}", "data = \"HOME/srv/old-files\""),
        ("sv-no-key", "{}", "session-key = \"\""),
        ("sv-no-notice", "{}", "notices = \"http://127.0.0.1:9/\""),
        ("sv-asset", "{}", "careless = \"echo more >>assets/icons/one.png\""),
        ("sv-lost", "{}", "careless = \"rm assets/large.png\""),
        ("sv-database", "{}", "careless = \"sqlite3 local.db 'delete from screens'\""),
        ("sv-folder", "{}", "careless = \"cp -a . ../copy && mv ../files ../files.old && mv ../copy ../files\""),
        ("sv-stale", "{}", "careless = \"sleep 4\""),
    ];
    let Some(product) = SvRunner::with(&hosts) else { return };
    product.copy(
        "roles/svrunner/role.toml",
        &[
            ("for = \"30s\"", "for = \"3s\""),
            ("session-key = \"\"", "session-key = \"\"\ncareless = \"\""),
            ("[[upgrade]]\nname = \"Point to the new release\"", CARELESS),
            ("younger-than = \"1h\"", "younger-than = \"2s\""),
        ],
    );
    let old = product.path("sv-wrong-path", "srv/old-files");
    run(Command::new("cp").arg("-a").arg(product.path("sv-wrong-path", "srv/shared/files")).arg(&old));
    fs::remove_dir_all(old.join("logs")).expect("removed");
    symlink("../shared/files/logs", old.join("logs")).expect("linked");
    let ran = product.upgrade("2.1.0").expect_code(1);
    let outcomes = product.outcomes();
    for (host, result, cause) in [
        ("sv-port", "undone", "the unit is stopped, and something still listens on port"),
        ("sv-wrong-path", "parked", "shared/files, not /"),
        ("sv-no-key", "parked", "missing in .env: SESSION_KEY"),
        ("sv-no-notice", "failed", "the notice was not delivered"),
        ("sv-asset", "undone", "files/assets had 3 files, 40700 bytes, and has 3 files, 40705 bytes"),
        ("sv-lost", "undone", "files/assets had 3 files, 40700 bytes, and has 2 files, 700 bytes"),
        ("sv-database", "undone", "local.db has changed"),
        ("sv-folder", "undone", "files/ is another folder"),
        ("sv-stale", "undone", "younger than 2s"),
    ] {
        assert_eq!(outcomes[host], result, "{host}: {ran}");
        let said = product.longshore(["history", "show", "1", "--host", host]).run().expect_code(0);
        assert!(flat(&said.out).contains(cause), "{host} does not say {cause}: {said}");
        assert_eq!((product.version(host), product.serves(host)), ("2.0.0".to_owned(), "2.0.0".to_owned()), "{host}");
        assert_eq!(product.sql(host, "srv/shared/files/local.db", "pragma user_version"), "1", "{host}: {ran}");
        if result == "parked" || host == "sv-no-notice" {
            assert!(!product.path(host, "srv/incoming").exists(), "{host}: {ran}");
        }
    }
}

#[test]
fn s_21_an_archive_that_is_not_the_one_that_was_meant_is_refused_before_any_host_is_touched() {
    let Some(product) = SvRunner::with(&[("sv-1", "{}", "")]) else { return };
    product.releases(&[("2.0.1", "0000000000000000000000000000000000000000000000000000000000000000")]);
    let ran = product.upgrade("2.0.1").expect_code(2);
    let ran = ran.tells("is not the file that was meant: its SHA-256 is");
    assert!(!product.path("sv-1", "srv/incoming").exists() && product.notices.of("sv-1").is_empty(), "{ran}");
    // One that was damaged after it was reviewed does not reach the release's folder either.
    product.releases(&[]);
    let plan = product.fleet.project().join("plan.json").display().to_string();
    product.longshore(["plan", "svrunner-upgrade", "--to", "2.0.1", "-o", &plan]).run().expect_code(0);
    let archive = product.path("sv-1", "srv/incoming/svrunner-2.0.1.tar.gz");
    fs::create_dir_all(archive.parent().expect("a folder")).expect("made");
    fs::write(&archive, "half of it").expect("written");
    product.longshore(["apply", &plan, "--yes"]).run().expect_code(0);
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.0.1".to_owned(), "2.0.1".to_owned()));
}

#[test]
fn s_26_s_42_old_releases_go_with_their_archives_and_those_that_runs_would_go_back_to_stay() {
    let reads = r#"{"2.0.1": {"reads": 2}}"#;
    let Some(product) = SvRunner::with(&[("sv-1", reads, "keep-releases = 1")]) else { return };
    // The release before runs on the data of this one: going back is a matter of the code.
    let releases = product.fleet.project().join("roles/svrunner/releases.toml");
    let text = fs::read_to_string(&releases).expect("written");
    fs::write(&releases, text.replace("migration = \"2\"\n", "migration = \"2\"\nbackward-compatible = true\n"))
        .expect("written");
    // Two that were here before longshore came, younger than the one that runs.
    fs::create_dir_all(product.path("sv-1", "srv/incoming")).expect("made");
    for (version, when) in [("1.8.0", "2030-01-01"), ("1.9.0", "2030-02-01")] {
        let folder = product.path("sv-1", "srv/releases").join(version);
        fs::create_dir(&folder).expect("made");
        run(Command::new("touch").args(["-d", when]).arg(&folder));
        let archive = format!("srv/incoming/{version}.tar");
        fs::write(product.path("sv-1", &archive), "as it came").expect("written");
        fs::write(product.path("sv-1", &format!("srv/releases/.{version}.archive")), format!("{version}.tar\n"))
            .expect("written");
    }
    let of = |folder: &str| {
        let entries = fs::read_dir(product.path("sv-1", folder)).expect("there").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort_unstable();
        names
    };
    product.upgrade("2.0.1").expect_code(0);
    assert_eq!(of("srv/releases"), ["1.9.0", "2.0.0", "2.0.1"]);
    assert_eq!(of("srv/incoming"), ["1.9.0.tar", "svrunner-2.0.1.tar.gz"]);
    product.upgrade("2.1.0").expect_code(0);
    // 2.0.0 is neither what runs, nor what was before, nor among the last: the first run would go back to it.
    assert_eq!(of("srv/releases"), ["1.9.0", "2.0.0", "2.0.1", "2.1.0"]);

    let rows = |query: &str| product.sql("sv-1", "srv/shared/files/local.db", query);
    rows("insert into screens (name, theme) values ('of today', 'dark')");
    let ran = product.longshore(["rollback", "2", "--yes"]).run().expect_code(0);
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.0.1".to_owned(), "2.0.1".to_owned()), "{ran}");
    let kept = [rows("select group_concat(name) from screens"), rows("pragma user_version")];
    assert_eq!(kept, ["welcome,of today", "2"], "{ran}");
    assert!(product.kept_aside("sv-1").is_empty(), "{ran}");
    assert!(!product.read("sv-1", "srv/shared/.env").contains("SESSION_KEY"));
}
