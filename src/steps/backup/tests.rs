//! Copies are made and proven in real shells, of real databases.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::*;
use crate::steps::{
    trial::{Ran, Trial, in_every_shell},
    trial_postgres::Postgres,
};

fn backup(text: &str) -> Backup {
    let backup: Backup = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(backup.problems(), [], "{text}");
    backup
}

/// The receipt that the program printed.
fn receipt<'a>(ran: &'a Ran, key: &str) -> Option<&'a str> {
    ran.out.lines().find_map(|line| line.strip_prefix("longshore-receipt ")?.strip_prefix(key)?.strip_prefix(' '))
}

fn saved(ran: &Ran) -> String {
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    receipt(ran, "file").expect("a copy").to_owned()
}

/// The copy is refused, for this reason, and nothing of it is left.
fn refused(trial: &Trial, kind: &Backup, why: &str) {
    let before = if trial.path("copies").exists() { trial.names("copies") } else { Vec::new() };
    let ran = trial.act(kind);
    assert!(ran.status != 0 && ran.err.contains(why), "{why}: {ran:?}");
    let after = if trial.path("copies").exists() { trial.names("copies") } else { Vec::new() };
    assert_eq!(before, after, "{why}: something was left");
}

fn has(tool: &str) -> bool {
    let there = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        eprintln!("SKIPPED: {tool} is not installed");
    }
    there
}

/// A run of its own for each copy, as two of one second would have the same name.
fn as_run(trial: &mut Trial, number: usize) {
    trial.variable("LONGSHORE_RUN", &format!("run{number}"));
}

#[test]
fn s_15_s_16_s_17_files_are_saved_with_their_modes_and_proven() {
    in_every_shell(|trial| {
        fs::create_dir_all(trial.path("data/it's here/deep")).expect("writable");
        trial.write("data/it's here/deep/a b.bin", vec![7_u8; 100_000]);
        trial.write("data/.env", "TOKEN=hunter2\n");
        fs::set_permissions(trial.path("data/.env"), fs::Permissions::from_mode(0o600)).expect("writable");
        let mut kind = backup(&format!(
            "name = 'app'\nto = '{}'\nverify = 'scratch'\nfiles = {{ paths = ['/x', '{}'], must-contain = ['*.bin'] }}",
            trial.at("copies"),
            trial.at("data/.env"),
        ));
        let files = kind.files.as_mut().expect("files");
        files.paths.0[0] = trial.at("data/it's here");
        if !trial.path("bin").exists() {
            // The tar of Debian's busybox knows no patterns.
            files.exclude = "*.log".into();
            trial.write("data/it's here/skip.log", "noise");
        }
        as_run(trial, 1);
        let ran = trial.act(&kind);
        let file = saved(&ran);
        assert_eq!(receipt(&ran, "verified"), Some("unpacked and compared: 2 files"));
        assert_eq!(receipt(&ran, "files"), Some("2"));
        let mode = |path: &str| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&format!("{file}.receipt"))), (0o600, 0o600));
        assert_eq!(mode(&trial.at("copies")), 0o700);
        assert!(!ran.out.contains("hunter2"));
        // What is in it comes back as it was.
        fs::create_dir(trial.path("out")).expect("writable");
        let unpacked = Command::new("tar").args(["-xzf", &file, "-C", &trial.at("out")]).status().expect("tar");
        assert!(unpacked.success());
        let env = format!("{}{}", trial.at("out"), trial.at("data/.env"));
        assert_eq!((fs::read_to_string(&env).expect("there").as_str(), mode(&env)), ("TOKEN=hunter2\n", 0o600));
        assert_eq!(trial.names("copies").len(), 2, "{:?}", trial.names("copies"));
    });
}

#[test]
fn files_that_are_missing_empty_or_beside_their_copy_are_refused() {
    in_every_shell(|trial| {
        fs::create_dir_all(trial.path("data/empty")).expect("writable");
        trial.write("data/x", "x");
        let of = |trial: &Trial, path: &str, more: &str| {
            backup(&format!(
                "name = 'app'\nto = '{}'\nfiles = {{ paths = '{}' }}\n{more}",
                trial.at("copies"),
                trial.at(path)
            ))
        };
        refused(trial, &of(trial, "away", ""), "there is no ");
        refused(trial, &of(trial, "data/empty", ""), "holds no files");
        let mut keys = of(trial, "data", "");
        keys.files.as_mut().expect("files").must_contain = "ssh_host_*_key".into();
        refused(trial, &keys, "no file in the archive is named `ssh_host_*_key`");
        let mut inside = of(trial, "data", "");
        inside.to = trial.at("data/copies");
        inside.away_from = Texts::from(trial.at("data").as_str());
        let ran = trial.act(&inside);
        assert!(ran.status != 0 && ran.err.contains("lies inside"), "t_05: {ran:?}");
        let mut same = of(trial, "data", "");
        same.away_from = Texts::from(trial.at("data").as_str());
        same.other_volume = true;
        refused(trial, &same, "is on the same volume as");
        let mut much = of(trial, "data", "");
        much.reserve = Some("90000TiB".to_owned());
        refused(trial, &much, "not enough room below");
    });
}

#[test]
fn a_copy_much_smaller_than_the_last_is_not_plausible() {
    in_every_shell(|trial| {
        fs::create_dir(trial.path("data")).expect("writable");
        let noise: Vec<u8> = (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect();
        trial.write("data/x", &noise);
        let kind = backup(&format!(
            "name = 'app'\nto = '{}'\nfiles = {{ paths = '{}' }}",
            trial.at("copies"),
            trial.at("data")
        ));
        as_run(trial, 1);
        saved(&trial.act(&kind));
        trial.write("data/x", &noise[..1000]);
        as_run(trial, 2);
        refused(trial, &kind, "less than 50% of the last one");
        saved(&trial.act(&Backup { plausible: Some(0), ..kind }));
    });
}

#[test]
fn what_a_command_saves_is_proven_by_its_own_check_and_may_be_encrypted() {
    in_every_shell(|trial| {
        let of = |trial: &Trial, run: &str, check: &str| Backup {
            command: Some(CommandSource {
                run: CommandLine::Shell(run.to_owned()),
                check: CommandLine::Shell(check.to_owned()),
                extension: Some("txt".to_owned()),
                size: None,
            }),
            ..backup(&format!("name = 'app'\nto = '{}'\ncommand = {{ run = 'x', check = 'x' }}", trial.at("copies")))
        };
        let good =
            of(trial, "echo precious >\"$LONGSHORE_BACKUP_FILE\"", "grep -q precious \"$LONGSHORE_BACKUP_FILE\"");
        let encrypt = Encrypt { run: CommandLine::Shell("tr a-z b-za".to_owned()), extension: "rot".to_owned() };
        as_run(trial, 1);
        let file = saved(&trial.act(&Backup { encrypt: Some(encrypt), ..good.clone() }));
        assert!(file.ends_with(".txt.rot"), "{file}");
        assert_eq!(fs::read_to_string(&file).expect("there"), "qsfdjpvt\n");
        as_run(trial, 2);
        refused(trial, &of(trial, "echo half >\"$LONGSHORE_BACKUP_FILE\"; exit 3", "true"), "ended with 3");
        // The first command that fails ends both.
        let lines = "echo half >\"$LONGSHORE_BACKUP_FILE\"\n(exit 4)\necho whole >>\"$LONGSHORE_BACKUP_FILE\"";
        refused(trial, &of(trial, lines, "true"), "the command that saves ended with 4");
        let kept = "echo precious >\"$LONGSHORE_BACKUP_FILE\"";
        refused(trial, &of(trial, kept, "(exit 5)\ntrue"), "checks the copy ended with 5");
        refused(
            trial,
            &of(trial, "echo other >\"$LONGSHORE_BACKUP_FILE\"", "grep -q precious \"$LONGSHORE_BACKUP_FILE\""),
            "checks the copy ended with 1",
        );
        refused(trial, &of(trial, ": >\"$LONGSHORE_BACKUP_FILE\"", "true"), "the copy is empty");
        refused(trial, &of(trial, "true", "true"), "the copy is empty");
        let broken = Encrypt { run: CommandLine::Shell("false".to_owned()), extension: "age".to_owned() };
        refused(trial, &Backup { encrypt: Some(broken), ..good }, "could not be encrypted");
    });
}

fn sqlite(file: &Path, sql: &str) {
    let done = Command::new("sqlite3").arg(file).arg(sql).stdout(Stdio::null()).status().expect("sqlite3 starts");
    assert!(done.success(), "{sql}");
}

#[test]
fn s_14_sqlite_is_saved_whole_while_something_writes_to_it() {
    if !has("sqlite3") {
        return;
    }
    in_every_shell(|trial| {
        if trial.path("bin").exists() {
            // Busybox has no sqlite3 of its own.
            std::os::unix::fs::symlink(which("sqlite3"), trial.path("bin/sqlite3")).expect("writable");
        }
        let file = trial.path("local.db");
        sqlite(&file, "pragma journal_mode = wal; create table screens (n); create table \"odd name\" (n);");
        let mut writer = Command::new("sh")
            .arg("-c")
            .arg("i=0; while :; do i=$((i+1)); echo \"insert into screens values ($i); insert into \\\"odd name\\\" values ($i);\"; done | sqlite3 \"$0\"")
            .arg(&file)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a writer");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let kind = backup(&format!(
            "name = 'app'\nto = '{}'\nsqlite = {{ file = '{}', tables = 'screens', head = 'select max(n) >= 0 from screens' }}",
            trial.at("copies"),
            trial.at("local.db")
        ));
        as_run(trial, 1);
        let ran = trial.act(&kind);
        stop(&mut writer);
        let copy = saved(&ran);
        assert_eq!((receipt(&ran, "tables"), receipt(&ran, "head")), (Some("2"), Some("1")));
        assert!(receipt(&ran, "verified").is_some_and(|proof| proof.starts_with("opened and checked: ")), "{ran:?}");
        assert!(!PathBuf::from(format!("{copy}-wal")).exists());
        as_run(trial, 2);
        let wrong = |file: &str, more: &str| {
            backup(&format!(
                "name = 'app'\nto = '{}'\nsqlite = {{ file = '{}'{more} }}",
                trial.at("copies"),
                trial.at(file)
            ))
        };
        refused(trial, &wrong("away.db", ""), "there is no database");
        assert!(!trial.path("away.db").exists(), "an empty database was made");
        trial.write("zero.db", "");
        refused(trial, &wrong("zero.db", ""), "is empty");
        trial.write("text.db", "this is no database\n".repeat(500));
        refused(trial, &wrong("text.db", ""), "not a database");
        refused(trial, &wrong("local.db", ", tables = 'users'"), "the copy has no table `users`");
    });
}

fn stop(child: &mut std::process::Child) {
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).expect("its own group");
    child.wait().expect("ended");
}

fn which(tool: &str) -> PathBuf {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("sh").stdout;
    PathBuf::from(String::from_utf8_lossy(&found).trim())
}

use std::os::unix::process::CommandExt as _;

#[test]
fn b_14_the_newest_of_14_days_and_8_weeks_stay() {
    in_every_shell(|trial| {
        fs::create_dir(trial.path("copies")).expect("writable");
        let made = |trial: &Trial, name: &str, stamp: &str, run: &str| {
            let copy = format!("copies/{name}-{stamp}-{run}.dump");
            trial.write(&copy, "12345");
            trial.write(&format!("{copy}.receipt"), format!("name {name}\nstamp {stamp}\nrun {run}\nsize 5\n"));
        };
        // 71 dumps over 70 days that end on Friday 2026-11-20, two of them that day.
        let last: jiff::civil::Date = "2026-11-20".parse().expect("a date");
        for back in 0..70_i64 {
            let day = last.checked_sub(jiff::Span::new().days(back)).expect("a day").strftime("%Y%m%d").to_string();
            made(trial, "db", &format!("{day}T030000Z"), "r");
        }
        made(trial, "db", "20261120T120000Z", "r");
        // Neither counted nor touched: another name, no receipt, cut short.
        made(trial, "db-other", "20260101T000000Z", "r");
        trial.write("copies/db-20260101T000000Z-x.dump", "12345");
        made(trial, "db", "20260102T000000Z", "cut");
        trial.write("copies/db-20260102T000000Z-cut.dump", "1234");
        let keep = Keep { daily: 14, weekly: 8, ..Keep::default() };
        let frame = format!(
            "die() {{ echo \"$*\" >&2; exit 1; }}\nnote() {{ :; }}\nto='{}' name=db\n{}",
            trial.at("copies"),
            keep.prune()
        );
        let ran = trial.run(&frame);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        assert_eq!(receipt(&ran, "removed"), Some("52"));
        let left = trial.names("copies");
        let mut days: Vec<_> = left
            .iter()
            .filter(|name| name.ends_with("-r.dump") && name.starts_with("db-2"))
            .map(|name| name[3..19].to_owned())
            .collect();
        days.sort_unstable();
        days.reverse();
        assert_eq!(days.len(), 19, "{days:?}");
        assert_eq!(days[0], "20261120T120000Z");
        let weeks: Vec<_> = days[14..].iter().map(|day| &day[4..8]).collect();
        assert_eq!(weeks, ["1101", "1025", "1018", "1011", "1004"]);
        assert!(left.contains(&"db-other-20260101T000000Z-r.dump".to_owned()));
        assert!(left.contains(&"db-20260101T000000Z-x.dump".to_owned()));
        assert!(left.contains(&"db-20260102T000000Z-cut.dump".to_owned()));
    });
}

#[test]
fn a_copy_that_an_open_run_or_a_rollback_may_need_is_not_removed() {
    in_every_shell(|trial| {
        fs::create_dir(trial.path("copies")).expect("writable");
        // The folder of a step lies in that of its run, beside those of other runs.
        for run in ["open", "over", "went", "mine"] {
            fs::create_dir_all(trial.path(&format!("runs/{run}/step.keep"))).expect("writable");
        }
        for (run, effect) in [("over", "code"), ("went", "data")] {
            trial.write(&format!("runs/{run}/closed"), "");
            let manifest = format!(r#"{{"part":{{"steps":[{{"effect":"{effect}"}}]}}}}"#);
            trial.write(&format!("runs/{run}/manifest"), format!("{run} anna@laptop\n{manifest}\n"));
        }
        trial.variable("LONGSHORE_STEP_DIR", &trial.at("runs/mine/step.keep"));
        for (stamp, run) in [
            ("20261031T000000Z", "went"),
            ("20261101T000000Z", "open"),
            ("20261102T000000Z", "over"),
            ("20261103T000000Z", "gone"),
            ("20261104T000000Z", "mine"),
        ] {
            trial.write(&format!("copies/db-{stamp}-{run}.dump"), "1");
            trial.write(
                &format!("copies/db-{stamp}-{run}.dump.receipt"),
                format!("name db\nstamp {stamp}\nrun {run}\nsize 1\n"),
            );
        }
        let keep = Keep { latest: 1, ..Keep::default() };
        let frame = format!(
            "die() {{ echo \"$*\" >&2; exit 1; }}\nnote() {{ :; }}\nto='{}' name=db\n{}",
            trial.at("copies"),
            keep.prune()
        );
        let ran = trial.run(&frame);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        let left: Vec<_> = trial
            .names("copies")
            .into_iter()
            .filter(|name| name.rsplit_once('.').is_some_and(|(_, end)| end == "dump"))
            .collect();
        let stay = ["db-20261031T000000Z-went.dump", "db-20261101T000000Z-open.dump", "db-20261104T000000Z-mine.dump"];
        assert_eq!(left, stay);
    });
}

fn saving(server: &Postgres, trial: &Trial, database: &str, more: &str) -> Backup {
    backup(&format!(
        "name = 'db'\nto = '{}'\n{more}\n[postgres]\ndatabase = '{database}'\nuser = 'postgres'\nhost = '{}'\nhead = 'select max(n) from \"odd name\"'",
        trial.at("copies"),
        server.folder.path().display(),
    ))
}

#[test]
fn b_09_b_10_f_15_a_database_is_saved_with_its_counts_and_proven_by_restoring_it() {
    let Some(server) = Postgres::start() else { return };
    server.sql("postgres", "create database app");
    server.sql("app", "create table users (id int primary key, name text); insert into users select n, 'it''s ' || n from generate_series(1, 1000) n");
    server.sql("app", "create schema s; create table s.\"odd name\" (n int); create table \"odd name\" (n int); insert into \"odd name\" values (7)");
    server.sql("postgres", "create database nothing");
    in_every_shell(|trial| {
        server.offer(trial);
        as_run(trial, 1);
        let ran = trial.act(&saving(&server, trial, "app", "verify = 'scratch'"));
        let file = saved(&ran);
        assert_eq!(
            (receipt(&ran, "rows"), receipt(&ran, "tables"), receipt(&ran, "head")),
            (Some("1001"), Some("3"), Some("7"))
        );
        let proof = "restored into a scratch database: 1001 rows in 3 tables, as in the source";
        assert_eq!(receipt(&ran, "verified"), Some(proof));
        assert!(file.ends_with("-run1.dump"), "{file}");
        let sidecar = fs::read_to_string(format!("{file}.receipt")).expect("there");
        assert!(sidecar.contains("row public.users 1000\n"), "{sidecar}");
        // Two of one day are both kept, and no scratch database is left.
        as_run(trial, 2);
        saved(&trial.act(&saving(&server, trial, "app", "")));
        assert_eq!(trial.names("copies").len(), 4);
        assert_eq!(server.sql("postgres", "select count(*) from pg_database where datname like 'longshore%'"), "0");
        as_run(trial, 3);
        refused(trial, &saving(&server, trial, "away", ""), "cannot ask the database away");
        refused(trial, &saving(&server, trial, "nothing", "plausible = 0"), "");
        let mut empty = saving(&server, trial, "nothing", "plausible = 0");
        empty.postgres.as_mut().expect("postgres").head = None;
        refused(trial, &empty, "has no tables");
        // A dump that fails is no copy, though something was written.
        let broken = trial.path("broken");
        fs::create_dir(&broken).expect("writable");
        fs::write(broken.join("pg_dump"), "#!/bin/sh\nprintf PGDMPhalf\nexit 1\n").expect("writable");
        fs::set_permissions(broken.join("pg_dump"), fs::Permissions::from_mode(0o755)).expect("writable");
        let mut fails = saving(&server, trial, "app", "");
        fails.postgres.as_mut().expect("postgres").through = Some(format!("env PATH='{}':\"$PATH\"", broken.display()));
        refused(trial, &fails, "pg_dump failed");
    });
}

/// A snapshot tool that takes only what it knows, and keeps its snapshots in a file.
const ZFS: &str = r#"#!/bin/sh
list=${0%/*}/snapshots
case $1 in
snapshot) [ $# = 2 ] || { echo "usage: zfs snapshot NAME" >&2; exit 2; }; case $2 in tank/app@?*) echo "$2" >>"$list" ;; *) exit 1 ;; esac ;;
list) [ "$2 $3 $4" = "-H -t snapshot" ] && [ $# = 5 ] || exit 2; grep -qxF -- "$5" "$list" ;;
*) echo "zfs: unknown command $1" >&2; exit 2 ;;
esac
"#;

#[test]
fn b_12_b_24_a_copy_that_lies_elsewhere_is_known_by_its_id_and_proven_by_it() {
    in_every_shell(|trial| {
        trial.write("zfs", ZFS);
        fs::set_permissions(trial.path("zfs"), fs::Permissions::from_mode(0o755)).expect("writable");
        let of = |trial: &Trial, run: &str, check: &str| {
            let zfs = trial.at("zfs");
            backup(&format!(
                "name = 'videos'\nto = '{}'\nelsewhere = {{ run = '{zfs} {run}', check = '{zfs} {check}' }}",
                trial.at("copies")
            ))
        };
        let check = r#"list -H -t snapshot "$LONGSHORE_BACKUP_ID""#;
        let good =
            of(trial, r#"snapshot "tank/app@$LONGSHORE_RUN" && echo taking && echo "tank/app@$LONGSHORE_RUN""#, check);
        as_run(trial, 1);
        let ran = trial.act(&good);
        let file = saved(&ran);
        assert_eq!(receipt(&ran, "id"), Some("tank/app@run1"));
        assert_eq!(fs::read_to_string(&file).expect("there"), "tank/app@run1\n");
        assert_eq!(trial.read("snapshots"), "tank/app@run1\n");
        let copies = trial.run(&crate::steps::list_copies(&trial.at("copies"), "videos")).out;
        let copies = crate::steps::read_copies(&copies).expect("told");
        assert!(copies.len() == 1 && copies[0].flaw.is_none(), "{copies:?}");
        as_run(trial, 2);
        refused(trial, &of(trial, "snapshot tank/other@x", check), "the command that saves ended with 1");
        refused(trial, &of(trial, "snapshot tank/app@x", check), "did not print the id");
        refused(
            trial,
            &of(trial, "snapshot tank/app@y && echo tank/app@z", check),
            "checks the copy tank/app@z ended with 1",
        );
    });
}

#[test]
fn b_29_b_40_an_archive_whose_settings_lack_what_starts_the_product_is_no_copy() {
    in_every_shell(|trial| {
        fs::create_dir(trial.path("app")).expect("writable");
        let of = |trial: &Trial, names: &str| {
            let env = trial.at("app/.env");
            backup(&format!(
                "name = 'env'\nto = '{}'\nfiles = {{ paths = '{env}', must-set = {{ '{env}' = {names} }} }}",
                trial.at("copies")
            ))
        };
        let good = of(trial, "['SESSION_SECRET', 'DATABASE_URL']");
        as_run(trial, 1);
        trial.write("app/.env", "DATABASE_URL=postgres://x\nexport SESSION_SECRET=\"hunter2\"\nPORT=3000\n");
        let ran = trial.act(&good);
        assert!(!saved(&ran).is_empty() && !ran.out.contains("hunter2"), "{ran:?}");
        as_run(trial, 2);
        for env in [
            "DATABASE_URL=x\n",
            "DATABASE_URL=x\nSESSION_SECRET=\n",
            "DATABASE_URL=x\nSESSION_SECRET=''\n#SESSION_SECRET=a\nXSESSION_SECRET=b\n",
        ] {
            trial.write("app/.env", env);
            refused(trial, &good, "does not set SESSION_SECRET in the archive");
        }
        let kind: Backup =
            toml::from_str("name = 'e'\nto = '/x'\nfiles = { paths = '/x/.env', must-set = { '/x/.env' = '.*' } }")
                .expect("read");
        assert!(
            kind.problems()
                .iter()
                .any(|problem| problem.message.contains("cannot be the name of an environment variable"))
        );
    });
}

#[test]
fn b_14_the_rule_is_that_of_restic() {
    if !has("restic") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let restic = |arguments: &[&str]| {
        let ran = Command::new("restic")
            .args(["--no-cache", "--repo"])
            .arg(folder.path().join("repo"))
            .args(arguments)
            .envs([("RESTIC_PASSWORD", "x"), ("TZ", "UTC"), ("HOME", folder.path().to_str().expect("text"))])
            .stdin(Stdio::null())
            .output()
            .expect("restic starts");
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        String::from_utf8(ran.stdout).expect("text")
    };
    restic(&["init"]);
    let file = folder.path().join("dump");
    fs::write(&file, "1").expect("writable");
    // Irregular: gaps, two of a day, the turn of a year within a week, a leap-free February, Sundays and Mondays.
    let times = [
        "2025-11-30 23:59:59",
        "2025-12-01 00:00:00",
        "2025-12-21 04:00:00",
        "2025-12-28 22:00:00",
        "2025-12-29 01:00:00",
        "2025-12-31 23:00:00",
        "2026-01-01 01:00:00",
        "2026-01-04 12:00:00",
        "2026-01-05 12:00:00",
        "2026-02-28 03:00:00",
        "2026-03-01 03:00:00",
        "2026-03-01 21:00:00",
        "2026-03-02 03:00:00",
        "2026-03-09 03:00:00",
    ];
    for time in times {
        restic(&["backup", "--time", time, "--host", "h", "--quiet", file.to_str().expect("text")]);
    }
    let stamp = |time: &str| time.replace([' ', '-', ':'], "").chars().take(14).collect::<String>();
    let plain = |stamp: &str| format!("{}T{}Z", &stamp[..8], &stamp[8..]);
    let rules = [(0, 3, 3, 3), (2, 0, 4, 0), (0, 0, 6, 2), (1, 7, 0, 4), (0, 99, 0, 0)];
    let of_restic = rules.map(|(latest, daily, weekly, monthly)| {
        let counts =
            [("--keep-last", latest), ("--keep-daily", daily), ("--keep-weekly", weekly), ("--keep-monthly", monthly)];
        let mut arguments = ["forget", "--dry-run", "--json", "--no-lock"].map(str::to_owned).to_vec();
        for (flag, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            arguments.extend([flag.to_owned(), count.to_string()]);
        }
        let said = restic(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let said: serde_json::Value = serde_json::from_str(said.trim()).expect("JSON");
        let kept = said[0]["keep"].as_array().expect("what it keeps").iter();
        let mut kept: Vec<_> =
            kept.map(|one| plain(&stamp(&one["time"].as_str().expect("a time").replace('T', " ")))).collect();
        kept.sort_unstable();
        (Keep { latest, daily, weekly, monthly }, kept)
    });
    in_every_shell(|trial| {
        fs::create_dir(trial.path("copies")).expect("writable");
        for time in times {
            let stamp = plain(&stamp(time));
            trial.write(&format!("copies/db-{stamp}-r.dump"), "1");
            trial.write(
                &format!("copies/db-{stamp}-r.dump.receipt"),
                format!("name db\nstamp {stamp}\nrun r\nsize 1\n"),
            );
        }
        for (keep, wanted) in &of_restic {
            let text = format!("to='{}' name=db\n{}list_copies | sort_out", trial.at("copies"), keep.functions());
            let kept = trial.run(&text).out;
            let kept = kept.lines().filter_map(|line| line.strip_prefix("keep db-")?.split_once('-'));
            let mut kept: Vec<_> = kept.map(|(at, _)| at.to_owned()).collect();
            kept.sort_unstable();
            assert_eq!(&kept, wanted, "{keep:?}");
        }
    });
}
