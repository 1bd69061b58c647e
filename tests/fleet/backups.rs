//! What copies there are of hosts' data, and whether a host can be rebuilt from them.

use std::fs;

use crate::fleet::Fleet;

/// A product with four kinds of data; its "database" is a file that is appended to.
const ROLE: &str = r#"
about = "A shop"
[requires]
path = "folder of the shop"
[vars]
save-models = false

[[data]]
name = "orders"
loss = "critical"
copy = { folder = "{{path}}/copies", name = "orders", younger-than = "26h" }
point-in-time = true

[[data]]
name = "settings"
loss = "critical"
copy = { folder = "{{path}}/copies", name = "settings" }

[[data]]
name = "pictures"
loss = "bulk"
copy = { folder = "{{path}}/copies", name = "pictures" }

[[data]]
name = "models"
loss = "cache"
when = "save-models"
copy = { folder = "{{path}}/copies", name = "models" }

[[data]]
name = "queue"
loss = "transient"

[[backup]]
name = "Save the orders"
backup = { name = "orders", to = "{{path}}/copies", command = { run = "cp {{path}}/orders \"$LONGSHORE_BACKUP_FILE\"", check = "grep -q paid \"$LONGSHORE_BACKUP_FILE\"" } }
[[backup]]
name = "Save the settings"
backup = { name = "settings", to = "{{path}}/copies", files = { paths = "{{path}}/.env", must-set = { "{{path}}/.env" = ["SESSION_SECRET"] } } }
[[backup]]
name = "Save the pictures"
backup = { name = "pictures", to = "{{path}}/copies", files = { paths = "{{path}}/pictures" } }

[[gate]]
name = "The shop is here"
command = "test -e {{path}}/orders"
[[check]]
name = "The orders are there"
command = { run = "cat {{path}}/orders", contains = "paid" }

[[drill]]
name = "Nothing is here"
effect = "read"
command = { run = "test ! -e {{path}}/orders" }
[[drill]]
name = "Put the orders back"
unprotected = "the host is empty"
[drill.restore]
latest = { folder = "{{path}}/copies", name = "orders" }
command = { run = "cp \"$LONGSHORE_BACKUP_FILE\" {{path}}/orders", check = "true", keeps = "nowhere: there is nothing" }
[[drill]]
name = "It is the shop again"
health = true
[[drill]]
name = "Take it down"
command = { run = "rm -rf {{path}}/orders {{path}}/copies" }
no-undo = "the drill is over"
"#;

fn fleet() -> Option<Fleet> {
    let mut fleet = Fleet::new()?;
    for name in ["berlin-1", "oslo-1", "spare-1"] {
        fleet.add(name, |sshd| sshd);
    }
    for name in ["berlin-1", "oslo-1"] {
        let home = &fleet.host(name).home;
        fs::write(home.join("orders"), format!("{name}: 3 paid\n")).expect("written");
        fs::write(home.join(".env"), "SESSION_SECRET=hunter2\n").expect("written");
        fs::create_dir(home.join("pictures")).expect("written");
        fs::write(home.join("pictures/a.jpg"), "a picture").expect("written");
    }
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("roles/shop/role.toml", ROLE);
    fleet.write("playbooks/backup.toml", "role = 'shop'\naction = 'backup'\nhosts = 'berlin-1:oslo-1'\n");
    Some(fleet)
}

#[test]
fn b_01_b_03_b_04_b_05_b_08_b_15_b_29_b_39_what_is_saved_and_what_is_missing_is_told_for_each_host() {
    let Some(fleet) = fleet() else { return };
    let ran = fleet.longshore(["backups", "all"]).run().expect_code(1);
    assert!(ran.out.contains("no proven copy") && !ran.out.contains("models"), "{ran}");
    assert!(ran.out.contains("berlin-1: cannot be rebuilt: no copy of orders, settings and pictures"), "{ran}");
    fleet.longshore(["apply", "backup", "--yes"]).run().expect_code(0);

    let ran = fleet.longshore(["backups", "berlin-1:oslo-1"]).run().expect_code(0);
    for row in ["orders", "settings", "pictures"] {
        assert_eq!(ran.out.lines().filter(|line| line.contains(row) && line.contains(" ok ")).count(), 2, "{ran}");
    }
    assert!(ran.out.contains("berlin-1: has a copy of everything"), "{ran}");
    assert!(ran.out.contains("never drilled, so unproven"), "{ran}");
    assert!(ran.out.lines().any(|line| line.contains("queue") && line.contains("not saved")), "{ran}");

    // One copy grew old, one of another host was emptied, one is slow to be made by right.
    let age = |host: &str, data: &str, stamp: &str| {
        let folder = fleet.host(host).home.join("copies");
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(&format!("{data}-")) {
                continue;
            }
            if name.ends_with(".receipt") {
                let text = fs::read_to_string(entry.path()).expect("a receipt");
                let old = text.lines().find_map(|line| line.strip_prefix("stamp ")).expect("a stamp");
                fs::write(entry.path(), text.replace(old, stamp)).expect("written");
            }
        }
    };
    age("berlin-1", "orders", "20200101T000000Z");
    age("berlin-1", "pictures", "20200101T000000Z");
    let folder = fleet.host("oslo-1").home.join("copies");
    let copy = fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path());
    let copy = copy.filter(|path| path.extension().is_some_and(|end| end != "receipt"));
    let settings = copy.into_iter().find(|path| path.to_string_lossy().contains("/settings-")).expect("a copy");
    fs::write(settings, "").expect("written");
    let ran = fleet.longshore(["backups", "berlin-1:oslo-1"]).run().expect_code(1);
    let is_overdue = |line: &&str| line.contains("overdue, after 1d 2h");
    assert_eq!(ran.out.lines().filter(is_overdue).count(), 1, "{ran}");
    assert!(ran.out.contains("overdue, after 8d"), "{ran}");
    assert!(ran.out.contains("oslo-1: cannot be rebuilt: no copy of settings"), "{ran}");
    // Pictures that are late hold nobody up.
    fleet.longshore(["apply", "backup", "--limit", "oslo-1", "--yes"]).run().expect_code(0);
    age("oslo-1", "pictures", "20200101T000000Z");
    fleet.longshore(["backups", "oslo-1"]).run().expect_code(0);

    let ran = fleet.longshore(["backups", "oslo-1", "--points"]).run().expect_code(0);
    assert_eq!(ran.out.matches("/copies/orders-").count(), 2, "{ran}");
    let ran = fleet.longshore(["backups", "oslo-1", "--output", "json"]).run().expect_code(0);
    let line: serde_json::Value = serde_json::from_str(ran.out.trim()).expect("JSON");
    assert_eq!(line["data"][0]["copies"].as_array().map(Vec::len), Some(2), "{line:#}");
    assert!(!ran.out.contains("hunter2"));
}

#[test]
fn b_30_b_31_b_32_b_38_a_host_is_rebuilt_elsewhere_from_its_newest_copies_and_that_is_remembered() {
    let Some(fleet) = fleet() else { return };
    let drill = |onto: &str| fleet.longshore(["drill", "berlin-1", "--onto", onto, "--yes"]).run();
    // Without copies nothing begins, and all that is missing is told.
    let ran = drill("spare-1").expect_code(6);
    assert!(ran.err.contains("there is no copy of orders, settings and pictures"), "{ran}");
    fleet.longshore(["apply", "backup", "--yes"]).run().expect_code(0);
    assert!(drill("berlin-1").expect_code(6).err.contains("is berlin-1 itself"));
    drill("nowhere").expect_code(2);
    // A host that is not empty is left alone.
    drill("oslo-1").expect_code(1);
    assert_eq!(fleet.read("oslo-1", "orders"), "oslo-1: 3 paid\n");
    let ran = fleet.longshore(["backups", "berlin-1"]).run().expect_code(0);
    assert!(ran.out.contains("its last drill failed, "), "{ran}");

    let before = fleet.read("berlin-1", "orders");
    let ran = drill("spare-1").expect_code(0);
    assert!(ran.err.contains("berlin-1 was rebuilt on spare-1 from the orders of 20"), "{ran}");
    assert!(!fleet.host("spare-1").home.join("orders").exists(), "it was not taken down");
    assert_eq!(fleet.read("berlin-1", "orders"), before);
    let left = fleet.project().join(".longshore/drill/berlin-1");
    assert!(!left.exists(), "copies are left on the controller");
    let ran = fleet.longshore(["backups", "berlin-1"]).run().expect_code(0);
    assert!(ran.out.contains("; drilled ") && ran.out.contains(" ago (run "), "{ran}");
}

#[test]
fn b_06_b_13_a_role_that_saves_the_wrong_way_is_told_all_at_once() {
    let Some(fleet) = fleet() else { return };
    let role = ROLE
        .replace("loss = \"transient\"", "loss = \"transient\"\ncopy = { folder = \"copies\", name = \"q\" }")
        + "\n[[data]]\nname = \"queue\"\nloss = \"bulk\"\npoint-in-time = true\n";
    fleet.write("roles/shop/role.toml", &role);
    let ran = fleet.longshore(["lint"]).run().expect_code(2);
    for said in [
        "what is `transient` is not saved by default",
        "`copies` is not an absolute path",
        "what is `bulk` is not worth recovery to any moment",
        "there must be one piece of data called `queue`",
    ] {
        assert!(ran.err.contains(said) || ran.out.contains(said), "{said}: {ran}");
    }
}

#[test]
fn b_15_g_36_putting_back_the_copy_of_a_day_is_asked_for_by_the_host_s_name() {
    let Some(fleet) = fleet() else { return };
    let home = fleet.host("berlin-1").home.clone();
    // Eight days of copies; the data went wrong a week ago.
    fs::create_dir(home.join("copies")).expect("made");
    for day in 10..18 {
        let name = home.join(format!("copies/orders-202611{day}T030000Z-00{day}.backup"));
        let text = format!("day {day}: paid\n");
        fs::write(&name, &text).expect("written");
        let sum = std::process::Command::new("sha256sum").arg(&name).output().expect("sha256sum").stdout;
        let sum = String::from_utf8_lossy(&sum).split(' ').next().expect("a sum").to_owned();
        let receipt = format!(
            "source command\nname orders\nrun 00{day}\nstamp 202611{day}T030000Z\nsize {}\nsha256 {sum}\nmade 2026-11-{day}T03:00:00Z\nverified by its own command\n",
            text.len()
        );
        fs::write(format!("{}.receipt", name.display()), receipt).expect("written");
    }
    let playbook = r#"
hosts = "berlin-1"
[[steps]]
name = "Put the orders of the 11th back"
[steps.restore]
latest = { folder = "{{path}}/copies", name = "orders", until = "2026-11-11" }
command = { run = "cp {{path}}/orders {{path}}/orders_before && cp \"$LONGSHORE_BACKUP_FILE\" {{path}}/orders", check = "true", keeps = "orders_before" }
"#;
    fleet.write("playbooks/back.toml", playbook);
    let ran = fleet.longshore(["apply", "back", "--yes"]).run().expect_code(6);
    assert!(ran.err.contains("to approve restore of berlin-1") && ran.err.contains("lost: everything"), "{ran}");
    assert_eq!(fleet.read("berlin-1", "orders"), "berlin-1: 3 paid\n");
    let approvals = fleet.write(
        "approvals.toml",
        "[[approve]]\nhost = 'berlin-1'\naction = 'restore'\nsteps = ['Put the orders of the 11th back']\nby = 'anna'\n",
    );
    let approvals = approvals.to_str().expect("text");
    fleet.longshore(["apply", "back", "--yes", "--approvals", approvals]).run().expect_code(0);
    assert_eq!(fleet.read("berlin-1", "orders"), "day 11: paid\n");
    assert_eq!(fleet.read("berlin-1", "orders_before"), "berlin-1: 3 paid\n");
}
