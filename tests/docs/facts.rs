//! What the code says of each kind of step: its effect, undo, time limit, and whether it may run twice.

use longshore::{
    config::documents::Playbook,
    model::Span,
    steps::{Action, Undoing, Work},
};

use crate::markdown::table;

/// The first step of a playbook, as the action it is.
pub(crate) fn action_of(playbook: &str) -> Action {
    let playbook: Playbook = toml::from_str(playbook).unwrap_or_else(|error| panic!("{error}\n{playbook}"));
    let step = playbook.steps.first().expect("the example has a step");
    step.action().expect("the first step is no verb")
}

/// A table of what holds for the kind unless the document says otherwise.
pub(crate) fn of(action: &Action) -> String {
    let kind = action.kind();
    let undo = match kind.undo() {
        Undoing::Nothing => "nothing to undo".to_owned(),
        Undoing::ByProgram => "by itself: what was there before is put back".to_owned(),
        Undoing::Impossible { reason } => format!("none ({reason}); say `undo` or `no-undo`"),
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let (place, looks) = match (kind.work(), action) {
        (Work::Host(_), Action::Command(_) | Action::Script(_)) => {
            ("the host", "with `unless`, `creates` or `removes`")
        }
        (Work::Host(program), _) => ("the host", yes(program.look.is_some())),
        (Work::Controller(_), _) => ("the controller", "yes"),
    };
    let rows = [
        ("effect", format!("`{}`", kind.effect())),
        ("undo", undo),
        ("time limit", format!("`{}`", Span(kind.timeout()))),
        ("may run twice", yes(kind.is_repeat_safe()).to_owned()),
        ("looks before it acts", looks.to_owned()),
        ("works from", place.to_owned()),
    ];
    table(&["of the kind", ""], &rows.map(|(what, is)| vec![what.to_owned(), is]))
}

#[test]
fn facts_are_those_of_the_code() {
    let action = |step: &str| action_of(&format!("hosts = \"all\"\n[[steps]]\n{step}"));
    let told = of(&action("command = \"true\""));
    for part in ["`code`", "none (a command has no undo of its own)", "| `5m` |", "| may run twice | no |"] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    for kind in ["command = { run = \"true\"", "script = { text = \"true\""] {
        let looks = |more: &str| match action(&format!("{kind}{more} }}")).kind().work() {
            Work::Host(program) => program.look.is_some(),
            Work::Controller(_) => panic!("a program is not the controller's work"),
        };
        assert!(!looks(""), "{kind}");
        for condition in ["unless = \"true\"", "creates = \"/x\"", "removes = \"/x\""] {
            assert!(looks(&format!(", {condition}")), "{kind}, {condition}");
        }
    }
}
