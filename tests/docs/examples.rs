//! The examples of the reference. Each is a whole document, and loaded as one by a test.

use crate::facts;

pub(crate) const INVENTORY: &str = r#"[defaults]
user = "deploy"
profile = "compose"
vars = { path = "/srv/app", service = "web" }

[hosts.berlin-1]
address = "198.51.100.7"
tags = ["canary"]

[hosts.lab-1]
address = "10.20.0.11"
jump = ["berlin-1"]
become = { user = "root", password = { env = "LAB_SUDO_PASSWORD" } }

[groups.eu]
hosts = ["berlin-*"]
settings = { vars = { region = "eu", database-url = { secret = { command = ["pass", "show", "app/eu"] } } } }
"#;

pub(crate) const PLAYBOOK: &str = r#"name = "Upgrade the web application"
role = "webapp"
action = "upgrade"
hosts = "prod:!tag=gpu"
to = "1.5.0"

[rollout]
canary = { hosts = 2, represent = ["region"] }
waves = ["50%", "rest"]
at-once = 10
soak = "10m"

[rollout.budget]
failed = 0
unreachable = "10%"

[on-failure]
before-data = "undo"
after-data = "hold"
"#;

pub(crate) const ROLE: &str = r#"about = "A web application"

[requires]
path = "folder of the installation"

[vars]
port = 3000

[version]
verb = "version"

[[gate]]
name = "There is room for the image"
disk = { path = "{{path}}", free = "2GiB" }

[[upgrade]]
name = "Fetch the image"
verb = "fetch"

[[upgrade]]
name = "Write the new tag down"
verb = "pin"

[[upgrade]]
name = "Start the new release"
verb = "switch"

[[actions.restart]]
name = "Stop"
verb = "stop"

[[actions.restart]]
name = "Start"
verb = "start"

[[check]]
name = "The application answers"
http = { url = "http://localhost:{{port}}/health", json = { status = "ok" } }
retry = { every = "2s", for = "90s" }
"#;

pub(crate) const RELEASES: &str = r#"[[release]]
version = "1.4.0"
migration = "20260302110500"
requires-env = ["SECRET_KEY_BASE"]
required-stop = true
notes = "Sessions end: everybody logs in again."

[[release]]
version = "1.5.1-rc.1"
blocked = "loses uploads when the disk is full"
"#;

pub(crate) const PROFILE: &str = r#"[profiles.webapp]
about = "The web application under Docker Compose"
extends = "compose"
vars = { service = "web", tag-variable = "WEBAPP_TAG", compose-files = ["compose.yml", "compose.proxy.yml"] }

# A verb may be several steps.
[[profiles.webapp.verbs.stop]]
command = { run = "touch maintenance", dir = "{{path}}" }
repeat-safe = true
undo = { command = { run = "rm -f maintenance", dir = "{{path}}" }, repeat-safe = true }

[[profiles.webapp.verbs.stop]]
command = { run = "{{> compose}} stop {{service}}", dir = "{{path}}" }
repeat-safe = true
undo = { command = { run = "{{> compose}} start {{service}}", dir = "{{path}}" }, repeat-safe = true }
"#;

pub(crate) const VERDICTS: &str = r#"
A check ends with one of five verdicts:

- `pass`: what was seen is what was expected.
- `fail`: it was seen, and it is not so.
- `inconclusive`: what was seen proves nothing either way.
- `error`: it could not be measured.
- `unverified`: a person was to look, and nobody has answered.

Only `pass` lets a host or a wave go on. `unverified` alone takes nothing back: the host keeps its new release, is shown as `unverified`, and the
run ends with exit code 3. An answer stands in the file of `--approvals`, which is read again whenever the check is made:

```toml
[[answer]]
host = "berlin-1"
question = "Does the panel of berlin-1 open, at 1.5.0?"
answer = "yes"
by = "anna"
```

With `retry` the check waits for the answer, so that the file may be written while the run goes on.
"#;

/// A step kind: the type of its arguments, what is to be known beside its keys, and a playbook that uses it.
struct Example {
    of: &'static str,
    note: &'static str,
    playbook: &'static str,
}

const STEPS: &[Example] = &[
    Example {
        of: "CommandTable",
        note: "As text it is run by `sh -e` and is a template whose values are quoted for the shell. As a list of \
               words nothing is interpreted: each word arrives as it is. It looks before it acts where one of \
               `unless`, `creates` and `removes` is there. Standard input is empty.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Make the folder of the uploads"
command = { run = "mkdir -p uploads && chmod 0750 uploads", dir = "{{path}}", creates = "{{path}}/uploads" }
repeat-safe = true
undo = { command = ["rmdir", "{{path}}/uploads"] }
"#,
    },
    Example {
        of: "Script",
        note: "Either `file` or `text`. Like a command, it looks before it acts where one of `unless`, `creates` and \
               `removes` is there.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Rotate the logs"
timeout = "2m"
repeat-safe = true
no-undo = "old logs are not needed again"
[steps.script]
dir = "{{path}}/logs"
text = '''
for log in *.log; do
  [ -s "$log" ] || continue
  gzip -c "$log" >"$log.$(date +%Y%m%d).gz"
  : >"$log"
done
'''
"#,
    },
    Example {
        of: "File",
        note: "Exactly one of `content`, `template` and `from`. A local file of more than 64 KiB is streamed to the \
               host before the step and goes on where it was cut off.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Write the message of the day"
become = "root"
file = { to = "/etc/motd", content = "{{host.name}} is looked after by us.\n", mode = "0644", owner = "root:root" }
"#,
    },
    Example {
        of: "Env",
        note: "With `require` alone it changes nothing, and its effect is `read`.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Say where the database is"
[steps.env]
file = "{{path}}/.env"
require = ["SECRET_KEY_BASE"]
set = { LOG_LEVEL = "info", REGION = "{{region}}" }
remove = ["OLD_SETTING"]
"#,
    },
    Example {
        of: "Fetch",
        note: "The file lands in the run's private folder on the controller, under the host's name.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Keep the log of the application"
fetch = { from = "{{path}}/logs/app.log", to = "logs/app.log", max = "10MiB", optional = true }
"#,
    },
    Example {
        of: "Tree",
        note: "The plan holds the digest of the tree, and a tree that has changed since is refused. The host needs `tar` and, \
               so that not everything is sent each time, `sha256sum` or `shasum`. What it brought is listed in \
               `.longshore-tree` in the folder.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Bring the sources"
tree = { from = "../webapp", to = "{{path}}/source", exclude = [".git", "node_modules", "*.log", "/dist"] }
"#,
    },
    Example {
        of: "Line",
        note: "It looks before it acts, and proves before the file is replaced that each text is there. A word that is \
               there already is left alone.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Write the new tag into the compose file"
line = { file = "{{path}}/compose.yml", after = "registry.example/webapp:", word = "1.5.0" }
"#,
    },
    Example {
        of: "Check",
        note: "Exactly one of the [probes](checks.md). The step fails where the probe does not pass. With `retry` on \
               the step it is made again.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "The new release answers"
check = { http = { url = "http://localhost:{{port}}/health", json = { status = "ok" } } }
retry = { every = "1s", for = "30s" }
"#,
    },
    Example {
        of: "Wait",
        note: "Either `for`, or `until` with `every` and `within`. The step's time limit is a minute more than it may \
               wait.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Wait for the port"
wait = { until = { tcp = { connect = "localhost:{{port}}" } }, every = "2s", within = "2m" }
"#,
    },
    Example {
        of: "Notify",
        note: "Either `command` or `webhook`. Secrets are taken out of the message.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Tell the team"
[steps.notify]
message = "{{host.name}} is about to be upgraded"
webhook = "https://chat.example.com/hooks/fleet"
"#,
    },
    Example {
        of: "Backup",
        note: "Exactly one of `postgres`, `sqlite`, `files`, `command` and `elsewhere` says what is saved. The copy is named \
               `NAME-TIME-RUN.EXT` once it is proven; its receipt lies beside it and is what a step with \
               `requires` asks for: see [rollback](../rollback.md).",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Save the database"
[steps.backup]
name = "app"
to = "/srv/backups/app"
verify = "scratch"
keep = { daily = 14, weekly = 8 }
postgres = { database = "app", user = "app", dir = "/srv/app", through = "docker compose exec -T db" }
"#,
    },
    Example {
        of: "Restore",
        note: "Of the copy either `from`, or `latest`, or the receipt that the step `requires`. What was there before is \
               kept as `NAME_pre_RUN`, until a person removes it; the undo swaps it back and keeps what had been restored as \
               `NAME_undone_RUN`. Nothing live is touched before the copy was compared with its receipt, loaded and counted.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Put the database of the 13th back"
[steps.restore]
latest = { folder = "/srv/backups/app", name = "app", until = "2026-11-13" }
postgres = { database = "app", user = "app", dir = "/srv/app", through = "docker compose exec -T db" }
"#,
    },
    Example {
        of: "Mirror",
        note: "For files that never change once they are there: videos, uploads, archives. The step looks at everything before \
               it touches anything: an empty source, a file that changed, and more removals than are allowed are found \
               first. Afterwards both sides are compared. See [backups](../backups.md).",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Copy new videos to the store"
[steps.mirror]
from = ["/srv/app/videos", "/srv/app/thumbnails"]
to = "store:app-backups"
remove-at-most = 20
record = { folder = "/srv/backups/app", name = "videos" }
"#,
    },
    Example {
        of: "Collect",
        note: "The copy comes to `TO/HOST/` on the controller with its receipt, and is compared with that. One that is there \
               already is not brought again.",
        playbook: r#"hosts = "prod"

[[steps]]
name = "A copy that outlives the host"
[steps.collect]
folder = "/srv/backups/app"
name = "app"
to = "../backups"
keep = { daily = 7, weekly = 4 }
"#,
    },
    Example {
        of: "Deliver",
        note: "A `restore` with `latest` finds it then. `longshore drill` does this by itself.",
        playbook: r#"hosts = "lab-1"

[[steps]]
name = "Bring the copy of berlin-1"
[steps.deliver]
host = "berlin-1"
name = "app"
from = "../backups"
folder = "/srv/backups/app"
"#,
    },
    Example {
        of: "Reboot",
        note: "The order is given once, whatever dies meanwhile. Done: the host runs under another boot id than before the \
               step; a lost connection alone proves nothing. The step's `timeout` is how long the host may be away; a host \
               that is not back by then is unreachable, and one that still has its old boot id has failed. Steps of other \
               runs that a restart cuts end as unknown. When the host answers, its services may still be \
               starting: `wait` for them. See [durability](../durability.md#restarts-that-are-meant).",
        playbook: r#"hosts = "prod"

[[steps]]
name = "Restart into the new kernel"
become = "root"
timeout = "10m"
downtime = "begins"
reboot = { only-if = "test -e /run/reboot-required" }

[[steps]]
name = "Its services are up"
downtime = "ends"
wait = { until = { command = "! systemctl is-system-running | grep -q starting" }, within = "5m" }
"#,
    },
];

/// Keys of steps that are worth an example of their own.
const PARTS: &[Example] = &[Example {
    of: "Outside",
    note: "",
    playbook: r#"hosts = "prod"

[[steps]]
name = "Move the uploads to their new places"
timeout = "30m"
no-undo = "the next release finds them in either place"
[steps.command]
run = "docker run --rm --label longshore=$LONGSHORE_WORK app:{{release.version}} move-uploads"
[steps.command.outside]
alive = "found=$(docker ps -q --filter label=longshore=$LONGSHORE_WORK) || exit 2; [ -n \"$found\" ]"
stop = "docker ps -q --filter label=longshore=$LONGSHORE_WORK | xargs -r docker stop"
"#,
}];

const CHECKS: &[Example] = &[
    Example {
        of: "HttpCheck",
        note: "",
        playbook: r#"hosts = "prod"

[[check]]
name = "The API answers, and its schema is the expected one"
http = { url = "http://localhost:{{port}}/health", status = 200, json = { status = "ok", "database.ready" = true } }
retry = { every = "2s", for = "90s" }
"#,
    },
    Example {
        of: "TcpCheck",
        note: "",
        playbook: r#"hosts = "prod"

[[check]]
name = "The database listens"
tcp = { connect = "localhost:5432", timeout = "3s" }
"#,
    },
    Example {
        of: "CommandCheckTable",
        note: "",
        playbook: r#"hosts = "prod"

[[check]]
name = "Nothing waits in the queue"
command = { run = "bin/queue --json", dir = "{{path}}", jq = ".waiting < 100", inconclusive = [75] }
"#,
    },
    Example {
        of: "DiskCheck",
        note: "`free` or `free-percent`, or both.",
        playbook: r#"hosts = "prod"

[[gate]]
name = "There is room for another release"
disk = { path = "{{path}}", free = "2GiB", free-percent = 10 }

[[steps]]
name = "Fetch the image"
verb = "fetch"
"#,
    },
    Example {
        of: "SshCheck",
        note: "",
        playbook: r#"hosts = "prod"

[[check]]
name = "The board lets people in"
ssh = { connect = "localhost:2222", user = "guest", contains = "Welcome" }
"#,
    },
    Example {
        of: "RestartsCheck",
        note: "",
        playbook: r#"hosts = "prod"

[[check]]
name = "It stays up"
restarts = { run = "systemctl show -p NRestarts --value webapp" }
"#,
    },
    Example {
        of: "ScenarioCheck",
        note: "",
        playbook: r#"hosts = "prod"
vars = { probe-password = { secret = { env = "PROBE_PASSWORD" } } }

[[check]]
name = "A user gets a summary"
timeout = "10s"

[[check.scenario.requests]]
name = "log in"
http = { url = "http://localhost:3000/login", form = { user = "probe", password = "{{probe-password}}" }, redirects = 1 }

[[check.scenario.requests]]
name = "ask for a summary"
http = { url = "http://localhost:3000/api/jobs", json-body = { video = 7 } }
keep = { job = "id" }

[[check.scenario.requests]]
name = "see it done"
http = { url = "http://localhost:3000/api/jobs/${job}", json = { status = "done" }, jq = ".summary | length > 0" }
within = "2m"
give-up = { status = "failed" }
"#,
    },
    Example {
        of: "CopyCheck",
        note: "",
        playbook: r#"hosts = "prod"

[[gate]]
name = "Last night's copy of the database is there"
copy = { folder = "/srv/backups/app", name = "app", younger-than = "26h" }

[[steps]]
name = "Fetch the image"
verb = "fetch"
"#,
    },
];

/// What stands before the keys of a step kind, or of a part of one.
pub(crate) fn of_step(name: &str) -> String {
    if let Some(part) = PARTS.iter().find(|part| part.of == name) {
        return fence(part);
    }
    let Some(example) = STEPS.iter().find(|example| example.of == name) else { return String::new() };
    let facts = facts::of(&facts::action_of(example.playbook));
    format!("{}\n\n{facts}\n{}", example.note, fence(example))
}

/// What stands before the keys of a probe.
pub(crate) fn of_check(name: &str) -> String {
    let Some(example) = CHECKS.iter().find(|example| example.of == name) else { return String::new() };
    let note = if example.note.is_empty() { String::new() } else { format!("{}\n\n", example.note) };
    format!("{note}{}", fence(example))
}

fn fence(example: &Example) -> String {
    format!("```toml playbook\n{}```\n\n", example.playbook)
}

#[test]
fn every_kind_of_step_has_an_example() {
    use longshore::steps::Action;
    let shown: Vec<_> = STEPS.iter().map(|example| facts::action_of(example.playbook)).collect();
    // Total, so that a new kind is not forgotten.
    let name = |action: &Action| match action {
        Action::Command(_) => "CommandTable",
        Action::Script(_) => "Script",
        Action::File(_) => "File",
        Action::Tree(_) => "Tree",
        Action::Fetch(_) => "Fetch",
        Action::Env(_) => "Env",
        Action::Line(_) => "Line",
        Action::Check(_) => "Check",
        Action::Wait(_) => "Wait",
        Action::Notify(_) => "Notify",
        Action::Backup(_) => "Backup",
        Action::Restore(_) => "Restore",
        Action::Mirror(_) => "Mirror",
        Action::Collect(_) => "Collect",
        Action::Deliver(_) => "Deliver",
        Action::Reboot(_) => "Reboot",
    };
    for (example, action) in STEPS.iter().zip(&shown) {
        assert_eq!(name(action), example.of, "the example of `{}` is of another kind", example.of);
    }
    assert_eq!(shown.len(), 16);
}
