//! Hosts that misbehave.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_cannot_be_reached_fail_each_in_its_own_way() {
    let faults = [Fault::Refuse, Fault::RefuseConnect, Fault::Hang, Fault::WrongKey, Fault::DropAfter(Duration::ZERO)];
    let fleet = fleet((1..).zip(faults).map(|(number, fault)| web(number).fault(fault)).collect()).await;
    assert!(matches!(log_in(&fleet, 0).await, Err(russh::Error::NotAuthenticated)));
    // The listener goes as soon as its task has run.
    let mut refused = None;
    for _ in 0..100 {
        match connect(&fleet, 1).await {
            Err(russh::Error::IO(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                refused = Some(error);
                break;
            }
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    assert!(refused.is_some());
    assert!(timeout(SHORT, connect(&fleet, 2)).await.is_err(), "a hanging host never speaks");
    assert!(matches!(connect(&fleet, 3).await, Err(russh::Error::UnknownKey)));
    assert!(timeout(LONG, log_in(&fleet, 4)).await.unwrap().is_err());
    for host in fleet.hosts() {
        assert!(fleet.clear_faults(&host.name));
    }
    for index in 0..fleet.hosts().len() {
        let mut is_back = false;
        for _ in 0..100 {
            if let Ok(handle) = log_in(&fleet, index).await {
                is_back = run(&handle, "exit 5").await.status == Some(5);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(is_back, "web-{} behaves again", index + 1);
    }
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_end_badly_in_the_ways_a_client_must_tell_apart() {
    let faults = [Fault::NoStatus, Fault::ExitSignal(Duration::ZERO), Fault::HangExec, Fault::FullDisk];
    let fleet = fleet((1..).zip(faults).map(|(number, fault)| web(number).fault(fault)).collect()).await;

    let ran = run(&log_in(&fleet, 0).await.unwrap(), "echo out").await;
    assert_eq!((ran.text(), ran.status, &ran.signal), ("out\n", None, &None));

    let ran = run(&log_in(&fleet, 1).await.unwrap(), "sleep 1000").await;
    assert_eq!((ran.status, ran.signal.as_deref()), (None, Some("KILL")));

    let handle = log_in(&fleet, 2).await.unwrap();
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "echo out").await.unwrap();
    assert!(timeout(SHORT, channel.wait()).await.is_err(), "no answer at all");
    assert!(handle.channel_open_session().await.is_ok(), "the connection lives");

    let handle = log_in(&fleet, 3).await.unwrap();
    let ran = run(&handle, "echo text > file || echo \"not written: $?\"; [ -s file ] || echo empty").await;
    assert!(ran.text().ends_with("empty\n") && ran.status == Some(0), "{ran:?}");
    let ran = run(&handle, "cat /dev/zero > file; echo $?").await;
    assert!(ran.text().trim() != "0" && !ran.err.is_empty(), "{ran:?}");
    assert!(run(&handle, "df -Pk . | tail -1").await.text().contains(" 0 100%"));
    assert_eq!(fs::metadata(fleet.hosts()[3].home.join("file")).unwrap().len(), 0);
    fleet.clear_faults(&name("web-4"));
    assert_eq!(run(&handle, "echo text > file; cat file").await.text(), "text\n");
    timeout(LONG, fleet.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_cut_when_told_and_the_command_goes_on() {
    let fleet = fleet(vec![web(1), web(2)]).await;
    let home = fleet.hosts()[0].home.clone();
    let handle = log_in(&fleet, 0).await.unwrap();
    assert!(fleet.set_fault(&name("web-1"), Fault::DropCommand(2)));
    assert_eq!(run(&handle, "echo one").await.text(), "one\n");
    let ran = run(&handle, "sleep 0.2; echo survived > trace").await;
    assert_eq!((ran.status, ran.signal), (None, None));
    eventually("the connection is cut", || handle.is_closed()).await;
    eventually("the command has gone on", || fs::read_to_string(home.join("trace")).is_ok_and(|t| t == "survived\n"))
        .await;
    assert_eq!(run(&log_in(&fleet, 0).await.unwrap(), "echo three").await.text(), "three\n");

    let handle = log_in(&fleet, 1).await.unwrap();
    fleet.set_fault(&name("web-2"), Fault::DropBytes(100_000));
    let ran = run(&handle, "head -c 1000000 /dev/zero").await;
    assert!(ran.status.is_none() && ran.out.len() < 100_000, "{} bytes", ran.out.len());

    fleet.clear_faults(&name("web-2"));
    let handle = log_in(&fleet, 1).await.unwrap();
    fleet.set_fault(&name("web-2"), Fault::DropAfter(Duration::ZERO));
    eventually("a live connection is cut, too", || handle.is_closed()).await;
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_frozen_host_answers_late_and_loses_nothing() {
    let fleet = fleet(vec![web(1)]).await;
    let handle = log_in(&fleet, 0).await.unwrap();
    fleet.set_fault(&name("web-1"), Fault::Slow(Duration::from_millis(150)));
    // The connection hears of the fault, and is slow from then on: open and command are each late.
    let mut took = Duration::ZERO;
    for _ in 0..100 {
        let began = std::time::Instant::now();
        assert_eq!(run(&handle, "echo late").await.text(), "late\n");
        took = began.elapsed();
        if took >= Duration::from_millis(250) {
            break;
        }
    }
    assert!(took >= Duration::from_millis(250), "{took:?}");

    fleet.clear_faults(&name("web-1"));
    fleet.set_fault(&name("web-1"), Fault::Hang);
    {
        let running = run(&handle, "echo thawed");
        tokio::pin!(running);
        assert!(timeout(SHORT, &mut running).await.is_err());
        fleet.clear_faults(&name("web-1"));
        assert_eq!(running.await.text(), "thawed\n");
    }
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_lab_obeys_its_file_of_faults() {
    let options = LabOptions { is_controllable: true, ..LabOptions::numbered(2) };
    let fleet = Fleet::start(options).await.unwrap();
    control::set(fleet.root(), &name("web-2"), Fault::Refuse).unwrap();
    let mut is_refused = false;
    for _ in 0..100 {
        is_refused = log_in(&fleet, 1).await.is_err();
        if is_refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_refused);
    assert!(log_in(&fleet, 0).await.is_ok());
    fleet.stop().await.unwrap();
}
