//! Large fleets and small limits.

use std::{fmt::Write as _, fs, process::Command};

use super::{
    lab::Lab,
    program::{Ran, longshore},
};

/// The same call, by a shell that takes `limit` on itself first.
fn limited(limit: &str, call: &Command) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]).arg(call.get_program()).args(call.get_args());
    shell.current_dir(call.get_current_dir().unwrap()).env_clear();
    shell.envs(call.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::from(&shell.output().unwrap())
}

const MARK: &str = r#"
hosts = "all"

[[steps]]
name = "Mark"
command = "echo x >>mark"
undo = { command = "rm -f mark" }
"#;

#[test]
fn r40_ten_thousand_hosts_are_planned_in_a_tenth_of_a_gibibyte() {
    let folder = tempfile::tempdir().unwrap();
    let mut inventory = String::from("[defaults]\nprofile = \"host\"\n");
    for number in 0..10_000 {
        writeln!(inventory, "[hosts.web-{number}]\naddress = \"10.0.{}.{}\"", number / 250, number % 250).unwrap();
    }
    fs::create_dir(folder.path().join("inventory")).unwrap();
    fs::create_dir(folder.path().join("playbooks")).unwrap();
    fs::write(folder.path().join("inventory/hosts.toml"), inventory).unwrap();
    fs::write(folder.path().join("playbooks/mark.toml"), MARK).unwrap();
    let ran = limited("ulimit -d 104857", &longshore(folder.path(), &["plan", "mark", "--offline"]));
    assert!(ran.expect(0).out.contains("10,000 hosts"), "{}", ran.out);
}

#[test]
fn r41_with_few_descriptors_fewer_hosts_are_worked_on_at_once_and_all_are_reached() {
    let lab = Lab::new(30, &[]);
    let mark = format!("rollout = {{ at-once = 30 }}\n{MARK}");
    lab.playbook("mark", &mark);
    let ran = limited("ulimit -n 64", &longshore(lab.path(), &["apply", "mark", "--yes"]));
    assert!(ran.expect(0).out.contains("30 hosts: 30 done"), "{}", ran.out);
    assert!(ran.err.contains("note: 12 hosts at once instead of 30"), "{}", ran.err);
}
