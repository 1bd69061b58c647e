//! The shop: its ports, and its upgrade run by hand.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_answers_on_each_hosts_own_port_as_its_files_say() {
    let seeded =
        |number, version: &'static str| web(number).seed(move |home| app::seed(home, &app::Build::good(version), &[]));
    let fleet = fleet(vec![seeded(1, "1.4.1"), seeded(2, "1.4.2")]).await;
    for (index, version) in ["1.4.1", "1.4.2"].into_iter().enumerate() {
        let handle = log_in(&fleet, index).await.unwrap();
        assert!(get(&handle, "/health").await.unwrap().contains(&format!("\"version\":\"{version}\"")));
        assert_eq!(run(&handle, "srv/shopctl stop && srv/shopctl status").await.status, Some(3));
        assert!(matches!(get(&handle, "/health").await, Err(russh::Error::ChannelOpenFailure(_))));
        run(&handle, "srv/shopctl start").await;
        assert!(get(&handle, "/health").await.unwrap().starts_with("HTTP/1.1 200"));
    }
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hosts_port_can_be_mapped_to_a_service_and_the_world_is_out_of_reach() {
    let fleet = fleet(vec![web(1)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = service.accept().await.unwrap();
        let mut asked = String::new();
        stream.read_to_string(&mut asked).await.unwrap();
        stream.write_all(format!("you said {asked}").as_bytes()).await.unwrap();
    });
    run(&handle, &format!("echo '8080 {port}' > .lab/ports")).await;
    let mut stream = handle.channel_open_direct_tcpip("localhost", 8080, "127.0.0.1", 0).await.unwrap().into_stream();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "you said hello");
    served.await.unwrap();
    // Refused, as nobody listens there any more; and an address that is not the host's own.
    assert!(handle.channel_open_direct_tcpip("localhost", 8080, "127.0.0.1", 0).await.is_err());
    assert!(handle.channel_open_direct_tcpip("192.0.2.1", 80, "127.0.0.1", 0).await.is_err());
    fleet.stop().await.unwrap();
}

/// The commands of a step of the shop's role as `sh` texts, with the version put in.
struct ShopStep {
    name: String,
    run: Option<String>,
    skip: Option<String>,
    undo: Option<String>,
}

fn shop_upgrade(wanted: &str) -> Vec<ShopStep> {
    let (_, role) = SHOP_FILES.iter().find(|(name, _)| name.ends_with("role.toml")).unwrap();
    let role: toml::Table = role.replace("{{wanted}}", wanted).parse().unwrap();
    let in_dir = |command: &toml::Value| {
        format!("set -e; cd {}\n{}", command["dir"].as_str().unwrap(), command["run"].as_str().unwrap())
    };
    let skip = |command: &toml::Value| {
        let text = |key: &str| Some(command.get(key)?.as_str()?.to_owned());
        text("unless")
            .or_else(|| text("creates").map(|path| format!("[ -e {path} ]")))
            .or_else(|| text("removes").map(|path| format!("[ ! -e {path} ]")))
    };
    role["upgrade"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| ShopStep {
            name: step["name"].as_str().unwrap().to_owned(),
            run: step.get("command").map(in_dir),
            skip: step.get("command").and_then(skip),
            undo: step.get("undo").map(|undo| in_dir(&undo["command"])),
        })
        .collect()
}

/// What a host's files say, as far as the shop goes.
fn installed(home: &Path) -> (String, Option<String>, Vec<String>) {
    let current = fs::read_link(home.join("srv/current")).unwrap().display().to_string();
    let mut releases: Vec<_> = fs::read_dir(home.join("srv/releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    releases.sort();
    (current, fs::read_to_string(home.join("srv/running")).ok(), releases)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shops_upgrade_works_step_by_step_and_is_undone_from_any_of_them() {
    let fleet = Fleet::start(LabOptions::numbered(1).with_shop(&[])).await.unwrap();
    let handle = log_in(&fleet, 0).await.unwrap();
    let home = &fleet.hosts()[0].home;
    let before = installed(home);
    assert_eq!(before.0, "releases/1.4.2");
    let steps: Vec<_> = shop_upgrade("1.5.0").into_iter().filter(|step| step.run.is_some()).collect();
    assert_eq!(steps.len(), 4);
    for last in 0..steps.len() {
        for step in &steps[..=last] {
            assert_ne!(run(&handle, step.skip.as_ref().unwrap()).await.status, Some(0), "{}: to be done", step.name);
            let ran = run(&handle, step.run.as_ref().unwrap()).await;
            assert_eq!(ran.status, Some(0), "{}: {}", step.name, String::from_utf8_lossy(&ran.err));
            assert_eq!(run(&handle, step.skip.as_ref().unwrap()).await.status, Some(0), "{}: done", step.name);
        }
        for step in steps[..=last].iter().rev() {
            // Twice: an undo may be cut half way, too.
            for _ in 0..2 {
                let ran = run(&handle, step.undo.as_ref().unwrap()).await;
                assert_eq!(ran.status, Some(0), "undo of {}: {}", step.name, String::from_utf8_lossy(&ran.err));
            }
        }
        assert_eq!(installed(home), before, "after the undo of {}", steps[last].name);
        assert!(get(&handle, "/health").await.unwrap().contains("\"version\":\"1.4.2\""));
    }
    for step in &steps {
        run(&handle, step.run.as_ref().unwrap()).await;
    }
    assert!(get(&handle, "/health").await.unwrap().contains("{\"status\":\"ok\",\"version\":\"1.5.0\"}"));
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_broken_build_shows_where_it_should() {
    let fleet = Fleet::start(LabOptions::numbered(2).with_shop(&[name("web-2")])).await.unwrap();
    let fetch = shop_upgrade("1.5.0").remove(0).run.unwrap();
    let handle = log_in(&fleet, 0).await.unwrap();
    fs::write(fleet.hosts()[0].home.join("store/shop-1.5.0/PROGRAM"), "damaged").unwrap();
    assert_ne!(run(&handle, &fetch).await.status, Some(0));
    assert!(!fleet.hosts()[0].home.join("srv/releases/1.5.0").exists());

    let handle = log_in(&fleet, 1).await.unwrap();
    for step in shop_upgrade("1.5.0").into_iter().filter_map(|step| step.run) {
        assert_eq!(run(&handle, &step).await.status, Some(0), "{step}");
    }
    let answer = get(&handle, "/health").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("price service"), "{answer}");
    fleet.stop().await.unwrap();
}
