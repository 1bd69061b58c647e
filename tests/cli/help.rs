//! The help texts: what a person reads first.

use std::time::{Duration, Instant};

use insta::assert_snapshot;

use super::program::run;

/// The short help of a command, without the options that every command has.
fn own_help(command: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<&str> = command.split(' ').chain(["-h"]).collect();
    let ran = run(folder.path(), &words);
    ran.expect(0);
    ran.out.split("\nOptions of every command:").next().unwrap().to_owned()
}

#[test]
fn the_first_page_names_every_command_and_every_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &["-h"]);
    ran.expect(0);
    assert_snapshot!(ran.out, @"
    Upgrade fleets of self-hosted installs over plain SSH

    Usage: longshore [OPTIONS] <COMMAND>

    Commands:
      init         Make a new project: inventory, playbooks, roles, commented
      lint         Check all documents without touching a host
      hosts        List hosts of the inventory
      trust        Show the host keys of hosts, and trust them after a yes
      check        Look at the health of hosts, without changing anything
      plan         Show what a playbook will do, and keep it in a file
      prefetch     Do what a playbook may do days ahead, on a few hosts at once
      apply        Do what a plan or a playbook says
      resume       Go on with a run that was cut off, interrupted or halted
      retry        Take hosts of a run through the same plan and gates again
      recover      Make a new ledger from what the hosts know, when the old one is
                   damaged or gone
      backups      Show which copies of the data hosts have
      drill        Prove that a host can be rebuilt from its copies
      rollback     Take a finished upgrade back
      status       Show how a run stands, from any terminal
      pause        Start no new hosts of a running rollout until it is promoted
      promote      Let a paused or waiting rollout go on
      abort        End a running rollout: no new hosts, running ones finish their
                   step
      unlock       Take the lease on a host away from the run that holds it
      close        Say what became of a step whose result nobody knows, or that a
                   run is over on a host
      exec         Run one command on many hosts
      history      Show earlier runs
      profile      Show the built-in profiles
      schema       Print the JSON Schema of a kind of document
      demo         Show an upgrade on an embedded fleet
      lab          Keep an embedded fleet running, to try playbooks against
      completions  Print a completion script for a shell
      man          Print the manual page, or write all of them into a folder

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Options of every command:
      -C, --project <DIR>           Folder of the project, if not the nearest above
                                    that has an `inventory` folder [env:
                                    LONGSHORE_PROJECT]
          --output <FORMAT>         How results are printed [default: human]
                                    [possible values: human, json]
          --color <WHEN>            Whether output is coloured [default: auto]
                                    [possible values: auto, always, never]
      -q, --quiet                   Print results only, no progress
      -v, --verbose...              Write a log to standard error; again for more
          --no-ssh-config           Do not read `~/.ssh/config` and
                                    `/etc/ssh/ssh_config`
          --connect-timeout <TIME>  Longest time for connecting to a host, all tries
                                    together [default: 30s]
          --secret-timeout <TIME>   Longest time for a command that a secret comes
                                    from [default: 60s]

    Exit codes:
      0  all good                   4    some hosts unreachable
      1  a host failed              5    halted by a budget
      2  bad usage or documents     6    refused
      3  a person is needed         130  interrupted
    ");
}

#[test]
fn each_command_says_in_a_line_what_it_does_and_then_how() {
    let texts: Vec<String> = ["init", "lint", "hosts", "trust all", "check", "plan", "apply", "exec", "history"]
        .iter()
        .map(|command| own_help(command))
        .collect();
    assert_snapshot!(texts.join("\n=====\n"), @"
    Make a new project: inventory, playbooks, roles, commented

    Usage: longshore init [OPTIONS] [DIR]

    Arguments:
      [DIR]  Folder to make [default: .]

    Options:
      -h, --help  Print help (see more with '--help')

    =====
    Check all documents without touching a host

    Usage: longshore lint [OPTIONS]

    Options:
      -h, --help  Print help (see more with '--help')

    =====
    List hosts of the inventory

    Usage: longshore hosts [OPTIONS] [SELECTOR]

    Arguments:
      [SELECTOR]  Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
                  [default: all]

    Options:
          --facts        Ask the hosts for their versions and facts, and mark what
                         differs from most
          --role <ROLE>  With `--facts`: ask as this role says
      -h, --help         Print help (see more with '--help')

    =====
    Show the host keys of hosts, and trust them after a yes

    Usage: longshore trust [OPTIONS] <SELECTOR>

    Arguments:
      <SELECTOR>  Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`

    Options:
          --fingerprint <FINGERPRINT>
              Trust the key with this fingerprint (`SHA256:...`); any other is
              refused
          --yes
              Trust whatever keys the hosts show now, without looking
      -h, --help
              Print help (see more with '--help')

    =====
    Look at the health of hosts, without changing anything

    Usage: longshore check [OPTIONS] [SELECTOR]

    Arguments:
      [SELECTOR]  Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`

    Options:
          --role <ROLE>      Make the checks of this role
          --playbook <FILE>  Make the checks of this playbook, on its hosts unless a
                             selector says otherwise
          --at-once <N>      Hosts looked at together [default: 50]
          --anew             Take what the hosts say now as what checks compare
                             with, now and in later sweeps, in place of what was
                             recorded
      -h, --help             Print help (see more with '--help')

    =====
    Show what a playbook will do, and keep it in a file

    Usage: longshore plan [OPTIONS] <PLAYBOOK>

    Arguments:
      <PLAYBOOK>  The playbook: a path, or a name under `playbooks/`

    Options:
          --to <VERSION>         The version wanted
          --limit <SELECTOR>     Narrow the playbook's hosts to these
          --direct               Go there in one hop where no required stop lies
                                 between; what is passed over counts all the same
          --from <HOST=VERSION>  Say which version a host has that does not tell it;
                                 may be given several times
          --ack <VERSION>        Say that the notes of this release were read; may
                                 be given several times
      -o, --out <FILE>           Keep the plan in this file
          --offline              Do not connect to any host; versions stay unknown
          --steps                Show the commands of each step
          --checklist            Print a checklist in Markdown, to be followed or
                                 ticked by hand
      -h, --help                 Print help (see more with '--help')

    =====
    Do what a plan or a playbook says

    Usage: longshore apply [OPTIONS] <PLAN|PLAYBOOK>

    Arguments:
      <PLAN|PLAYBOOK>  A plan kept in a file, or a playbook

    Options:
          --to <VERSION>         The version wanted; only with a playbook
          --limit <SELECTOR>     Narrow the playbook's hosts to these; only with a
                                 playbook
          --direct               Go there in one hop where no required stop lies
                                 between; what is passed over counts all the same
          --from <HOST=VERSION>  Say which version a host has that does not tell it;
                                 may be given several times
          --ack <VERSION>        Say that the notes of this release were read; may
                                 be given several times
          --check                Only look: what would change, without changing it
          --diff                 With `--check`: show the differences of files,
                                 secrets hidden
          --approvals <FILE>     File of approvals and of answers to manual checks,
                                 for what nobody at a terminal is asked about
          --wait                 Wait for the window of each host that is outside of
                                 its own
          --break-glass <NAME>   Start hosts outside their windows, on this person's
                                 word
          --reason <TEXT>        Why windows are set aside; recorded and shown
      -y, --yes                  Do not ask before a playbook is applied. What
                                 cannot be taken back is asked about all the same
      -h, --help                 Print help (see more with '--help')

    =====
    Run one command on many hosts

    Usage: longshore exec [OPTIONS] <SELECTOR> <COMMAND>...

    Arguments:
      <SELECTOR>    Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
      <COMMAND>...  The command and its arguments

    Options:
          --at-once <N>     Hosts worked on together [default: 50]
          --timeout <TIME>  Longest time for the command on each host [default: 5m]
          --shell           Run the words as one text for `sh`
          --stdin           Pass standard input on to the command on every host
          --become <USER>   Become this user by sudo, instead of what the inventory
                            says; `login` for the login user
      -h, --help            Print help (see more with '--help')

    =====
    Show earlier runs

    Usage: longshore history [OPTIONS] [COMMAND]

    Commands:
      show  Show one run

    Options:
      -n, --limit <N>  How many runs [default: 20]
      -h, --help       Print help (see more with '--help')
    ");
}

#[test]
fn commands_that_steer_a_run_from_another_terminal_say_how_too() {
    let texts: Vec<String> = ["status", "pause", "promote", "abort", "resume", "retry", "unlock"]
        .iter()
        .map(|command| own_help(command))
        .collect();
    assert_snapshot!(texts.join("\n=====\n"), @"
    Show how a run stands, from any terminal

    Usage: longshore status [OPTIONS] [RUN]

    Arguments:
      [RUN]  The run: its number or id, or `last`: the one that runs now [default:
             last]

    Options:
      -w, --watch  Show it again and again until the run ends
      -h, --help   Print help (see more with '--help')

    =====
    Start no new hosts of a running rollout until it is promoted

    Usage: longshore pause [OPTIONS] [RUN]

    Arguments:
      [RUN]  The run: its number or id, or `last`: the one that runs now [default:
             last]

    Options:
          --reason <TEXT>  Why; recorded
      -h, --help           Print help (see more with '--help')

    =====
    Let a paused or waiting rollout go on

    Usage: longshore promote [OPTIONS] [RUN]

    Arguments:
      [RUN]  The run: its number or id, or `last`: the one that runs now [default:
             last]

    Options:
          --reason <TEXT>  Why; recorded
      -h, --help           Print help (see more with '--help')

    =====
    End a running rollout: no new hosts, running ones finish their step

    Usage: longshore abort [OPTIONS] [RUN]

    Arguments:
      [RUN]  The run: its number or id, or `last`: the one that runs now [default:
             last]

    Options:
          --reason <TEXT>  Why; recorded
      -h, --help           Print help (see more with '--help')

    =====
    Go on with a run that was cut off, interrupted or halted

    Usage: longshore resume [OPTIONS] [RUN]

    Arguments:
      [RUN]  The run: its number or id, or `last` [default: last]

    Options:
          --as-planned          Go on as planned, although the playbook has changed
                                since
          --as <WAY>            How held hosts go on: with the plan, back to the
                                code of before, or back to the run's own backup as
                                well [possible values: roll-forward, code-rollback,
                                restore]
          --host <HOST>         The held host that goes on that way; may be given
                                several times
          --approvals <FILE>    File of approvals and of answers to manual checks,
                                for what nobody at a terminal is asked about
          --wait                Wait for the window of each host that is outside of
                                its own
          --break-glass <NAME>  Start hosts outside their windows, on this person's
                                word
          --reason <TEXT>       Why windows are set aside; recorded and shown
      -h, --help                Print help (see more with '--help')

    =====
    Take hosts of a run through the same plan and gates again

    Usage: longshore retry [OPTIONS] <--failed|--unreached|--held|--stuck|--refused|--not-started|--host <HOST>> [RUN]

    Arguments:
      [RUN]  The run: its number or id, or `last` [default: last]

    Options:
          --failed              Hosts that failed, were taken back or were parked
          --unreached           Hosts that could not be reached
          --held                Hosts that wait for a person: held, or with a step
                                nobody knows the result of
          --stuck               Hosts that are stuck half taken back: taking back
                                goes on where it failed
          --refused             Hosts that were refused: another run had their
                                lease, or they had moved since the plan
          --not-started         Hosts that were not started: outside their windows,
                                or the run ended first
          --host <HOST>         This host, however it ended
          --as-planned          Go on as planned, although the playbook has changed
                                since
          --approvals <FILE>    File of approvals and of answers to manual checks,
                                for what nobody at a terminal is asked about
          --wait                Wait for the window of each host that is outside of
                                its own
          --break-glass <NAME>  Start hosts outside their windows, on this person's
                                word
          --reason <TEXT>       Why windows are set aside; recorded and shown
      -h, --help                Print help (see more with '--help')

    =====
    Take the lease on a host away from the run that holds it

    Usage: longshore unlock [OPTIONS] --reason <TEXT> <HOST>

    Arguments:
      <HOST>  The host

    Options:
          --reason <TEXT>  Why; recorded
      -h, --help           Print help (see more with '--help')
    ");
}

#[test]
fn the_lab_and_what_is_printed_for_other_programs_are_explained() {
    let texts: Vec<String> = ["demo", "lab", "lab up", "lab fault", "lab faults", "schema", "completions", "man"]
        .iter()
        .map(|command| own_help(command))
        .collect();
    assert_snapshot!(texts.join("\n=====\n"), @r"
    Show an upgrade on an embedded fleet

    Usage: longshore demo [OPTIONS]

    Options:
          --keep <DIR>  Keep the project in this folder afterwards, to look at
      -h, --help        Print help (see more with '--help')

    =====
    Keep an embedded fleet running, to try playbooks against

    Usage: longshore lab [OPTIONS] <COMMAND>

    Commands:
      up      Start a fleet and keep it until Ctrl-C
      fault   Let a host of a running lab misbehave
      faults  List the faults a lab host can have

    Options:
      -h, --help  Print help (see more with '--help')

    =====
    Start a fleet and keep it until Ctrl-C

    Usage: longshore lab up [OPTIONS]

    Options:
          --hosts <N>            Hosts to start [default: 4]
          --dir <DIR>            Project folder to write into [default: lab]
          --fault <HOST=FAULT>   Let a host misbehave: `web-3=hang`; again for more.
                                 `longshore lab faults` lists them
          --installed <VERSION>  Version that is installed on every host [default:
                                 1.4.2]
      -h, --help                 Print help (see more with '--help')

    =====
    Let a host of a running lab misbehave

    Usage: longshore lab fault [OPTIONS] <HOST> <FAULT>

    Arguments:
      <HOST>   Host of the lab
      <FAULT>  The fault, or `none`; `longshore lab faults` lists them

    Options:
          --dir <DIR>  Project folder of the lab; this one, or else `lab`, when left
                       out
      -h, --help       Print help (see more with '--help')

    =====
    List the faults a lab host can have

    Usage: longshore lab faults [OPTIONS]

    Options:
      -h, --help  Print help (see more with '--help')

    =====
    Print the JSON Schema of a kind of document

    Usage: longshore schema [OPTIONS] <KIND>

    Arguments:
      <KIND>  The kind of document [possible values: inventory, role, playbook,
              profile, releases]

    Options:
      -h, --help  Print help (see more with '--help')

    =====
    Print a completion script for a shell

    Usage: longshore completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help (see more with '--help')

    =====
    Print the manual page, or write all of them into a folder

    Usage: longshore man [OPTIONS]

    Options:
          --dir <DIR>  Folder to write the pages of all commands into
      -h, --help       Print help (see more with '--help')
    ");
}

#[test]
fn help_fits_eighty_columns() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["", "plan", "apply", "exec", "lab up", "retry", "history show"] {
        let words: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).chain(["--help"]).collect();
        let ran = run(folder.path(), &words);
        // The line of the usage is wrapped by the terminal: it is one thing to copy.
        let lines = ran.expect(0).out.lines().filter(|line| !line.starts_with("Usage:"));
        let wide: Vec<&str> = lines.filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "`{command}`: {wide:#?}");
    }
}

/// Far above what it takes (5 ms), so that only a real slip is found: opening a ledger, a network look-up.
#[test]
fn help_is_there_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let best = (0..5)
        .map(|_| {
            let begun = Instant::now();
            run(folder.path(), &["--help"]).expect(0);
            begun.elapsed()
        })
        .min()
        .unwrap();
    assert!(best < Duration::from_millis(100), "{best:?}");
}
