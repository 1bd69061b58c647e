//! What a lab leaves behind, and what it writes into a project.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_outlives_its_connection_and_not_the_lab() {
    let fleet = fleet(vec![web(1)]).await;
    let root = fleet.root().to_owned();
    let home = fleet.hosts()[0].home.clone();
    let handle = log_in(&fleet, 0).await.unwrap();
    let channel = handle.channel_open_session().await.unwrap();
    let left = "until [ -e go ]; do sleep 0.02; done; echo done > out; sleep 1000";
    channel.exec(true, format!("(setsid sleep 1001 </dev/null >/dev/null 2>&1 & ) ; : > up; {left}")).await.unwrap();
    eventually("the program starts", || home.join("up").exists()).await;
    handle.disconnect(Disconnect::ByApplication, "", "").await.unwrap();
    drop(handle);
    fs::write(home.join("go"), "").unwrap();
    eventually("the program goes on", || home.join("out").exists()).await;
    let mark = fleet.processes.mark().to_owned();
    if cfg!(target_os = "linux") {
        eventually("`setsid sleep` runs, too", || fleet.processes().len() >= 3).await;
    }
    timeout(LONG, fleet.stop()).await.unwrap().unwrap();
    assert!(processes::marked(&mark).is_empty());
    assert!(!root.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_lab_leaves_nothing_either() {
    let fleet = fleet(vec![web(1)]).await;
    let (root, mark) = (fleet.root().to_owned(), fleet.processes.mark().to_owned());
    let handle = log_in(&fleet, 0).await.unwrap();
    run(&handle, "mkdir shut; : > shut/file; chmod 500 shut; sleep 1000 </dev/null >/dev/null 2>&1 &").await;
    drop(fleet);
    assert!(processes::marked(&mark).is_empty());
    assert!(!root.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_lab_left_is_removed_by_the_next_in_the_same_place() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("lab");
    let options = || LabOptions { root: Some(root.clone()), ..LabOptions::numbered(1) };
    let first = Fleet::start(options()).await.unwrap();
    assert!(matches!(Fleet::start(options()).await, Err(LabError::InUse { .. })));
    first.stop().await.unwrap();
    assert!(!root.exists());

    // As if killed: its files, its lock free, and a process of its own still there.
    fs::create_dir_all(root.join("hosts/web-1")).unwrap();
    fs::write(root.join("lab.lock"), "01TESTDEADLAB").unwrap();
    fs::write(root.join("notes.txt"), "not the lab's").unwrap();
    let mut orphan =
        std::process::Command::new("sleep").arg("1000").env(processes::MARK, "01TESTDEADLAB").spawn().unwrap();
    let second = Fleet::start(options()).await.unwrap();
    if cfg!(target_os = "linux") {
        assert!(!orphan.wait().unwrap().success(), "killed");
    } else {
        orphan.kill().unwrap();
        orphan.wait().unwrap();
    }
    second.stop().await.unwrap();
    assert_eq!(fs::read_to_string(root.join("notes.txt")).unwrap(), "not the lab's");
    assert!(!root.join("hosts").exists());
}

#[tokio::test]
async fn a_directory_with_files_of_somebody_else_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("known_hosts"), "mine").unwrap();
    let options = LabOptions { root: Some(place.path().to_owned()), ..LabOptions::numbered(1) };
    assert!(matches!(Fleet::start(options).await, Err(LabError::NotEmpty { .. })));
    assert_eq!(fs::read_to_string(place.path().join("known_hosts")).unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_gets_the_labs_hosts_and_keeps_what_is_not_the_labs() {
    let project = tempfile::tempdir().unwrap();
    fs::write(
        project.path().join("known_hosts"),
        "example.org ssh-ed25519 AAAA mine\n[127.0.0.1]:1 ssh-ed25519 BBBB longshore-lab\n",
    )
    .unwrap();
    let fleet = fleet(vec![web(1), web(2)]).await;
    fleet.write_project(project.path()).unwrap();
    let known = fs::read_to_string(project.path().join("known_hosts")).unwrap();
    assert!(known.starts_with("example.org ssh-ed25519 AAAA mine\n[127.0.0.1]:"), "{known}");
    assert!(!known.contains("BBBB") && known.lines().count() == 3, "{known}");
    let inventory: crate::config::documents::Inventory =
        toml::from_str(&fs::read_to_string(project.path().join("inventory/lab.toml")).unwrap()).unwrap();
    let host = &inventory.hosts[&name("web-2")];
    assert_eq!((host.address.as_deref(), host.port), (Some("127.0.0.1"), Some(fleet.hosts()[1].port)));
    assert_eq!(inventory.defaults.identity_files, [fleet.client_key()]);
    fleet.stop().await.unwrap();
}
