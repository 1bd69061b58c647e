//! Foglet's runbook under Docker Compose, on hosts of the rig, beside what is installed there.

use std::process::{Command, Stdio};

use crate::{
    command::{Longshore, Ran},
    rig::{Install, Project, Rig, source},
};

const OLD: &str = "20260301090000";
const NEW: &str = "20260512100000";
const HOSTS: [&str; 4] = ["fovea-1", "fovea-2", "fovea-3", "fovea-4"];

/// Boards on the first hosts of the rig, `board-1` and so on; taken away when dropped.
struct Boards<'a> {
    rig: &'a Rig,
    project: Project<'a>,
    count: usize,
}

impl Drop for Boards<'_> {
    fn drop(&mut self) {
        install(self.count, "none");
    }
}

#[track_caller]
fn install(count: usize, version: &str) {
    let begun = HOSTS[..count].iter().map(|host| {
        let mut install = Command::new(source().join("tests/rig/foglet/install"));
        let install = install.args([host, version]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        install.spawn().expect("it starts")
    });
    for install in begun.collect::<Vec<_>>() {
        let ran = install.wait_with_output().expect("it ends");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
    }
}

impl<'a> Boards<'a> {
    fn installed(rig: &'a Rig, count: usize) -> Self {
        install(count, "0.2.0");
        let project = rig.project(&[]);
        std::fs::create_dir_all(project.path("roles/foglet")).expect("made");
        for file in ["role.toml", "releases.toml"] {
            let name = format!("roles/foglet/{file}");
            std::fs::copy(source().join(&name), project.path(&name)).expect("copied");
        }
        project.change("roles/foglet/role.toml", "for = \"20s\"", "for = \"6s\"");
        for name in [
            "inventory/foglet-profiles.toml",
            "playbooks/foglet-backup.toml",
            "playbooks/foglet-upgrade.toml",
            "playbooks/foglet-schema-rollback.toml",
            "playbooks/foglet-restore-keys.toml",
        ] {
            std::fs::copy(source().join(name), project.path(name)).expect("copied");
        }
        project.change("playbooks/foglet-upgrade.toml", "soak = \"10m\"", "soak = { for = \"4s\", every = \"1s\" }");
        let key = project.path("lookout");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.expect("it runs").success());
        let hosts: Vec<Install> = HOSTS[..count].iter().map(|host| (*host, "", "cpu")).collect();
        project.inventory(&hosts, "");
        for (index, host) in HOSTS[..count].iter().enumerate() {
            let board = format!("[hosts.board-{}]", index + 1);
            project.change("inventory/rig.toml", &format!("[hosts.{host}]"), &board);
        }
        let own = format!(
            "profile = \"foglet\"\n[groups.foglet.settings.vars]\npath = \"/srv/foglet\"\nbackups = \"/var/backups/foglet\"\n\
             address = \"http://localhost:4000\"\nssh-host = \"localhost\"\nssh-port = 2222\nspot-user = \"lookout\"\n\
             spot-key = {:?}\ndb-name = \"foglet\"\ndb-user = \"foglet\"\n",
            key.display().to_string()
        );
        project.change("inventory/rig.toml", "profile = \"fovea\"", "profile = \"foglet\"");
        let group = "[groups.fovea]\nhosts = [\"fovea-*\"]\n";
        let own = own.replacen("profile = \"foglet\"\n", "[groups.foglet]\nhosts = [\"board-*\"]\n", 1);
        project.change("inventory/rig.toml", group, &own);
        Self { rig, project, count }
    }

    /// Lets all boards begin at once, in place of one first.
    fn side_by_side(&self) {
        let alone = "canary = { hosts = 1 }\nwaves = [\"rest\"]\n";
        let all = "budget = { failed = 99 }\nat-once = 4\n";
        self.project.change("playbooks/foglet-upgrade.toml", alone, all);
    }

    fn longshore<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Longshore {
        self.project.longshore(arguments)
    }

    /// Lets boards be upgraded that were never proven to be restorable: those gates have a test of their own.
    fn trusted(&self) {
        for copy in ["database", "host keys"] {
            let gate = format!("name = \"The {copy} can be put back\"\nwhen = \"upgrading\"");
            self.project.change("roles/foglet/role.toml", &gate, &gate.replace("upgrading", "!upgrading"));
        }
    }

    fn saved(&self) {
        self.longshore(["apply", "foglet-backup", "--yes"]).run().expect_code(0);
    }

    fn upgrade(&self, to: &str) -> Ran {
        let read: &[&str] = if to == "0.3.0" { &["--ack", "0.3.0"] } else { &[] };
        self.longshore(["apply", "foglet-upgrade", "--to", to, "--yes"].iter().chain(read).copied()).run()
    }

    /// What a script for `sh` prints in the folder of board `number`.
    #[track_caller]
    fn shell(&self, number: usize, script: &str) -> String {
        self.rig.says(HOSTS[number - 1], &["sh", "-ec", &format!("cd /srv/foglet\n{script}")])
    }

    #[track_caller]
    fn sql(&self, number: usize, query: &str) -> String {
        self.shell(
            number,
            &format!(
                "docker exec foglet-postgres-1 psql -X -A -t -v ON_ERROR_STOP=1 -U foglet -d foglet -c \"{query}\""
            ),
        )
    }

    fn head(&self, number: usize) -> String {
        self.sql(number, "select max(version) from schema_migrations")
    }

    /// Everything that people wrote.
    fn data(&self, number: usize) -> String {
        self.sql(
            number,
            "select (select string_agg(id || body || inserted_at, ' ' order by id) from posts) || '; ' || \
             (select string_agg(handle, ' ' order by handle) from users)",
        )
    }

    /// The release that runs; empty where none does.
    fn runs(&self, number: usize) -> String {
        let listed = self.shell(number, "docker ps --filter name=foglet-foglet-1 --format '{{.Image}}'");
        listed.rsplit_once(':').map(|(_, tag)| tag.to_owned()).unwrap_or_default()
    }

    /// What must be the same where nothing was to be changed: containers, settings, data, schema.
    fn as_it_is(&self, number: usize) -> [String; 4] {
        let containers = "docker ps --no-trunc --filter label=com.docker.compose.project=foglet --format '{{.ID}} {{.Image}}' | sort";
        [self.shell(number, containers), self.shell(number, "cat .env"), self.data(number), self.head(number)]
    }

    /// The fingerprint of the key that the board shows.
    fn key(&self, number: usize) -> String {
        self.shell(number, "ssh-keyscan -p 2222 -t ed25519 localhost 2>/dev/null | ssh-keygen -lf - | cut -d ' ' -f 2")
    }

    /// Lets things go wrong in the board's releases, a line each.
    fn fault(&self, number: usize, faults: &str) {
        let folder = self.shell(number, "docker volume inspect -f '{{.Mountpoint}}' foglet_data");
        self.shell(number, &format!("printf '%s\\n' '{faults}' >{folder}/faults"));
    }

    fn told(&self, number: usize) -> String {
        let board = format!("board-{number}");
        let ran = self.longshore(["history", "show", "last", "--host", &board]).run().expect_code(0);
        crate::command::flat(&ran.out)
    }
}

/// There, with everything proven that must be, and back with its data; then back by its schema from a hold, and its host keys.
#[test]
fn g_03_g_04_g_05_g_09_g_10_g_11_g_12_g_13_g_14_g_16_g_17_g_27_g_28_a_board_goes_there_by_a_container_of_the_new_image_and_back_with_its_data()
 {
    let Some(rig) = Rig::with(&HOSTS[..1]) else { return };
    let boards = Boards::installed(&rig, 1);
    let (before, data, key) = (boards.as_it_is(1), boards.data(1), boards.key(1));
    let unread = boards.longshore(["apply", "foglet-upgrade", "--to", "0.3.0", "--yes"]).run();
    assert!(unread.code != Some(0) && unread.err.contains("--ack 0.3.0"), "{unread}");
    let untouched = |ran: &Ran| assert_eq!(boards.as_it_is(1), before, "{ran}");

    // Nobody ever proved that it could be restored.
    let ran = boards.upgrade("0.3.0").expect_code(1);
    assert_eq!(ran.row("board-1")[1], "parked", "{ran}");
    let ran = ran.says("no proven copy named foglet-* lies in /var/backups/foglet");
    untouched(&ran);
    boards.saved();
    let ran = boards.longshore(["backups", "board-1", "--role", "foglet"]).run().expect_code(0);
    untouched(&ran);

    // What was proven and is damaged since is no proof: a dump of the same length, an archive that was cut.
    let spoil = "sed -i 's/PGDMP/PGDMQ/' $(ls /var/backups/foglet/foglet-2*.dump)";
    boards.shell(
        1,
        &format!(
            "mkdir was; cp -a /var/backups/foglet /srv/foglet/was/good; {spoil}; truncate -s -20 /var/backups/foglet/foglet-host-keys-*.tgz"
        ),
    );
    let ran = boards.upgrade("0.3.0").expect_code(1);
    let ran = ran.says("The database can be put back").says("damaged").says("The host keys can be put back");
    untouched(&ran);
    boards.shell(
        1,
        "rm -rf /var/backups/foglet/*; cp -a /srv/foglet/was/good/. /var/backups/foglet; rm -rf /srv/foglet/was/good",
    );

    // Nor does the run's own copy count before it was restored: here one that ends in the middle.
    let cut = "docker exec -u 0 foglet-postgres-1 sh -c 'rm /usr/bin/pg_dump; printf \"#!/bin/sh\\n/usr/lib/postgresql/15/bin/pg_dump \\\"\\$@\\\" | head -c 3000\\n\" >/usr/bin/pg_dump; chmod 755 /usr/bin/pg_dump'";
    boards.shell(1, cut);
    let ran = boards.upgrade("0.3.0");
    assert!(ran.code != Some(0) && boards.told(1).contains("Back up the database: failed"), "{ran}{}", boards.told(1));
    untouched(&ran);
    boards.shell(1, "docker exec -u 0 foglet-postgres-1 ln -sf /usr/lib/postgresql/15/bin/pg_dump /usr/bin/pg_dump");

    let ran = boards.upgrade("0.3.0").expect_code(0);
    assert_eq!((boards.runs(1).as_str(), boards.head(1).as_str()), ("0.3.0", NEW), "{ran}");
    assert_eq!((boards.data(1), boards.key(1)), (data.clone(), key.clone()), "{ran}");
    assert_eq!(
        boards.sql(1, "select (select value from config) || ' ' || (select board from fixtures)"),
        "Foglet lobby"
    );
    let told = boards.told(1);
    assert!(told.contains("verified: restored into a scratch database"), "{told}");
    // The keys of the copy are those that people know, with their modes.
    let saved = boards.shell(
        1,
        "mkdir -p /srv/foglet/was/keys; tar -xpzf $(ls /var/backups/foglet/foglet-host-keys-*.tgz | tail -n 1) -C /srv/foglet/was/keys
         stat -c %a /srv/foglet/was/keys/ssh/ssh_host_ed25519_key /var/backups/foglet/*.tgz | sort -u
         ssh-keygen -lf /srv/foglet/was/keys/ssh/ssh_host_ed25519_key | cut -d ' ' -f 2; rm -r /srv/foglet/was/keys",
    );
    assert_eq!(saved, format!("600\n{key}"), "{ran}");
    let kept = boards.project.kept();
    for secret in ["posts-of-fovea-1", "base-of-fovea-1"] {
        assert!(!kept.contains(secret) && !told.contains(secret), "{secret} is in what longshore keeps");
    }

    // What came after the copy would be lost, and somebody has to say so.
    boards.sql(1, "insert into posts (id, body, inserted_at) values (2, 'of today', '2026-11-21 18:30:00'); update posts set body = 'other' where id = 1");
    let refused = boards.longshore(["rollback", "last", "--yes"]).run().expect_code(6);
    assert_eq!(boards.runs(1), "0.3.0", "{refused}");
    let approvals = boards.project.approval(&refused, "board-1");
    let ran = boards.longshore(["rollback", "last", "--yes", "--approvals", &approvals]).run().expect_code(0);
    let after = boards.as_it_is(1);
    assert_eq!(after[1..], before[1..], "{ran}");
    assert_eq!((boards.runs(1).as_str(), boards.key(1)), ("0.2.0", key.clone()), "{ran}");
    let aside = boards.sql(1, "select datname from pg_database where datname like 'foglet\\_pre\\_%'");
    let count =
        format!("docker exec foglet-postgres-1 psql -X -A -t -U foglet -d {aside} -c 'select count(*) from posts'");
    assert_eq!(boards.shell(1, &count), "2", "{ran}");

    // An account for tests is no release: held, stopped, and back by its schema, with what was written.
    boards.fault(1, "seeds-for-tests");
    let ran = boards.upgrade("0.3.0").expect_code(3);
    assert!(boards.told(1).contains("for tests: qa-bot"), "{ran}{}", boards.told(1));
    assert_eq!((boards.runs(1).as_str(), boards.head(1).as_str()), ("", NEW), "{ran}");
    boards.fault(1, "");
    let playbook = "playbooks/foglet-schema-rollback.toml";
    boards.project.change(playbook, "schema-version = \"\"", &format!("schema-version = {NEW:?}"));
    let step = "Roll the schema back, the chosen migration included";
    let word = format!(
        "[[approve]]\nhost = \"board-1\"\naction = \"irreversible\"\nsteps = [{step:?}]\nto = \"0.2.0\"\nby = \"anna\"\n"
    );
    boards.project.write("approvals.toml", &word);
    let apply = ["apply", "foglet-schema-rollback", "--to", "0.2.0", "--yes", "--approvals", &approvals];
    let ran = boards.longshore(apply).run().expect_code(0);
    assert_eq!((boards.runs(1).as_str(), boards.head(1).as_str()), ("0.2.0", OLD), "{ran}");
    assert!(boards.data(1).contains("lookout qa-bot") && boards.key(1) == key, "{ran}");

    // Its keys are lost, and it shows one that nobody knows, until those of the copy lie there again.
    let volume = boards.shell(1, "docker volume inspect -f '{{.Mountpoint}}' foglet_data");
    boards.shell(1, &format!("rm {volume}/ssh/*; docker compose restart -t 1 foglet 2>&1; sleep 2"));
    assert_ne!(boards.key(1), key);
    let word =
        "[[approve]]\nhost = \"board-1\"\naction = \"restore\"\nsteps = [\"Put the host keys back\"]\nby = \"anna\"\n";
    boards.project.write("approvals.toml", word);
    let ran = boards.longshore(["apply", "foglet-restore-keys", "--yes"]).run().expect_code(6);
    assert_ne!(boards.key(1), key, "{ran}");
    let apply = ["apply", "foglet-restore-keys", "--yes", "--approvals", &approvals];
    let ran = boards.longshore(apply).run().expect_code(0);
    assert_eq!(boards.key(1), key, "{ran}");
    let lies = boards.shell(
        1,
        &format!("cd {volume}; ls | sed 's/_pre_.*/_pre/'; stat -c '%a %u' ssh/ssh_host_ed25519_key; ls ssh_pre_*"),
    );
    assert_eq!(lies, "faults\nssh\nssh_pre\n600 0\nssh_host_ed25519_key\nssh_host_ed25519_key.pub", "{ran}");
}

/// The canary proves the migration first; each way on from a hold, to its end.
#[test]
fn g_02_g_10_g_26_g_27_g_28_g_29_g_30_g_31_g_32_g_33_g_34_g_36_g_37_g_38_migrations_that_fail_stop_the_rest_and_each_way_on_from_a_hold_is_gone()
 {
    let Some(rig) = Rig::with(&HOSTS[..3]) else { return };
    let boards = Boards::installed(&rig, 3);
    boards.trusted();
    let before = [1, 2, 3].map(|number| boards.as_it_is(number));
    boards.fault(1, &format!("migration {NEW}"));
    let ran = boards.upgrade("0.3.0");
    assert_eq!(ran.row("board-1")[2], "undone", "{ran}");
    assert!(boards.told(1).contains(&format!("migration {NEW} failed: it does not go")), "{ran}");
    // The old container went on: what was stopped for the migrations was started again.
    assert_eq!(boards.as_it_is(1), before[0], "{ran}");
    assert_eq!(ran.row("board-[2,3]")[2], "not started", "{ran}");
    for number in [2, 3] {
        assert_eq!(boards.as_it_is(number), before[number - 1], "{ran}");
    }

    // Of one the seeds fail after the migration, one lets nobody in, one is well.
    boards.side_by_side();
    boards.fault(1, "seeds");
    boards.fault(2, "0.3.0:no-ssh");
    // One has migrations alone run for it, and no seeds.
    boards.project.change(
        "inventory/rig.toml",
        "[groups.foglet.settings.vars]\n",
        "[groups.plain]\nhosts = [\"board-3\"]\nsettings = { vars = { release-call = \"FogletBbs.Release.migrate()\" } }\n\
         [groups.foglet.settings.vars]\n",
    );
    boards.sql(3, "delete from fixtures");
    let ran = boards.upgrade("0.3.0").expect_code(3);
    // What happened to the data, and what can be done about it.
    let ran =
        ran.says(&format!("its migrations were at {OLD}, now {NEW}")).says("only if the old release can run on it");
    assert_eq!(boards.sql(3, "select count(*) from fixtures"), "0", "{ran}");
    let outcomes = [1, 2, 3].map(|number| ran.row(&format!("board-{number}"))[1].clone());
    assert_eq!(outcomes, ["held", "held", "done"], "{ran}");
    assert!(boards.told(1).contains("priv/repo/seeds/fixtures.exs: it does not go"), "{ran}");
    assert!(boards.told(2).contains("/up answers: pass"), "{}", boards.told(2));
    for number in [1, 2] {
        // Stopped, then kept as it is; nothing was restored by itself.
        assert_eq!((boards.runs(number).as_str(), boards.head(number).as_str()), ("", NEW), "{ran}");
        assert_eq!(boards.data(number), before[number - 1][2], "{ran}");
        let evidence = boards.shell(
            number,
            "cd /var/backups/foglet/incident-*; ls | tr '\\n' ' '; stat -c %a database.dump
             docker exec -i foglet-postgres-1 pg_restore -f - <database.dump | grep -c '^20260512100000'
             grep -q Running log; grep -cE 'posts-of|base-of' * || :",
        );
        assert_eq!(
            evidence,
            "containers database.dump inspected log 600\n1\ncontainers:0\ndatabase.dump:0\ninspected:0\nlog:0"
        );
    }

    // A person says that the old release can run on the new schema.
    let ran = boards.longshore(["resume", "--as", "code-rollback", "--host", "board-1"]).run();
    assert_eq!((boards.runs(1).as_str(), boards.head(1).as_str()), ("0.2.0", NEW), "{ran}");
    assert_eq!((boards.data(1), boards.shell(1, "cat .env")), (before[0][2].clone(), before[0][1].clone()), "{ran}");

    // The other goes back with its data, once somebody gave a word for this very copy.
    boards.sql(2, "insert into posts (id, body, inserted_at) values (2, 'of today', '2026-11-21 18:30:00')");
    let restore = ["resume", "--as", "restore", "--host", "board-2"];
    let refused = boards.longshore(restore).run().expect_code(6);
    let refused = refused.tells("newest data on the host: 2026-11-21 18:30:00").tells(" ago");
    assert_eq!(boards.sql(2, "select count(*) from posts"), "2", "{refused}");
    let approvals = boards.project.approval(&refused, "board-2");
    let ran = boards.longshore(restore.into_iter().chain(["--approvals", &approvals])).run();
    assert_eq!(
        (boards.runs(2).as_str(), boards.as_it_is(2)[1..].to_vec()),
        ("0.2.0", before[1][1..].to_vec()),
        "{ran}"
    );
    let aside = boards.sql(2, "select datname from pg_database where datname like 'foglet\\_pre\\_%'");
    let count =
        format!("docker exec foglet-postgres-1 psql -X -A -t -U foglet -d {aside} -c 'select count(*) from posts'");
    assert_eq!(boards.shell(2, &count), "2", "{ran}");

    // The third by its schema: to a chosen version, on a word for it, and the release of before runs then.
    let playbook = "playbooks/foglet-schema-rollback.toml";
    boards.project.change(playbook, "schema-version = \"\"", &format!("schema-version = {NEW:?}"));
    let apply = ["apply", "foglet-schema-rollback", "--limit", "board-3", "--to", "0.2.0", "--yes"];
    let ran = boards.longshore(apply).run().expect_code(6);
    assert_eq!((boards.runs(3).as_str(), boards.head(3).as_str()), ("0.3.0", NEW), "{ran}");
    let step = "Roll the schema back, the chosen migration included";
    let word = format!(
        "[[approve]]\nhost = \"board-3\"\naction = \"irreversible\"\nsteps = [{step:?}]\nto = \"0.2.0\"\nby = \"anna\"\n"
    );
    boards.project.write("approvals.toml", &word);
    let ran = boards.longshore(apply.into_iter().chain(["--approvals", &approvals])).run().expect_code(0);
    assert_eq!(
        (boards.runs(3).as_str(), boards.as_it_is(3)[1..].to_vec()),
        ("0.2.0", before[2][1..].to_vec()),
        "{ran}"
    );
}

/// What must be there is asked for, what is bad is found out, and code alone goes back.
#[test]
fn g_01_g_05_g_06_g_07_g_08_g_18_g_19_g_20_g_21_g_22_g_23_g_24_g_25_g_26_g_29_a_bad_release_under_compose_is_found_out_and_code_alone_goes_back()
 {
    let Some(rig) = Rig::up() else { return };
    let boards = Boards::installed(&rig, 4);
    boards.side_by_side();
    boards.trusted();
    // Longer than a board runs that ends itself.
    boards.project.change("playbooks/foglet-upgrade.toml", "for = \"4s\"", "for = \"8s\"");
    let all = || [1, 2, 3, 4].map(|number| boards.as_it_is(number));
    let outcomes = |ran: &Ran| {
        let state = boards.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0).state();
        let of = |number: usize| {
            let host = state.hosts.iter().find(|(name, _)| name.as_str() == format!("board-{number}"));
            host.and_then(|(_, host)| host.outcome)
                .unwrap_or_else(|| panic!("board-{number}: {ran}"))
                .as_str()
                .to_owned()
        };
        [1, 2, 3, 4].map(of)
    };
    let mut before = all();

    // A variable that is empty; volumes of other names; none at all; keys that are gone.
    let keep = "mkdir was; cp .env /srv/foglet/was/env; cp docker-compose.yml /srv/foglet/was/compose";
    (1..=4).for_each(|number| drop(boards.shell(number, keep)));
    boards.shell(1, "sed -i 's/^SECRET_KEY_BASE=.*/SECRET_KEY_BASE=/' .env");
    boards.shell(2, "sed -i 's/\\[\"data:/[\"board:/; s/^  data:/  board:/; s/\"postgres:\\/var/\"pg:\\/var/; s/^  postgres:$/  pg:/' docker-compose.yml; sed -i '0,/^  pg:/s//  postgres:/' docker-compose.yml");
    boards.shell(
        3,
        "sed -i '/volumes: .\"data:/d' docker-compose.yml; mount -t tmpfs -o size=4m,mode=0755 none /var/backups/foglet",
    );
    let volume = boards.shell(4, "docker volume inspect -f '{{.Mountpoint}}' foglet_data");
    boards.shell(4, &format!("mv {volume}/ssh /srv/foglet/was/ssh; mkdir {volume}/ssh"));
    let with_mail = "profile = \"foglet\"\nvars = { email = true }";
    let inventory = std::fs::read_to_string(boards.project.path("inventory/rig.toml")).expect("read");
    boards.project.write("inventory/rig.toml", &inventory.replacen("profile = \"foglet\"", with_mail, 1));
    let ran = boards.upgrade("0.2.1").expect_code(1);
    assert_eq!(outcomes(&ran)[..3], ["parked", "parked", "parked"], "{ran}");
    let seen = [
        (1, "not in place: SECRET_KEY_BASE SMTP_HOST SMTP_USERNAME SMTP_PASSWORD"),
        (2, "foglet:/data is foglet_data, the file says foglet_board"),
        (2, "postgres:/var/lib/postgresql/data is foglet_"),
        (3, "foglet:/data is foglet_data, the file says nothing"),
        (3, "Copies can be kept: fail"),
        (3, "Copies can be written: fail"),
        (4, "there is no host key in it"),
    ];
    for (number, cause) in seen {
        assert!(boards.told(number).contains(cause), "board-{number}: {}", boards.told(number));
    }
    let mend = "cp /srv/foglet/was/env .env; cp /srv/foglet/was/compose docker-compose.yml;";
    (1..=4).for_each(|number| drop(boards.shell(number, mend)));
    boards.shell(3, "umount /var/backups/foglet");
    boards.shell(4, &format!("rmdir {volume}/ssh; mv /srv/foglet/was/ssh {volume}/ssh"));
    assert_eq!(all(), before, "{ran}");

    // The same words in the log of two boards, of which one sends mail; the last board is well.
    let mail = "log ** (Swoosh.DeliveryError) no relay";
    boards.fault(1, &format!("0.2.1:{mail}"));
    boards.fault(
        2,
        &format!(
            "0.2.1:log ** (Ecto.MigrationError) cannot\n0.2.1:log ** (DBConnection.ConnectionError) tcp connect\n0.2.1:{mail}\n\
             0.2.1:log environment variable SECRET_KEY_BASE is missing.\n0.2.1:log ssh-keygen failed (exit 1) generating"
        ),
    );
    boards.fault(3, "0.2.1:restarts");
    let mailing = with_mail.replace("true }", "true, mail-env = [\"PORT\"] }");
    boards.project.write("inventory/rig.toml", &inventory.replacen("profile = \"foglet\"", &mailing, 1));
    let ran = boards.upgrade("0.2.1").expect_code(1);
    assert_eq!(outcomes(&ran), ["undone", "undone", "undone", "done"], "{ran}");
    assert!(boards.told(1).contains("Swoosh.DeliveryError"), "{}", boards.told(1));
    let told = boards.told(2);
    assert!(told.contains("in the log: migration repo environment host-keys") && !told.contains("Swoosh"), "{told}");
    let told = boards.told(3);
    assert!(told.contains("was just restarted") || told.contains("It stays up"), "{told}");
    for number in [1, 2, 3] {
        assert_eq!(
            (boards.runs(number).as_str(), &boards.as_it_is(number)[1..]),
            ("0.2.0", &before[number - 1][1..]),
            "{ran}"
        );
    }

    // A finished upgrade that moved no schema goes back by code alone: what was written since is there.
    let write = "insert into posts (id, body, inserted_at) values (2, 'since then', '2026-11-21 18:30:00')";
    boards.sql(4, write);
    let ran = boards.longshore(["rollback", "last", "board-4", "--yes"]).run().expect_code(0);
    assert_eq!((boards.runs(4).as_str(), boards.shell(4, "cat .env")), ("0.2.0", before[3][1].clone()), "{ran}");
    assert!(boards.data(4).contains("since then") && boards.head(4) == OLD, "{ran}");
    assert_eq!(boards.sql(4, "select count(*) from pg_database where datname like 'foglet\\_%'"), "0", "{ran}");

    // So does one whose schema the release of before is said to bear: by itself where it fails, and later.
    let compatible = "[[release]]\nbackward-compatible = true\n";
    boards.project.change("roles/foglet/releases.toml", "[[release]]\n", compatible);
    before[3] = boards.as_it_is(4);
    boards.fault(3, "0.3.0:other-key");
    let limit = ["apply", "foglet-upgrade", "--to", "0.3.0", "--ack", "0.3.0", "--limit", "board-3,board-4", "--yes"];
    let ran = boards.longshore(limit).run().expect_code(1);
    assert_eq!([&ran.row("board-3")[1], &ran.row("board-4")[1]], ["undone", "done"], "{ran}");
    assert_eq!((boards.runs(3).as_str(), boards.head(3).as_str()), ("0.2.0", NEW), "{ran}");
    let told = boards.told(3);
    assert!(told.contains("/up answers: pass") && told.contains("the host key is SHA256:"), "{told}");
    let ran = boards.longshore(["rollback", "last", "board-4", "--yes"]).run().expect_code(0);
    for number in [3, 4] {
        assert_eq!((boards.runs(number).as_str(), boards.head(number).as_str()), ("0.2.0", NEW), "{ran}");
        let now = boards.as_it_is(number);
        assert_eq!(now[1..3], before[number - 1][1..3], "{ran}");
        assert_eq!(
            boards.sql(number, "select count(*) from pg_database where datname like 'foglet\\_%'"),
            "0",
            "{ran}"
        );
    }
}
