//! Copies travel from one host to the controller and to another host, as files of this machine here.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::steps::{Backup, Deliver, stand::Stand};

const CONTENT: &[u8] = b"precious\n\x00\xff data";

fn stand() -> Stand {
    let mut stand = Stand::new();
    stand.words.insert("host".to_owned(), "berlin-1".to_owned());
    fs::write(stand.path("data"), CONTENT).expect("writable");
    stand
}

/// Has the step `backup` make a copy, as run `run`.
fn back_up(stand: &Stand, run: &str) -> String {
    let kind: Backup = toml::from_str(&format!(
        "name = 'app'\nto = '{}'\ncommand = {{ run = 'cp {} \"$LONGSHORE_BACKUP_FILE\"', check = 'true' }}",
        stand.at("copies"),
        stand.at("data"),
    ))
    .expect("a backup");
    let step = stand.path(&format!("step-{run}"));
    fs::create_dir(&step).expect("writable");
    let Work::Host(program) = kind.work() else { panic!("it works on the host") };
    let ran = std::process::Command::new("sh")
        .args(["-c", &program.act])
        .env("LONGSHORE_STEP_DIR", &step)
        .env("LONGSHORE_RUN", run)
        .output()
        .expect("sh");
    assert!(ran.status.success(), "{ran:?}");
    let said = String::from_utf8(ran.stdout).expect("text");
    said.lines().find_map(|line| line.strip_prefix("longshore-receipt file ")).expect("a copy").to_owned()
}

fn collect(stand: &Stand, more: &str) -> Collect {
    let text = format!("folder = '{}'\nname = 'app'\nto = '{}'\n{more}", stand.at("copies"), stand.at("here"));
    let mut kind: Collect = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(kind.problems(), [], "{text}");
    kind.load(Path::new("/nowhere")).expect("loaded");
    kind
}

fn deliver(stand: &Stand) -> Deliver {
    let text = format!(
        "host = 'berlin-1'\nname = 'app'\nfrom = '{}'\nfolder = \"{}\"",
        stand.at("here"),
        stand.at("spare it's")
    );
    let mut kind: Deliver = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(kind.problems(), [], "{text}");
    kind.load(Path::new("/nowhere")).expect("loaded");
    kind
}

#[tokio::test]
async fn b_32_the_newest_proven_copy_moves_between_hosts_by_the_controller() {
    let stand = stand();
    let file = back_up(&stand, "0001");
    let name = Path::new(&file).file_name().expect("a name").to_str().expect("text").to_owned();
    let kind = collect(&stand, "");
    let looked = stand.with(async |reach| kind.look(reach).await).await.expect("looked");
    assert!(looked.is_some_and(|seen| seen.contains(&name)));
    let done = stand.with(async |reach| kind.act(reach).await).await.expect("collected");
    let place = stand.path(&format!("here/berlin-1/{name}"));
    assert!(done.changed);
    assert_eq!((done.receipt.get("path"), done.receipt.get("size")), (place.to_str(), Some("16")));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((fs::read(&place).expect("there"), mode(&place)), (CONTENT.to_vec(), 0o600));
    assert_eq!(mode(place.parent().expect("a folder")), 0o700);
    // The second time there is nothing to do.
    assert!(stand.with(async |reach| kind.look(reach).await).await.expect("looked").is_none());
    assert!(!stand.with(async |reach| kind.act(reach).await).await.expect("collected").changed);

    let there = deliver(&stand);
    assert!(stand.with(async |reach| there.look(reach).await).await.expect("looked").is_some());
    let done = stand.with(async |reach| there.act(reach).await).await.expect("delivered");
    let far = stand.path(&format!("spare it's/{name}"));
    assert!(done.changed && fs::read(&far).expect("there") == CONTENT);
    let receipt = |path: &Path| fs::read_to_string(format!("{}.receipt", path.display())).expect("a receipt");
    assert_eq!(receipt(&far), receipt(Path::new(&file)));
    assert_eq!(fs::read_dir(stand.path("spare it's")).expect("a folder").count(), 2, "something was left");
    assert!(!stand.with(async |reach| there.act(reach).await).await.expect("delivered").changed);
    // What was damaged on the controller goes nowhere.
    fs::write(&place, b"precious\n\x00\xfe data").expect("writable");
    let error = stand.with(async |reach| there.act(reach).await).await.expect_err("damaged");
    assert!(error.to_string().contains("is not what its receipt says"), "{error}");
}

#[tokio::test]
async fn only_a_copy_that_is_what_its_receipt_says_is_collected() {
    let stand = stand();
    let kind = collect(&stand, "");
    let act = async |kind: &Collect| stand.with(async |reach| kind.act(reach).await).await;
    let error = act(&kind).await.expect_err("nothing there");
    assert!(error.to_string().contains("no proven copy named app-*"), "{error}");
    let file = back_up(&stand, "0001");
    fs::write(&file, b"precious\n\x00\xfe data").expect("writable");
    let error = act(&kind).await.expect_err("another content");
    assert!(error.to_string().contains("its sha256 differs"), "{error}");
    assert_eq!(fs::read_dir(stand.path("here/berlin-1")).expect("a folder").count(), 0, "something was left");
    let error = act(&collect(&stand, "max = '10B'")).await.expect_err("too large");
    assert!(error.to_string().contains("more than"), "{error}");
}

#[tokio::test]
async fn b_14_old_copies_go_from_the_controller_by_the_same_rule() {
    let stand = stand();
    let folder = stand.path("here/berlin-1");
    fs::create_dir_all(&folder).expect("writable");
    for day in 10..16 {
        let file = folder.join(format!("app-202601{day}T030000Z-00{day}.backup"));
        fs::write(&file, "x").expect("writable");
        let receipt = format!("name app\nrun 00{day}\nstamp 202601{day}T030000Z\nsize 1\nverified x\n");
        fs::write(format!("{}.receipt", file.display()), receipt).expect("writable");
    }
    back_up(&stand, "0001");
    let kind = collect(&stand, "keep = { daily = 3 }");
    let done = stand.with(async |reach| kind.act(reach).await).await.expect("collected");
    assert_eq!(done.receipt.get("removed"), Some("4"));
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 6);
}
