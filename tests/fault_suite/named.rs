//! Faults that need a scene of their own, each by the id it has in `docs/faults.md`.

use std::{
    fs,
    time::{Duration, Instant},
};

use longshore::{event::RunState, model::HostOutcome};
use nix::sys::signal::Signal;

use crate::{
    controller::{self, Controller},
    field::{Field, Project},
    judge::state,
    sshd::is_root,
    victims,
};

const WITHIN: Duration = Duration::from_secs(60);

/// What the ledger knows of the run, however busy its owner is.
fn known(project: &Project) -> RunState {
    let until = Instant::now() + WITHIN;
    loop {
        if let Some(state) = state(project) {
            return state;
        }
        assert!(Instant::now() < until, "the ledger cannot be read");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn r32_r34_a_second_controller_is_refused_and_told_who_has_the_host_though_the_first_stands_still() {
    let field = Field::lab(1);
    let host = &field.hosts[0];
    let (first, second) = (field.project(2, &|_| "sleep 0.8".to_owned()), field.project(1, &|_| "true".to_owned()));
    let mut owner = Controller::start(&first.path, &["apply", "work", "--yes"]);
    first.wait_for(host, 1);
    // Asked before: who stands still may do so in the middle of a commit.
    let run = known(&first).run.expect("a run");
    owner.signal(Signal::SIGSTOP);
    let (code, said) = controller::run(&second.path, &["apply", "work", "--yes"], WITHIN).expect("it ends");
    assert_eq!(code, 6, "{said}");
    for wanted in [run.as_str(), "has this host since", "a step of run", "longshore abort"] {
        assert!(said.contains(wanted), "nothing of `{wanted}` in:\n{said}");
    }
    assert_eq!(second.traced(host, 1), (0, 0));
    owner.signal(Signal::SIGCONT);
    assert_eq!(owner.wait(WITHIN), Ok(0));
    assert_eq!((first.traced(host, 1), first.traced(host, 2)), ((1, 1), (1, 1)));
    let (code, said) =
        controller::run(&second.path, &["retry", "--host", host.name.as_str()], WITHIN).expect("it ends");
    assert_eq!((code, second.traced(host, 1)), (0, (1, 1)), "{said}");
}

#[test]
fn r32_two_controllers_cannot_take_up_one_run() {
    let field = Field::lab(1);
    let host = &field.hosts[0];
    let project = field.project(1, &|_| "sleep 1".to_owned());
    let mut owner = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_for(host, 1);
    let (code, said) = controller::run(&project.path, &["resume"], WITHIN).expect("it ends");
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("another longshore") || said.contains("running") || said.contains("works on"), "{said}");
    assert_eq!(owner.wait(WITHIN), Ok(0));
    assert_eq!(project.traced(host, 1), (1, 1));
}

#[test]
fn r17_a_step_cut_by_a_restart_of_the_host_is_unknown_and_never_begun_again() {
    if !is_root() {
        return;
    }
    let wrapper = |home: &std::path::Path| {
        fs::write(home.join("boot"), "11111111-0000-0000-0000-000000000001\n").expect("written");
        let mount = format!("mount --bind {}/boot /proc/sys/kernel/random/boot_id && exec \"$@\"", home.display());
        ["unshare", "-m", "sh", "-c", &mount, "sh"].map(str::to_owned).to_vec()
    };
    let Some(field) = Field::sshd_wrapped(1, &wrapper) else { return };
    let host = &field.hosts[0];
    let project = field.project(2, &|_| "sleep 5".to_owned());
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_for(host, 1);
    // A restart: nothing of before lives, and the kernel has another name for its time.
    fs::write(host.dir.join("boot"), "22222222-0000-0000-0000-000000000002\n").expect("written");
    victims::kill_all(&host.mark);
    assert_eq!(controller.wait(WITHIN), Ok(3), "{}", controller.said());
    let said = controller.said();
    assert!(said.contains("restarted in the middle"), "{said}");
    for again in ["resume", "retry --held"] {
        let arguments: Vec<_> = again.split(' ').collect();
        let (code, said) = controller::run(&project.path, &arguments, WITHIN).expect("it ends");
        assert_eq!((code, project.traced(host, 1), project.traced(host, 2)), (3, (1, 0), (0, 0)), "{again}: {said}");
    }
    let state = state(&project).expect("a run");
    assert_eq!(state.hosts[&host.name].outcome, Some(HostOutcome::Unknown));
}
