//! `SVRunner` under the system's own manager: a real systemd as the first process, the unit with a user of its own, and a
//! login that may do nothing there but by sudo.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    people::Person,
    svrunner_lab::{Manager, SvRunner, as_before, can_have_a_system},
};

/// The user number that a file below a host's home belongs to.
fn owner(product: &SvRunner, host: &str, file: &str) -> u32 {
    fs::metadata(product.path(host, file)).unwrap_or_else(|error| panic!("{file}: {error}")).uid()
}

fn number_of(person: &Person) -> u32 {
    nix::unistd::User::from_name(&person.name).ok().flatten().expect("a user").uid.as_raw()
}

/// Waits until the host's server answers, which systemd starts beside sshd.
fn answers(product: &SvRunner, host: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while product.serves(host).is_empty() {
        assert!(Instant::now() < until, "{host} does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn s_19_s_23_s_42_s_43_s_44_the_system_s_own_unit_is_upgraded_by_sudo_taken_back_and_keeps_its_user() {
    if !can_have_a_system() {
        return;
    }
    let login = Person::with_shell("/bin/bash");
    // What root makes there is for root alone, unless it says otherwise.
    let rule = format!("ALL=(ALL) NOPASSWD: ALL\nDefaults:{} umask=077,umask_override", login.name);
    let login = login.sudoer(&rule);
    let service = Person::with_shell("/usr/sbin/nologin");
    let manager = Manager::System { login: &login, service: &service };
    let hosts = [("sv-1", "{}", ""), ("sv-bad", "{\"2.0.1\": {\"graphql\": true}}", "")];
    let Some(product) = SvRunner::under(manager, &hosts) else { return };
    for (host, ..) in hosts {
        answers(&product, host);
    }
    let on = |words: &[&str]| product.longshore(["exec", "sv-1"].iter().chain(words).copied()).run();
    // systemd is the first process there, and the login may do nothing to a unit by itself.
    on(&["--", "cat", "/proc/1/comm"]).expect_code(0).says("systemd");
    on(&["--become", "login", "--", "systemctl", "restart", "svrunner.service"]).expect_code(1);
    let runs_as = || {
        let script = "stat -c %U /proc/$(systemctl show -p MainPID --value svrunner.service)";
        let ran = on(&["--", "sh", "-c", script]).expect_code(0);
        assert!(ran.out.contains(&service.name), "{ran}");
    };
    runs_as();
    let database = "srv/shared/files/local.db";
    let content = || {
        product.sql("sv-1", database, "select group_concat(id || name || changed) from screens; select * from users")
    };
    let assets = || {
        let script = "cd srv/shared/files/assets && find . -type f -exec sha256sum {} + | sort";
        let output = Command::new("sh").args(["-c", script]).current_dir(&product.fleet.host("sv-1").home).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    // The service goes on owning all that it had, whoever worked on it.
    let owned = || {
        for file in ["srv/shared/.env", database, "srv/shared/files/logs/server.log", "srv/shared/files/assets"] {
            assert_eq!(owner(&product, "sv-1", file), number_of(&service), "{file}");
        }
    };

    let ran = product.upgrade("2.0.1").expect_code(1);
    assert_eq!([ran.row("sv-1")[1].as_str(), &ran.row("sv-bad")[1]], ["done", "undone"], "{ran}");
    as_before(&product, "sv-bad", &ran);
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.0.1".to_owned(), "2.0.1".to_owned()), "{ran}");
    runs_as();
    owned();

    // No data moved: the finished upgrade goes back by its link alone, and what was done since stays.
    let name = |name: &str| format!("insert into screens (name, changed) values ('{name}', '2026-11-21T09:00:00Z')");
    product.sql("sv-1", database, &name("of today"));
    fs::write(product.path("sv-1", "srv/shared/files/assets/of-today.png"), "today").expect("written");
    let (rows, files) = (content(), assets());
    assert!(rows.contains("of today") && files.contains("of-today.png"));
    let plan = product.fleet.project().join("back.json").display().to_string();
    product.longshore(["rollback", "last", "-o", &plan]).run().expect_code(0).says("its migrations did not move: 1");
    let ran = product.longshore(["rollback", "last", "sv-1", "--yes"]).run().expect_code(0);
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.0.0".to_owned(), "2.0.0".to_owned()), "{ran}");
    assert_eq!((content(), assets()), (rows, files), "{ran}");
    assert!(product.kept_aside("sv-1").is_empty() && !product.path("sv-1", "srv/maintenance").exists(), "{ran}");
    runs_as();
    owned();

    // Data moved: back to this run's copy, on somebody's word, with the data of today kept and all of it still the service's.
    product.upgrade("2.1.0").expect_code(0);
    product.sql("sv-1", database, &name("of tomorrow"));
    assert_eq!(product.sql("sv-1", database, "pragma user_version"), "2");
    let back = ["rollback", "last", "sv-1", "--yes"];
    let ran = product.longshore(back).run().expect_code(6);
    let file = product.approval(&ran, "sv-1");
    let ran = product.longshore(back.into_iter().chain(["--approvals", &file])).run().expect_code(0);
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.0.0".to_owned(), "2.0.0".to_owned()), "{ran}");
    let names = product.sql("sv-1", database, "select group_concat(name) from screens");
    assert_eq!(
        (names.as_str(), product.kept_aside("sv-1")),
        ("welcome,of today", vec!["welcome,of today,of tomorrow".to_owned()])
    );
    assert_eq!(product.sql("sv-1", database, "pragma user_version"), "1", "{ran}");
    runs_as();
    owned();
    product.longshore(["check", "sv-1"]).run().expect_code(0);
}
