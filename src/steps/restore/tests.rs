//! Data is put back in real shells, into real databases; nothing live is lost, wherever the program dies.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use super::*;
use crate::steps::{
    Backup,
    trial::{Ran, Trial, in_every_shell, program, until},
    trial_postgres::Postgres,
};

fn restore(text: &str) -> Restore {
    let restore: Restore = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(restore.problems(), [], "{text}");
    restore
}

fn receipt<'a>(ran: &'a Ran, key: &str) -> Option<&'a str> {
    ran.out.lines().find_map(|line| line.strip_prefix("longshore-receipt ")?.strip_prefix(key)?.strip_prefix(' '))
}

fn refused(trial: &Trial, kind: &Restore, why: &str) {
    let ran = trial.act(kind);
    assert!(ran.status != 0 && ran.err.contains(why), "{why}: {ran:?}");
}

/// Saves, and returns the copy.
fn saved(trial: &Trial, text: &str) -> String {
    let kind: Backup = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    receipt(&trial.acts(&kind), "file").expect("a copy").to_owned()
}

/// The program with its death written into it, at the line that begins so.
fn dying(trial: &Trial, kind: &Restore, before: &str) {
    let act = program(kind).act;
    let is_begin = |(at, _): &(usize, &str)| act[..*at].trim_end_matches(' ').ends_with('\n');
    let (at, _) = act.match_indices(before).find(is_begin).unwrap_or_else(|| panic!("no line begins with {before}"));
    let ran = trial.run(&format!("{}kill -9 $$\n{}", &act[..at], &act[at..]));
    assert_eq!(ran.status, -1, "it did not die before {before}: {ran:?}");
}

fn sqlite(file: &str, sql: &str) -> String {
    let ran =
        Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 20000", file, sql]).output().expect("sqlite3 starts");
    assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

fn has_sqlite(trial: &Trial) -> bool {
    if Command::new("sqlite3").arg("-version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: sqlite3 is not installed");
        return false;
    }
    if trial.path("bin").exists() {
        let found = Command::new("sh").args(["-c", "command -v sqlite3"]).output().expect("sh").stdout;
        let found = String::from_utf8_lossy(&found).trim().to_owned();
        std::os::unix::fs::symlink(found, trial.path("bin/sqlite3")).expect("writable");
    }
    true
}

#[test]
fn r60_b_16_b_18_b_19_b_20_a_database_is_restored_beside_the_live_one_and_swapped() {
    let Some(server) = Postgres::start() else { return };
    in_every_shell(|trial| {
        server.offer(trial);
        for name in ["app", "app_pre_run1", "app_undone_run1", "app_restore_run1"] {
            server.sql("postgres", &format!("drop database if exists {name}"));
        }
        server.sql("postgres", "drop role if exists \"the owner\"");
        server.sql("postgres", "create role \"the owner\"");
        server.sql(
            "postgres",
            "create database app owner \"the owner\" encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0",
        );
        server.sql("postgres", "alter database app set search_path to \"$user\", public, extra");
        server.sql("postgres", "alter database app set app.mode to 'it''s live'");
        server.sql("postgres", "revoke all on database app from public");
        server.sql("app", "create table keyless (n int); insert into keyless select generate_series(1, 500)");
        trial.variable("LONGSHORE_RUN", "run1");
        let place =
            format!("[postgres]\ndatabase = 'app'\nuser = 'postgres'\nhost = '{}'", server.folder.path().display());
        let head = "head = 'select count(*) from keyless'";
        let file = saved(trial, &format!("name = 'db'\nto = '{}'\n{place}\n{head}", trial.at("copies")));
        server.sql("app", "insert into keyless select generate_series(1, 7)");
        let kind = restore(&format!("from = '{file}'\n{place}\n{head}"));

        // Whoever is connected keeps it from beginning, or is sent away on request.
        let mut session = Command::new(server.bin.join("psql"))
            .args(["-X", "-q", "-U", "postgres", "-d", "app", "-h"])
            .arg(server.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql starts");
        until(|| server.sql("postgres", "select count(*) from pg_stat_activity where datname = 'app'") == "1");
        refused(trial, &kind, "1 sessions are connected to app: stop what uses it");
        assert_eq!(trial.look(&kind).status, 10);

        // Wherever it dies, the live database is whole and the next attempt ends as one would have.
        let ending = Restore { end_sessions: true, ..kind.clone() };
        for point in ["drop_fresh || die", "case $shape in\n  5047", "allow \"$1\" false", "printf '%s\\n' 'begin;'"] {
            dying(trial, &ending, point);
            assert_eq!(server.sql("postgres", "select count(*) from pg_database where datname = 'app_pre_run1'"), "0");
        }
        let ran = trial.act(&ending);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        assert_eq!((receipt(&ran, "rows"), receipt(&ran, "head")), (Some("500"), Some("500")), "{ran:?}");
        assert_eq!(receipt(&ran, "kept"), Some("database app_pre_run1"));
        assert_eq!(server.sql("app", "select count(*) from keyless"), "500");
        assert_eq!(server.sql("app_pre_run1", "select count(*) from keyless"), "507");
        let like = "select pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datallowconn, datacl::text from pg_database where datname = ";
        assert_eq!(server.sql("app", &format!("{like}'app'")), server.sql("app", &format!("{like}'app_pre_run1'")));
        assert_eq!(server.sql("app", "show search_path"), "\"$user\", public, extra");
        assert_eq!(server.sql("app", "show app.mode"), "it's live");
        let _ = session.stdin.take().map(|mut pipe| pipe.write_all(b"\\q\n"));
        session.wait().expect("it ends");

        // Twice finds it done, and overwrites nothing.
        assert_eq!(trial.look(&kind).status, 0);
        assert!(trial.acts(&kind).out.contains("was restored by this run already"));
        // Taking it back loses nothing either.
        trial.undoes(&kind);
        trial.undoes(&kind);
        assert_eq!(server.sql("app", "select count(*) from keyless"), "507");
        assert_eq!(server.sql("app_undone_run1", "select count(*) from keyless"), "500");
    });
}

#[test]
fn b_20_t_22_a_dump_that_is_cut_or_broken_leaves_the_live_database_alone() {
    let Some(server) = Postgres::start() else { return };
    server.sql("postgres", "create database app");
    server.sql("app", "create table t (n int); insert into t select generate_series(1, 60000)");
    in_every_shell(|trial| {
        server.offer(trial);
        trial.variable("LONGSHORE_RUN", "run1");
        let place =
            format!("[postgres]\ndatabase = 'app'\nuser = 'postgres'\nhost = '{}'", server.folder.path().display());
        let file = saved(trial, &format!("name = 'db'\nto = '{}'\n{place}", trial.at("copies")));
        let kind = restore(&format!("from = '{file}'\n{place}"));
        let whole = fs::read(&file).expect("there");
        let sidecar = fs::read_to_string(format!("{file}.receipt")).expect("there");

        fs::write(&file, &whole[..whole.len() - 100]).expect("writable");
        refused(trial, &kind, "as its receipt says");
        let mut changed = whole.clone();
        changed[300] ^= 1;
        fs::write(&file, &changed).expect("writable");
        refused(trial, &kind, "its sha256 differs");
        fs::write(&file, &whole).expect("writable");
        fs::write(format!("{file}.receipt"), sidecar.replace("row public.t 60000", "row public.t 60001"))
            .expect("writable");
        refused(trial, &kind, "other numbers of rows");
        fs::remove_file(format!("{file}.receipt")).expect("there");
        refused(trial, &kind, "nobody proved the copy");

        // A plain dump that was cut within a table restores without an error, were it not looked at.
        let plain = Command::new(server.bin.join("pg_dump"))
            .args(["-U", "postgres", "-d", "app", "-h"])
            .arg(server.folder.path())
            .output()
            .expect("pg_dump starts")
            .stdout;
        let from = trial.at("dump.sql");
        let of = |text: &str| restore(&format!("from = '{text}'\nunproven = 'made by hand'\n{place}"));
        fs::write(&from, &plain[..plain.len() / 2]).expect("writable");
        refused(trial, &of(&from), "has no end: it was cut");
        let broken = String::from_utf8(plain.clone()).expect("text").replace("CREATE TABLE", "CREATE TABEL");
        fs::write(&from, broken).expect("writable");
        refused(trial, &of(&from), "the live database was not touched");
        fs::write(&from, &plain).expect("writable");
        assert!(Command::new("gzip").arg("-kf").arg(&from).status().expect("gzip").success());
        let packed = fs::read(format!("{from}.gz")).expect("there");
        fs::write(format!("{from}.gz"), &packed[..packed.len() - 50]).expect("writable");
        refused(trial, &of(&format!("{from}.gz")), "");
        assert_eq!(server.sql("postgres", "select count(*) from pg_database where datname like 'app%'"), "1");
        assert_eq!(server.sql("app", "select count(*) from t"), "60000");

        fs::write(format!("{from}.gz"), &packed).expect("writable");
        trial.acts(&of(&format!("{from}.gz")));
        assert_eq!(server.sql("app", "select count(*) from t"), "60000");
        server.sql("postgres", "drop database app");
        // Where there was none, nothing is kept.
        let ran = trial.acts(&of(&from));
        assert_eq!(
            (receipt(&ran, "kept"), server.sql("app", "select count(*) from t").as_str()),
            (None, "60000"),
            "{ran:?}"
        );
        server.sql("postgres", "drop database app_pre_run1");
    });
}

#[test]
fn r60_s_43_s_45_sqlite_is_swapped_whole_with_what_its_writers_had_not_yet_put_into_it() {
    in_every_shell(|trial| {
        if !has_sqlite(trial) {
            return;
        }
        trial.variable("LONGSHORE_RUN", "run1");
        let live = trial.at("app.db");
        sqlite(&live, "pragma journal_mode = wal; create table t (n); insert into t values (1), (2), (3)");
        let file = saved(trial, &format!("name = 'db'\nto = '{}'\n[sqlite]\nfile = '{live}'", trial.at("copies")));
        let kind = restore(&format!(
            "from = '{file}'\n[sqlite]\nfile = '{live}'\ntables = ['t']\nhead = 'select count(*) from t'"
        ));
        // A writer that died left rows in the journal alone.
        let mut writer = Command::new("sqlite3").arg(&live).stdin(Stdio::piped()).spawn().expect("sqlite3 starts");
        let pipe = writer.stdin.as_mut().expect("a pipe");
        // The last of the others to leave has the file to itself for a moment.
        pipe.write_all(b".timeout 20000\npragma wal_autocheckpoint = 0;\ninsert into t values (4);\n")
            .expect("written");
        until(|| sqlite(&live, "select count(*) from t") == "4");
        refused(trial, &kind, "is in use (process");
        writer.kill().expect("killed");
        writer.wait().expect("gone");
        assert!(fs::metadata(trial.path("app.db-wal")).expect("a journal").len() > 0);

        for point in
            ["ln -- \"$live\"", "[ ! -e \"$live-wal\" ]", "rm -f -- \"$live-shm\"", "mv -f -- \"$fresh\" \"$live\""]
        {
            dying(trial, &kind, point);
            // What was there is whole, under one name or the other, and taking back finds it.
            trial.undoes(&kind);
            assert_eq!(
                sqlite(&live, "pragma wal_autocheckpoint = 0; select count(*) from t").lines().last(),
                Some("4"),
                "{point}"
            );
            let left: Vec<_> = trial.names(".").into_iter().filter(|name| name.contains("run1")).collect();
            assert_eq!(left, Vec::<String>::new(), "{point}");
        }
        dying(trial, &kind, "mv -f -- \"$fresh\" \"$live\"");
        assert_eq!(trial.look(&kind).status, 10);
        let ran = trial.acts(&kind);
        assert_eq!((receipt(&ran, "rows"), receipt(&ran, "head")), (Some("3"), Some("3")), "{ran:?}");
        assert_eq!((trial.look(&kind).status, sqlite(&live, "select count(*) from t").as_str()), (0, "3"));
        assert_eq!(sqlite(&trial.at("app.db_pre_run1"), "select count(*) from t"), "4");
        trial.acts(&kind);
        trial.undoes(&kind);
        assert_eq!(sqlite(&live, "select count(*) from t"), "4");
        assert_eq!(sqlite(&trial.at("app.db_undone_run1"), "select count(*) from t"), "3");
    });
}

#[test]
fn r60_s_17_files_are_replaced_as_wholes_and_the_old_ones_stay_beside() {
    in_every_shell(|trial| {
        trial.variable("LONGSHORE_RUN", "run1");
        fs::create_dir_all(trial.path("data/deep")).expect("writable");
        trial.write("data/deep/a b", "old");
        trial.write(".env", "TOKEN=old\n");
        let paths = format!("paths = ['{}/', '{}']", trial.at("data"), trial.at(".env"));
        let file = saved(trial, &format!("name = 'app'\nto = '{}'\n[files]\n{paths}", trial.at("copies")));
        let kind = restore(&format!("from = '{file}'\n[files]\n{paths}"));
        let change = |trial: &Trial| {
            trial.write("data/deep/a b", "new");
            trial.write("data/more", "new");
            trial.write(".env", "TOKEN=new\n");
        };
        change(trial);
        let new = |trial: &Trial| (trial.read("data/deep/a b"), trial.names("data").len(), trial.read(".env"));
        let is_new = ("new".to_owned(), 2, "TOKEN=new\n".to_owned());
        for point in [
            "mv -- \"$LONGSHORE_STEP_DIR/had.part\"",
            "ready=$(scratch \"$place\")",
            "mv -- \"$place\"",
            "mv -- \"$ready\" \"$place\"",
        ] {
            dying(trial, &kind, point);
            trial.undoes(&kind);
            assert_eq!(new(trial), is_new, "{point}");
            let left: Vec<_> = trial.names(".").into_iter().filter(|name| name.contains("run1")).collect();
            assert_eq!(left, Vec::<String>::new(), "{point}");
            fs::remove_dir_all(trial.path("step")).expect("there");
            fs::create_dir(trial.path("step")).expect("writable");
        }
        dying(trial, &kind, "mv -- \"$ready\" \"$place\"");
        let ran = trial.acts(&kind);
        assert_eq!(new(trial), ("old".to_owned(), 1, "TOKEN=old\n".to_owned()), "{ran:?}");
        assert_eq!(
            (trial.read("data_pre_run1/more"), trial.read(".env_pre_run1")),
            ("new".to_owned(), "TOKEN=new\n".to_owned())
        );
        assert_eq!(trial.look(&kind).status, 0);
        trial.undoes(&kind);
        assert_eq!(new(trial), is_new);
        assert_eq!(trial.read("data_undone_run1/deep/a b"), "old");
        fs::remove_dir_all(trial.path("step")).expect("there");
        fs::create_dir(trial.path("step")).expect("writable");
        let other = restore(&format!("from = '{file}'\n[files]\npaths = '{}'", trial.at("not there/at all")));
        refused(trial, &other, "not there/at all cannot be unpacked");
        assert!(!trial.path("not there/at all").exists());
    });
}

#[test]
fn b_15_the_newest_copy_of_a_day_is_found_by_its_date() {
    in_every_shell(|trial| {
        fs::create_dir(trial.path("copies")).expect("writable");
        for (stamp, run) in [("20261112T030000Z", "0001"), ("20261113T030000Z", "0002"), ("20261114T030000Z", "0003")] {
            let name = format!("copies/app-{stamp}-{run}.dump");
            trial.write(&name, run);
            let sum = Command::new("sha256sum").arg(trial.path(&name)).output().expect("sha256sum").stdout;
            let sum = String::from_utf8_lossy(&sum).split(' ').next().expect("a sum").to_owned();
            trial.write(&format!("{name}.receipt"), format!("size 4\nsha256 {sum}\nverified by hand\n"));
        }
        // Neither a copy of another name nor one without a receipt counts.
        trial.write("copies/app-two-20261114T030000Z-0004.dump.receipt", "size 4\n");
        trial.write("copies/app-20261115T030000Z-0005.dump", "0005");
        for (until, found) in [
            ("", Some("0003")),
            ("until = '2026-11-13'", Some("0002")),
            ("until = '2026-11-13T02:00:00Z'", Some("0001")),
            ("until = '2026-11-13T04:00:00+02:00'", Some("0001")),
            ("until = '2026-11-11'", None),
        ] {
            let kind = restore(&format!(
                "[latest]\nfolder = '{}'\nname = 'app'\n{until}\n[command]\nrun = 'cat \"$LONGSHORE_BACKUP_FILE\" >{}'\ncheck = 'true'\nkeeps = 'nowhere'",
                trial.at("copies"),
                trial.at("put back").replace(' ', "\\ "),
            ));
            match found {
                Some(found) => {
                    trial.acts(&kind);
                    assert_eq!(trial.read("put back"), found, "{until}");
                }
                None => refused(trial, &kind, "no copy named app-* with a receipt lies in"),
            }
        }
        // The first command that fails ends what restores, and what checks it.
        let kind = |run: &str, check: &str| {
            let folder = trial.at("copies");
            restore(&format!(
                "[latest]\nfolder = '{folder}'\nname = 'app'\n[command]\nrun = {run:?}\ncheck = {check:?}\nkeeps = 'nowhere'"
            ))
        };
        refused(trial, &kind("(exit 4)\ntrue", "true"), "the command that restores ended with 4");
        refused(trial, &kind("true", "(exit 5)\ntrue"), "the command that checks what was restored ended with 5");
    });
}

#[test]
fn what_cannot_be_restored_is_said_before_anything_is_touched() {
    for (text, problem) in [
        ("", "it does not say what to put back"),
        ("from = 'x'\nsqlite = { file = '/x' }", "`x` is not an absolute path"),
        ("postgres = { database = 'postgres' }", "the server's own database is not swapped"),
        (
            "postgres = { database = 'a_name_that_has_more_than_forty_five_bytes_in_all' }",
            "the name has more than 45 bytes",
        ),
        ("end-sessions = true\nsqlite = { file = '/x' }", "it is for `postgres` alone"),
        ("files = { paths = '/' }", "everything cannot be replaced as a whole"),
        (
            "files = { paths = '/x' }\nlatest = { folder = '/y', name = 'x', until = 'monday' }",
            "it is neither a day nor a moment",
        ),
        ("unproven = ' '\nsqlite = { file = '/x' }", "it needs a reason"),
        ("sqlite = { file = '/x' }\nfiles = { paths = '/x' }", "a restore puts one thing back"),
    ] {
        let kind: Restore = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let problems: Vec<_> = kind.problems().into_iter().map(|problem| problem.message).collect();
        assert!(problems.iter().any(|message| message.contains(problem)), "{text}: {problems:?}");
    }
}

#[test]
fn b_29_what_age_encrypted_comes_back_and_lies_nowhere_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    let Ok(made) = Command::new("age-keygen").arg("-o").arg(&key).output() else {
        eprintln!("SKIPPED: age is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let recipient = said.split_whitespace().last().expect("a recipient");
    in_every_shell(|trial| {
        if trial.path("bin").exists() {
            let age = Command::new("sh").args(["-c", "command -v age"]).output().expect("sh").stdout;
            let age = String::from_utf8_lossy(&age).trim().to_owned();
            std::os::unix::fs::symlink(age, trial.path("bin/age")).expect("writable");
        }
        trial.variable("LONGSHORE_RUN", "run1");
        trial.write(".env", "SESSION_SECRET=hunter2\n");
        let env = trial.at(".env");
        let file = saved(
            trial,
            &format!(
                "name = 'env'\nto = '{}'\nencrypt = {{ run = ['age', '-r', '{recipient}'], extension = 'age' }}\n\
                 files = {{ paths = '{env}', must-set = {{ '{env}' = 'SESSION_SECRET' }} }}",
                trial.at("copies")
            ),
        );
        assert!(file.ends_with(".tar.gz.age"), "{file}");
        let bytes = fs::read(&file).expect("there");
        assert!(bytes.starts_with(b"age-encryption.org/"), "it is not encrypted");
        let left = trial.names("copies");
        assert_eq!(left.len(), 2, "something readable was left: {left:?}");
        trial.write(".env", "SESSION_SECRET=other\n");
        trial.acts(&restore(&format!(
            "from = '{file}'\ndecrypt = ['age', '-d', '-i', '{}']\nfiles = {{ paths = '{env}' }}",
            key.display()
        )));
        assert_eq!(trial.read(".env"), "SESSION_SECRET=hunter2\n");
    });
}
