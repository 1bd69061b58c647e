//! Waves, windows, budgets, unwinding and stopping, on hosts from a table.

use super::*;

const WORDS: &[&str] = &["one", "two", "three", "undo-one", "undo-two", "undo-three", "probe"];

fn steps() -> Vec<PlannedStep> {
    vec![step("one"), step("two"), step("three")]
}

fn failing(word: &str) -> Answer {
    let word = word.to_owned();
    let undo = format!("undo-{word}");
    Answer::where_text(move |text| text.contains(&word) && !text.contains(&undo)).status(1)
}

#[tokio::test(start_paused = true)]
async fn a_red_canary_stops_the_rest_and_is_taken_back_last_step_first_the_half_run_one_included() {
    let transport = attached().answer(failing("two").on("web-1").err("no such image\n"));
    let bench = Bench::new(transport.clone());
    let exit = bench.apply(&plan(&[&["web-1"], &["web-2", "web-3"]], steps())).await;
    assert_eq!(exit, ExitCode::Halted);
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "undo-two", "undo-one"]);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));
    for host in ["web-2", "web-3"] {
        assert_eq!(bench.notes.outcome(host), None);
        assert!(transport.texts(host).is_empty(), "{host} was touched");
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_fails_leaves_the_host_stuck_and_what_lies_below_untouched() {
    let transport = attached().answer(failing("three")).answer(Answer::to("undo-two").status(4));
    let bench = Bench::new(transport.clone());
    let exit = bench.apply(&plan(&[&["web-1"]], steps())).await;
    assert_eq!(exit, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Stuck));
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "three", "undo-three", "undo-two"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_data_step_has_begun_a_host_is_held_and_nothing_is_taken_back() {
    for word in ["two", "three"] {
        let transport = attached().answer(failing(word));
        let bench = Bench::new(transport.clone());
        let exit = bench.apply(&plan(&[&["web-1"]], vec![step("one"), data_step("two"), step("three")])).await;
        assert_eq!(exit, ExitCode::PersonNeeded, "{word}");
        assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Held));
        assert!(ran(&transport, "web-1", WORDS).iter().all(|word| !word.starts_with("undo")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_data_step_that_found_nothing_to_do_is_no_point_of_no_return_even_with_a_receipt() {
    // 113: the attached program's word for "nothing to do".
    let unchanged = Answer::to("two").status(113).out("longshore-receipt sha256 abc\n");
    let transport = attached().answer(Answer::to("undo")).answer(unchanged).answer(failing("three"));
    let bench = Bench::new(transport.clone());
    bench.apply(&plan(&[&["web-1"]], vec![step("one"), data_step("two"), step("three")])).await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "three", "undo-three", "undo-one"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_found_nothing_to_do_is_not_taken_back_for_its_receipt() {
    let unchanged = Answer::where_text(|text| text.contains("one") && !text.contains("undo"))
        .status(113)
        .out("longshore-receipt sha256 abc\n");
    let transport = attached().answer(unchanged).answer(failing("two"));
    let bench = Bench::new(transport.clone());
    bench.apply(&plan(&[&["web-1"]], steps())).await;
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "undo-two"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_of_which_nobody_knows_the_end_is_unknown_never_repeated_and_never_taken_back() {
    let errors: [fn() -> TransportError; 2] =
        [|| TransportError::NoStatus, || TransportError::TimedOut { limit: Duration::from_secs(1) }];
    for error in errors {
        let transport = attached().answer(Answer::to("two").fails(error));
        let bench = Bench::new(transport.clone());
        let exit = bench.apply(&plan(&[&["web-1"]], steps())).await;
        assert_eq!(exit, ExitCode::PersonNeeded);
        assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Unknown));
        assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_safe_step_whose_link_was_lost_is_run_again() {
    let lost = Answer::to("two").times(1).fails(|| TransportError::LinkLost { source: None });
    let transport = attached().answer(lost);
    let bench = Bench::new(transport.clone());
    assert_eq!(bench.apply(&plan(&[&["web-1"]], steps())).await, ExitCode::Good);
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_keep_a_step_from_running_twice_is_refused_before_anything_is_begun() {
    let transport = attached();
    let bench = Bench::new(transport.clone());
    let once = PlannedStep { repeat_safe: false, ..step("two") };
    let exit = bench.apply(&plan(&[&["web-1"]], vec![step("one"), once])).await;
    assert_eq!(exit, ExitCode::Refused);
    assert_eq!(ran(&transport, "web-1", WORDS), Vec::<String>::new());
    let failure = bench.notes.state().hosts[&name("web-1")].failure.clone().expect("a reason");
    assert!(failure.to_string().contains("`two` must not run twice"), "{failure}");
}

/// A budget, what goes wrong, and how it must end.
type Case<'a> = (&'a [usize], &'a [usize], Option<usize>, Option<usize>, usize, ExitCode);

#[tokio::test(start_paused = true)]
async fn budgets_are_inclusive_and_count_each_class_by_itself() {
    let key = || TransportError::HostKeyUnknown {
        address: "a".to_owned(),
        algorithm: "b".to_owned(),
        fingerprint: "c".to_owned(),
    };
    // Hosts in order, one at a time: failing ones, unreachable ones; the budgets; how many get their turn; exit.
    let cases: [Case<'_>; 6] = [
        (&[], &[], Some(0), None, 5, ExitCode::Good),
        (&[2], &[], Some(0), None, 2, ExitCode::Halted),
        (&[2], &[], Some(1), None, 5, ExitCode::HostFailed),
        (&[2, 3], &[], Some(1), None, 3, ExitCode::Halted),
        (&[], &[1, 2], Some(0), None, 5, ExitCode::SomeUnreachable),
        (&[], &[1, 2], Some(0), Some(1), 2, ExitCode::Halted),
    ];
    for (failed, unreachable, most_failed, most_unreachable, turns, expected) in cases {
        let mut transport = attached();
        for host in failed {
            transport = transport.refuses_with(&format!("web-{host}"), None, key);
        }
        for host in unreachable {
            transport = transport.refuses(&format!("web-{host}"));
        }
        let mut plan = plan(&[&["web-1", "web-2", "web-3", "web-4", "web-5"]], steps());
        plan.rollout.at_once = 1;
        plan.rollout.budget =
            FailureBudget { failed: most_failed, unreachable: most_unreachable, ..FailureBudget::default() };
        let bench = Bench::new(transport);
        let exit = bench.apply(&plan).await;
        let had = bench.notes.outcomes().iter().filter(|(_, outcome)| outcome.is_some()).count();
        assert_eq!((had, exit), (turns, expected), "{failed:?} {unreachable:?}");
        assert_eq!(bench.notes.state().exit_code(), exit, "the fold and the run disagree");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_of_which_nothing_is_proven_lets_no_wave_follow_whatever_the_budget() {
    let transport = attached().refuses("web-1");
    let bench = Bench::new(transport.clone());
    let exit = bench.apply(&plan(&[&["web-1"], &["web-2"]], steps())).await;
    assert_eq!(exit, ExitCode::Halted);
    assert!(transport.texts("web-2").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_window_is_never_exceeded_and_a_hanging_host_holds_only_its_slot() {
    let transport = attached()
        .answer(Answer::to("two").on("web-2").hangs())
        .answer(Answer::to("two").after(Duration::from_secs(10)));
    let mut plan = plan(&[&["web-1", "web-2", "web-3", "web-4", "web-5", "web-6"]], steps());
    plan.rollout.at_once = 2;
    plan.rollout.budget.failed = None;
    let bench = Bench::new(transport);
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
    let mut running = 0;
    let mut finished = Vec::new();
    for event in bench.notes.events() {
        match event.what {
            Happening::HostStarted { .. } => running += 1,
            Happening::HostFinished { .. } => {
                running -= 1;
                finished.extend(event.host.map(|host| host.to_string()));
            }
            _ => {}
        }
        assert!(running <= 2, "{running} hosts at once");
    }
    assert_eq!(finished, ["web-1", "web-3", "web-4", "web-5", "web-6", "web-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_person_stops_the_run_between_two_steps_and_no_host_begins_after_that() {
    let transport = attached().answer(Answer::to("one").after(Duration::from_secs(10)));
    let mut plan = plan(&[&["web-1", "web-2"]], steps());
    plan.rollout.at_once = 1;
    let bench = Bench::new(transport.clone());
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.stop.send_replace(Stop::Drain);
    };
    let (exit, ()) = tokio::join!(bench.apply(&plan), stopping);
    assert_eq!(exit, ExitCode::Interrupted);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Interrupted));
    assert_eq!(ran(&transport, "web-1", WORDS), ["one"]);
    assert!(transport.texts("web-2").is_empty());

    assert_eq!(bench.resume(&plan, &["web-1", "web-2"], "resume").await, ExitCode::Good);
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "three"]);
    assert_eq!(ran(&transport, "web-2", WORDS), ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn an_unwinding_goes_on_to_its_end_when_a_person_stops_the_run() {
    let transport = attached().answer(Answer::to("undo-two").after(Duration::from_secs(10))).answer(failing("two"));
    let bench = Bench::new(transport.clone());
    let plan = plan(&[&["web-1"]], steps());
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.stop.send_replace(Stop::Drain);
    };
    tokio::join!(bench.apply(&plan), stopping);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "undo-two", "undo-one"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_tried_again_as_long_as_it_says_and_the_steps_below_wait_for_it() {
    for (reds, within, outcome) in [(2, 60, HostOutcome::Undone), (2, 9, HostOutcome::Stuck)] {
        let transport = attached().answer(Answer::to("undo-one").times(reds).status(1)).answer(failing("two"));
        let mut first = step("one");
        let PlannedUndo::By(undos) = &mut first.undo else { panic!("it has an undo") };
        undos[0].retry =
            Some(crate::config::documents::Retry { every: Span::seconds(5), within: Span::seconds(within) });
        let bench = Bench::new(transport.clone());
        bench.apply(&plan(&[&["web-1"]], vec![step("zero"), first, step("two")])).await;
        assert_eq!(bench.notes.outcome("web-1"), Some(outcome));
        let words = &["zero", "one", "two", "undo-zero", "undo-one", "undo-two"];
        let mut expected = vec!["zero", "one", "two", "undo-two", "undo-one", "undo-one"];
        if outcome == HostOutcome::Undone {
            expected.extend(["undo-one", "undo-zero"]);
        }
        assert_eq!(ran(&transport, "web-1", words), expected, "{within} s");
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_a_paused_run_begins_no_host() {
    let transport = attached();
    let bench = Bench::new(transport.clone());
    bench.pause.send_replace(true);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.stop.send_replace(Stop::Drain);
    };
    let plan = plan(&[&["web-1"]], steps());
    let (exit, ()) = tokio::join!(bench.apply(&plan), stopping);
    assert_eq!(exit, ExitCode::Interrupted);
    assert!(transport.sent().is_empty(), "a host was begun");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_taken_back_goes_forward_again_with_its_gates_when_it_is_retried() {
    let transport = attached().answer(failing("two").times(1));
    let bench = Bench::new(transport.clone());
    let mut plan = plan(&[&["web-1"]], steps());
    plan.hosts[0].gates = vec![check("probe-gate")];
    assert_eq!(bench.apply(&plan).await, ExitCode::HostFailed);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::Good);
    let expected = ["probe", "one", "two", "undo-two", "undo-one", "probe", "one", "two", "three"];
    assert_eq!(ran(&transport, "web-1", WORDS), expected);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_unknown_is_not_begun_again_by_resume() {
    let transport = attached().answer(Answer::to("two").times(1).fails(|| TransportError::NoStatus));
    let bench = Bench::new(transport.clone());
    let plan = plan(&[&["web-1"]], steps());
    bench.apply(&plan).await;
    // The plan's word for it is taken as it was: said not to be repeat-safe, it stays unknown.
    let mut once = plan.clone();
    once.hosts[0].steps[1].repeat_safe = false;
    once.hosts[0].steps[1].effect = Effect::Code;
    let exit = bench.resume(&once, &["web-1"], "resume").await;
    assert_ne!(exit, ExitCode::Good);
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two"]);
    // Where running it twice does no harm, it is.
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::Good);
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_red_check_after_the_change_takes_it_back_but_a_lost_link_does_not() {
    let red_after_three = |transport: ScriptedTransport, error: Option<fn() -> TransportError>| {
        let probe = Answer::to("probe-health");
        let bad = match error {
            Some(error) => probe.times(1).fails(error),
            None => probe.times(1).status(1),
        };
        // The baseline is green, then once not.
        transport.answer(Answer::to("probe-health").times(1)).answer(bad)
    };
    let mut plan = plan(&[&["web-1"]], vec![step("one")]);
    plan.hosts[0].checks = vec![check("probe-health")];

    let transport = red_after_three(attached(), None);
    let bench = Bench::new(transport.clone());
    bench.apply(&plan).await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));

    let transport = red_after_three(attached(), Some(|| TransportError::LinkLost { source: None }));
    let bench = Bench::new(transport.clone());
    assert_eq!(bench.apply(&plan).await, ExitCode::Good);
    assert_eq!(ran(&transport, "web-1", WORDS), ["probe", "one", "probe", "probe"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_red_before_is_worked_on_where_the_plan_says_so_and_its_gates_must_hold() {
    for (baseline, gate, outcome) in [
        (Baseline::Park, 0, HostOutcome::Parked),
        (Baseline::Tell, 0, HostOutcome::Done),
        (Baseline::Tell, 1, HostOutcome::Parked),
    ] {
        let transport =
            attached().answer(Answer::to("probe-health").times(1).status(1)).answer(Answer::to("two").status(gate));
        let mut plan = plan(&[&["web-1"]], vec![step("one")]);
        plan.hosts[0].checks = vec![check("probe-health")];
        plan.hosts[0].gates = vec![check("two")];
        plan.rollout.baseline = baseline;
        let bench = Bench::new(transport.clone());
        bench.apply(&plan.seal()).await;
        assert_eq!(bench.notes.outcome("web-1"), Some(outcome), "{baseline:?}, gate {gate}");
        // What was red is recorded and shown either way.
        let state = bench.notes.state();
        let red = |known: &&crate::event::CheckState| {
            known.phase == crate::event::Phase::Baseline && known.verdict == crate::model::Verdict::Fail
        };
        assert_eq!(state.hosts[&name("web-1")].checks.iter().filter(red).count(), 1, "{baseline:?}");
        let began = ran(&transport, "web-1", WORDS).contains(&"one".to_owned());
        assert_eq!(began, outcome == HostOutcome::Done, "{baseline:?}, gate {gate}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_reach_only_the_steps_that_name_them_and_no_record() {
    let said = "token value-of-TOKEN\nlongshore-receipt note value-of-TOKEN\n";
    let transport = attached()
        .answer(Answer::to("two").status(1).out(said).err("denied: value-of-TOKEN\n"))
        .answer(Answer::to("undo-one").status(1).err("value-of-TOKEN\n"));
    let mut plan = plan(&[&["web-1"]], vec![step("one"), step("two $LONGSHORE_SECRET_token")]);
    plan.hosts[0].secrets.insert(SecretId::new("token"), SecretSource::Env("TOKEN".to_owned()));
    plan.hosts[0].secrets.insert(SecretId::new("other"), SecretSource::Env("OTHER".to_owned()));
    let bench = Bench::new(transport.clone());
    bench.apply(&plan).await;
    for sent in transport.sent() {
        let Request::Run { text, secrets, .. } = sent.request else { continue };
        // With the lease goes the host's part of the plan, in which secrets have names alone.
        let expected: &[&str] =
            if text.contains("two") && !text.contains("MANIFEST=") { &["LONGSHORE_SECRET_token"] } else { &[] };
        assert_eq!(secrets, expected, "{text}");
    }
    let recorded = serde_json::to_string(&bench.notes.events()).expect("plain data");
    assert!(recorded.contains("[hidden]"), "nothing was recorded of it");
    assert!(!recorded.contains("value-of-TOKEN"), "{recorded}");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_is_no_success() {
    let mut looked = step("one");
    let action = json!({ "command": { "run": "one", "unless": "look-at-it" } });
    looked.action = serde_json::from_value(action).expect("a command");
    let plan = plan(&[&["web-1", "web-2"]], vec![looked]);
    let transport = attached().answer(Answer::to("look-at-it").on("web-1").status(2).err("no permission\n"));
    let bench = Bench::new(transport);
    assert_eq!(bench.look(&plan).await, ExitCode::HostFailed);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Failed));
    assert_eq!(bench.notes.outcome("web-2"), Some(HostOutcome::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_version_is_another_than_the_plan_saw_or_cannot_be_read_is_refused() {
    for (says, moved) in [("1.4.2\n", false), ("1.5.0\n", true), ("", true)] {
        let transport = attached().answer(Answer::to("print-version").out(says));
        let bench = Bench::new(transport.clone());
        let mut plan = plan(&[&["web-1"]], steps());
        plan.hosts[0].found = Some(crate::model::Version::new("1.4.2"));
        plan.hosts[0].version = vec![serde_json::from_value(json!({ "command": "print-version" })).expect("a command")];
        let exit = bench.apply(&plan).await;
        assert_eq!(exit, if moved { ExitCode::Refused } else { ExitCode::Good }, "{says:?}");
        assert_eq!(ran(&transport, "web-1", WORDS).is_empty(), moved);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_with_another_image_under_the_same_tag_is_refused() {
    for (digest, moved) in [("digest=sha256:aa\n", false), ("digest=sha256:bb\n", true), ("", false)] {
        let transport = attached().answer(Answer::to("print-version").out(format!("tag=1.4.2\n{digest}")));
        let bench = Bench::new(transport.clone());
        let mut plan = plan(&[&["web-1"]], steps());
        plan.hosts[0].found = Some(crate::model::Version::new("1.4.2"));
        plan.hosts[0].version = vec![serde_json::from_value(json!({ "command": "print-version" })).expect("a command")];
        let seen = crate::plan::PlannedFact { value: Some("sha256:aa".to_owned()), ..Default::default() };
        plan.hosts[0].facts.insert("digest".to_owned(), seen);
        let exit = bench.apply(&plan).await;
        assert_eq!(exit, if moved { ExitCode::Refused } else { ExitCode::Good }, "{digest:?}");
        assert_eq!(ran(&transport, "web-1", WORDS).is_empty(), moved);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Whatever fails and however long each host takes: once a budget is exceeded no host begins, so that it is
    /// exceeded by no more hosts than were in flight.
    #[test]
    fn a_budget_is_never_exceeded_by_more_hosts_than_were_in_flight(
        fates in proptest::collection::vec((0_u8..5, 1_u64..30), 1..24),
        at_once in 1_usize..6,
        most_failed in 0_usize..4,
        most_unreachable in 0_usize..4,
        most_parked in 0_usize..4,
        most_in_wave in proptest::option::of(0_usize..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let names: Vec<String> = (0..fates.len()).map(|n| format!("web-{n:02}")).collect();
            let mut transport = attached();
            for (name, (fate, takes)) in names.iter().zip(&fates) {
                let ends = Answer::to("one").on(name).after(Duration::from_secs(*takes));
                transport = match fate {
                    0 => transport.refuses(name),
                    1 => transport.answer(ends.status(1)),
                    2 => transport.answer(Answer::to("probe-health").on(name).status(1)),
                    _ => transport.answer(ends),
                };
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let waves: Vec<&[&str]> = names.chunks(8).collect();
            let mut plan = plan(&waves, vec![bare_step("one")]);
            plan.rollout.at_once = at_once;
            plan.rollout.budget = FailureBudget {
                failed: Some(most_failed),
                unreachable: Some(most_unreachable),
                parked: Some(most_parked),
                ..FailureBudget::default()
            };
            plan.hosts.values_mut().for_each(|host| host.checks = vec![check("probe-health")]);
            for wave in &mut plan.waves {
                wave.budget.failed = most_in_wave;
            }
            let bench = Bench::new(transport);
            bench.apply(&plan).await;

            let mut in_flight = 0_usize;
            // Failed, unreachable and parked hosts of the run, and failed ones of the wave.
            let mut counts = [0_usize; 4];
            let mut over: Option<[usize; 4]> = None;
            for event in bench.notes.events() {
                match event.what {
                    Happening::WaveStarted { .. } => counts[3] = 0,
                    Happening::HostStarted { .. } => {
                        assert!(over.is_none(), "a host was begun after a budget was exceeded");
                        in_flight += 1;
                        assert!(in_flight <= at_once);
                    }
                    Happening::HostFinished { outcome, .. } => {
                        in_flight -= 1;
                        match outcome {
                            HostOutcome::Unreachable => counts[1] += 1,
                            HostOutcome::Parked => counts[2] += 1,
                            outcome if !outcome.is_good() => {
                                counts[0] += 1;
                                counts[3] += 1;
                            }
                            _ => {}
                        }
                        let limits = [most_failed, most_unreachable, most_parked, most_in_wave.unwrap_or(usize::MAX)];
                        if over.is_none() && counts.iter().zip(limits).any(|(count, limit)| *count > limit) {
                            over = Some([in_flight; 4]);
                        }
                        if let Some(in_flight) = over {
                            let most = limits.iter().zip(in_flight).map(|(limit, more)| limit.saturating_add(1 + more));
                            assert!(counts.iter().zip(most).all(|(count, most)| *count <= most), "{counts:?}");
                        }
                    }
                    _ => {}
                }
            }
        });
    }

    /// Whatever the steps found to do, and at whichever of them the host fails: those that changed something, the
    /// half-run one included, are taken back, last first, each once, and no other.
    #[test]
    fn unwinding_visits_the_done_steps_in_reverse(
        kinds in proptest::collection::vec(0_u8..3, 1..10),
        fails in proptest::prelude::any::<proptest::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let fails = fails.index(kinds.len());
            let words: Vec<String> = (0..kinds.len()).map(|n| format!("word-{n:02}")).collect();
            let mut transport = attached().answer(failing(&words[fails]));
            let mut steps = Vec::new();
            for (word, kind) in words.iter().zip(&kinds) {
                // 113: the attached program's word for "nothing to do".
                let (only, undo) = (word.clone(), format!("undo-{word}"));
                if *kind == 0 {
                    let found = Answer::where_text(move |text| text.contains(&only) && !text.contains(&undo));
                    transport = transport.answer(found.status(113));
                }
                let read = || PlannedStep { effect: Effect::Read, ..bare_step(word) };
                steps.push(if *kind == 1 { read() } else { step(word) });
            }
            let changed = |n: &usize| kinds[*n] == 2 || (*n == fails && kinds[*n] == 0);
            let undone = (0..=fails).rev().filter(changed).map(|n| format!("undo-{}", words[n]));
            let expected: Vec<String> = words[..=fails].iter().cloned().chain(undone.clone()).collect();
            let undos: Vec<String> = words.iter().map(|word| format!("undo-{word}")).collect();
            let all: Vec<&str> = words.iter().chain(&undos).map(String::as_str).collect();
            let bench = Bench::new(transport.clone());
            bench.apply(&plan(&[&["web-1"]], steps)).await;
            assert_eq!(ran(&transport, "web-1", &all), expected);
        });
    }
}
