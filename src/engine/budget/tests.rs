//! When a budget halts: a table of every class, at every count around its limit, in the run and in a wave.

use HostOutcome::{
    Done, Failed, Held, Interrupted, NotStarted, Parked, Refused, Stuck, Unchanged, Undone, Unknown, Unreachable,
};

use super::*;
use crate::engine::tests::plan_of;

fn host(n: usize) -> HostName {
    HostName::new(format!("web-{n}")).expect("a valid name")
}

fn none() -> FailureBudget {
    FailureBudget::default()
}

/// What becomes of one host: the end of its turn, or what its soak says.
#[derive(Debug, Clone, Copy)]
enum End {
    Turn(HostOutcome),
    Soak(Verdict),
}

use End::{Soak, Turn};

/// A class: its name, a budget of so many, and every way in which a host gets into it.
type Row = (&'static str, fn(usize) -> FailureBudget, &'static [End]);

const CLASSES: [Row; 4] = [
    (
        "failed",
        |most| FailureBudget { failed: Some(most), ..none() },
        &[Turn(Failed), Turn(Undone), Turn(Held), Turn(Stuck), Turn(Unknown), Soak(Verdict::Fail)],
    ),
    ("unreachable", |most| FailureBudget { unreachable: Some(most), ..none() }, &[Turn(Unreachable)]),
    (
        "inconclusive",
        |most| FailureBudget { inconclusive: Some(most), ..none() },
        &[Soak(Verdict::Inconclusive), Soak(Verdict::Error), Soak(Verdict::Unverified)],
    ),
    ("parked", |most| FailureBudget { parked: Some(most), ..none() }, &[Turn(Parked)]),
];

/// What counts in no class at all.
const HARMLESS: [End; 6] =
    [Turn(Done), Turn(Unchanged), Turn(Refused), Turn(Interrupted), Turn(NotStarted), Soak(Verdict::Pass)];

/// Feeds the ends, so many to a wave. Returns at which of them (from 1) the run halts, and what is said of it.
fn halts_at(run: &FailureBudget, wave: &FailureBudget, size: usize, ends: &[End]) -> Option<(usize, String)> {
    let mut plan = plan_of(ends.len().div_ceil(size), size);
    plan.rollout.budget = run.clone();
    plan.waves.iter_mut().for_each(|one| one.budget = wave.clone());
    let mut tally = Tally::new(&plan);
    ends.iter().enumerate().find_map(|(i, end)| {
        let over = match end {
            Turn(outcome) => tally.absorb(i / size, &host(i), *outcome, None),
            Soak(verdict) => tally.absorb_soak(i / size, &host(i), *verdict, ""),
        };
        over.map(|over| (i + 1, over.to_string()))
    })
}

#[test]
fn each_class_halts_at_the_first_host_beyond_its_limit_in_the_run_and_in_a_wave() {
    for (word, budget, ways) in CLASSES {
        for way in ways {
            for most in 0..=4 {
                // As many as are allowed, among others that do not count, and then one more.
                let mut ends: Vec<End> = HARMLESS.to_vec();
                ends.extend(std::iter::repeat_n(*way, most));
                ends.extend(HARMLESS);
                let (allowed, over) = (ends.clone(), ends.len() + 1);
                ends.push(*way);
                let whole = ends.len();
                let allows = if most == 0 { "none".to_owned() } else { most.to_string() };
                let counted = format!("{} {word}, and the budget allows {allows}", most + 1);
                let (words, within) = (format!("{counted} in the run"), format!("wave 0: {counted} within a wave"));
                let limit = budget(most);
                let what = format!("{word}, {way:?}, {most} allowed");
                assert_eq!(halts_at(&limit, &none(), whole, &allowed), None, "{what}: as many as the run allows");
                assert_eq!(halts_at(&none(), &limit, whole, &allowed), None, "{what}: as many as the wave allows");
                assert_eq!(halts_at(&limit, &none(), whole, &ends), Some((over, words.clone())), "{what}: in the run");
                assert_eq!(halts_at(&none(), &limit, whole, &ends), Some((over, within)), "{what}: in the wave");
                // Over two waves the run goes on counting, and a wave begins anew.
                let split = whole - 1;
                assert_eq!(halts_at(&limit, &none(), split, &ends), Some((over, words)), "{what}: over two waves");
                let anew = (most == 0).then_some(over);
                let found = halts_at(&none(), &limit, split, &ends).map(|(at, _)| at);
                assert_eq!(found, anew, "{what}: a wave counts its own");
            }
        }
    }
}

#[test]
fn no_class_counts_in_the_budget_of_another() {
    for (word, budget, ways) in CLASSES {
        let others: Vec<End> = CLASSES
            .iter()
            .filter(|(other, ..)| *other != word)
            .flat_map(|(_, _, ways)| ways.iter().copied())
            .chain(HARMLESS)
            .collect();
        let limit = budget(0);
        assert_eq!(halts_at(&limit, &limit, 50, &others), None, "{word}");
        let with = [others.clone(), vec![ways[0]]].concat();
        assert_eq!(halts_at(&limit, &none(), 50, &with).map(|(at, _)| at), Some(with.len()), "{word}");
        assert_eq!(halts_at(&none(), &none(), 50, &with), None, "nothing is limited");
    }
}

#[test]
fn the_run_and_the_wave_count_side_by_side_and_whichever_is_exceeded_first_halts() {
    let failed = |count| FailureBudget { failed: Some(count), ..none() };
    let table: &[(FailureBudget, FailureBudget, &[HostOutcome], Option<usize>)] = &[
        (none(), failed(1), &[Failed, Done, Failed, Done], None),
        (none(), failed(1), &[Failed, Failed, Done, Done], Some(2)),
        (none(), failed(1), &[Failed, Done, Failed, Failed], Some(4)),
        (failed(2), failed(1), &[Failed, Done, Failed, Done], None),
        (failed(1), failed(1), &[Failed, Done, Failed, Done], Some(3)),
        (failed(5), failed(0), &[Done, Done, Done, Failed], Some(4)),
        (failed(2), none(), &[Stuck, Unknown, Undone, Done], Some(3)),
        (failed(3), none(), &[Stuck, Unknown, Undone, Done], None),
    ];
    for (run, wave, outcomes, expected) in table {
        let ends: Vec<End> = outcomes.iter().copied().map(Turn).collect();
        let found = halts_at(run, wave, 2, &ends).map(|(at, _)| at);
        assert_eq!(found, *expected, "{outcomes:?} under {run:?} and {wave:?}");
    }
    // One host that failed and one that failed in its soak are two failed hosts.
    assert_eq!(halts_at(&failed(1), &none(), 9, &[Turn(Failed), Soak(Verdict::Fail)]).map(|(at, _)| at), Some(2));
}

fn alike(limit: usize) -> Tally {
    let mut plan = plan_of(4, 1);
    plan.rollout.budget = FailureBudget { failed: Some(10), same_failure: Some(limit), ..none() };
    Tally::new(&plan)
}

fn failure(host: &str, port: u32) -> Failure {
    Failure::new(FailureClass::Step, format!("step `start` failed on {host}"))
        .because(format!("port {port} is in use since 10:02:{port}"))
}

#[test]
fn the_same_error_halts_at_its_limit_whatever_the_names_and_numbers_and_in_whichever_wave() {
    let other = Failure::new(FailureClass::Step, "no space left on device");
    for limit in 1..=4 {
        let mut tally = alike(limit);
        assert_eq!(tally.absorb(1, &host(1), Undone, Some(&other)).is_some(), limit == 1);
        assert_eq!(tally.absorb(1, &host(9), Parked, Some(&failure("web-9", 80))), None, "it was red before");
        for n in 0..4 {
            let halts = tally.absorb(n, &host(n), Undone, Some(&failure(&host(n).to_string(), 80)));
            let names = (0..=n).map(|n| format!("web-{n}")).collect::<Vec<_>>().join(", ");
            let short = format!("{} hosts failed with the same error, and the run halts at {limit}", n + 1);
            let said = format!("{short} ({names}): step");
            assert_eq!(halts.is_some(), n + 1 >= limit, "{limit}: {halts:?}");
            let Some(halts) = halts else { continue };
            assert!(halts.to_string().starts_with(&said), "{halts}: {said}");
            assert_eq!(halts.limit, short);
        }
    }
}

#[test]
fn the_same_error_of_one_host_is_that_of_one_host() {
    let mut tally = alike(2);
    assert_eq!(tally.absorb(0, &host(0), Failed, Some(&failure("web-0", 80))), None);
    assert_eq!(tally.absorb(0, &host(0), Undone, Some(&failure("web-0", 81))), None);
    assert!(tally.absorb(1, &host(1), Undone, Some(&failure("web-1", 82))).is_some());
}

#[test]
fn the_same_error_in_the_soaks_of_two_hosts_halts_and_what_proves_nothing_does_not() {
    let mut tally = alike(2);
    let words = |n: usize| format!("check `healthy`: http://web-{n}:8080 answered 500 after {n}7 ms");
    assert_eq!(tally.absorb_soak(0, &host(0), Verdict::Fail, &words(0)), None);
    assert_eq!(tally.clone().absorb_soak(0, &host(1), Verdict::Inconclusive, &words(1)), None);
    assert_eq!(tally.clone().absorb_soak(0, &host(1), Verdict::Fail, "check `mail`: no answer"), None);
    let halts = tally.absorb_soak(0, &host(1), Verdict::Fail, &words(1));
    let said = "2 hosts failed with the same error, and the run halts at 2 (web-0, web-1)";
    assert!(halts.is_some_and(|halts| halts.to_string().starts_with(said)));
}
