//! What is set where: variables that are missing, and those of the user that win over the file.

use longshore::event::Happening;

use crate::rig::{Install, Rig};

const HOSTS: [Install; 1] = [("fovea-1", "0.3.0", "cpu")];

/// F-20: the gate tells the name, before anything is fetched.
#[test]
fn f_20_a_missing_variable_blocks_before_pull() {
    let Some(rig) = Rig::with(&["fovea-1"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    project.inventory(&HOSTS, "claims-signing-key = \"\"");
    let images = ["docker", "images", "--format", "{{.Tag}}", "registry:5000/fovea/backend"];
    rig.shell("fovea-1", "docker images -q registry:5000/fovea/backend:0.4.0 | xargs -r docker rmi -f");
    let (data, containers, settings) =
        (rig.data("fovea-1", "label"), rig.containers("fovea-1"), rig.shell("fovea-1", "cat .env"));
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.4.0", "--ack", "0.4.0", "--yes"]).run();
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(ran.row("fovea-1")[1], "parked", "{ran}");
    let ran = ran.says("missing in .env: CLAIMS_SIGNING_KEY");
    assert_eq!(rig.containers("fovea-1"), containers, "{ran}");
    assert_eq!(rig.data("fovea-1", "label"), data);
    assert_eq!(rig.shell("fovea-1", "cat .env"), settings);
    assert!(!rig.says("fovea-1", &images).contains("0.4.0"), "an image was pulled: {ran}");

    // A variable that the compose file wants and nobody sets is found before anything is fetched, too.
    rig.shell("fovea-1", "sed -i 's/REDIS_HOST: redis/REDIS_HOST: $UNKNOWN_VARIABLE/' docker-compose.yml");
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run();
    rig.shell("fovea-1", "sed -i 's/REDIS_HOST: $UNKNOWN_VARIABLE/REDIS_HOST: redis/' docker-compose.yml");
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(ran.row("fovea-1")[1], "failed", "{ran}");
    ran.says("UNKNOWN_VARIABLE");
    assert_eq!(rig.containers("fovea-1"), containers);
}

/// F-08: Compose reads the user's environment before `.env`.
#[test]
fn f_08_a_variable_of_the_user_that_wins_over_the_file_is_found_out() {
    const HOSTS: [Install; 1] = [("fovea-4", "0.3.0", "cpu")];
    let Some(rig) = Rig::with(&["fovea-4"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    let settings = rig.shell("fovea-4", "cat .env");
    let reload = "kill -HUP $(cat /run/sshd.pid); sleep 0.5";
    rig.shell("fovea-4", &format!("echo 'SetEnv FOVEA_TAG=0.3.0' >>/etc/ssh/sshd_config; {reload}"));
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run();
    rig.shell("fovea-4", &format!("sed -i '/^SetEnv/d' /etc/ssh/sshd_config; {reload}"));
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(ran.row("fovea-4")[1], "undone", "{ran}");
    ran.says("is FOVEA_TAG set in the environment of this user?");
    assert_eq!(rig.running("fovea-4"), "0.3.0");
    assert_eq!(rig.shell("fovea-4", "cat .env"), settings);

    // Without it the file's one line is what changes.
    project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run().expect_code(0);
    assert_eq!(rig.shell("fovea-4", "cat .env"), settings.replace("FOVEA_TAG=0.3.0", "FOVEA_TAG=0.3.1"));
}

/// A host with the overlay of the demo has it in everything that is asked of Compose, and its models take their time.
#[test]
fn f_40_f_45_an_overlay_is_in_every_command_and_a_slow_first_answer_is_waited_for() {
    const HOSTS: [Install; 1] = [("fovea-4", "0.3.0", "cpu")];
    let Some(rig) = Rig::with(&["fovea-4"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    project.inventory(&HOSTS, "compose-files = [\"docker-compose.yml\", \"docker-compose.demo.yml\"]");
    // Longer than a check usually waits for an answer: 10 s.
    let overlay = "services:\\n  backend: { environment: { DEMO_MODE: \"true\" } }\\n  \
                   model-service: { environment: { MODEL_DOWNLOAD_SECONDS: \"12\" } }\\n";
    rig.shell("fovea-4", &format!("printf '{overlay}' >docker-compose.demo.yml"));
    rig.shell("fovea-4", "rm -f \"$(docker volume inspect -f '{{.Mountpoint}}' fovea_models)\"/weights-*");
    rig.listen("fovea-4");
    let before = rig.data("fovea-4", "label");
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run().expect_code(0);
    let calls = rig.compose_calls("fovea-4");
    assert!(calls.len() > 8, "{calls:?}");
    for call in &calls {
        assert!(call.contains("-f docker-compose.yml -f docker-compose.demo.yml "), "{call}");
    }
    let inspect = |format: &str| rig.says("fovea-4", &["docker", "inspect", "--format", format, "fovea-backend-1"]);
    assert!(inspect("{{.Config.Env}}").contains("DEMO_MODE=true"), "{ran}");
    assert!(
        inspect("{{index .Config.Labels \"com.docker.compose.project.config_files\"}}")
            .ends_with("docker-compose.demo.yml")
    );
    assert_eq!(rig.data("fovea-4", "label"), before);
    // The slow answer came within its own time, at the first try.
    let took = |what: &Happening| match what {
        Happening::StepFinished { step, took, .. } if step.as_str().contains("warm") => Some(took.0),
        _ => None,
    };
    let took = project.told().happened("fovea-4").iter().find_map(took).expect("it was warmed up");
    assert!(took.as_secs() >= 12, "{took:?}");
    assert_eq!(rig.asked("fovea-4", "cpu").0.get("/api/models/config"), Some(&1), "{ran}");
}

/// F-29: who has no password of an administrator is asked, and no answer is no yes.
#[test]
fn f_29_a_panel_that_nobody_looked_at_is_unverified_until_somebody_did() {
    const HOSTS: [Install; 1] = [("fovea-3", "0.3.0", "cpu")];
    let Some(rig) = Rig::with(&["fovea-3"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    project.inventory(&HOSTS, "admin-password = \"\"");
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run().expect_code(3);
    assert_eq!(ran.row("fovea-3")[1], "unverified", "{ran}");
    let ran = ran.says("The administrators' panel was looked at: unverified");
    assert_eq!(rig.running("fovea-3"), "0.3.1", "nothing is taken back for it: {ran}");
    // Once more, with what somebody saw.
    let question = "Does the administrators' panel of fovea-3 open and show SystemConfig, at 0.3.1?";
    let text = format!("[[answer]]\nhost = \"fovea-3\"\nquestion = \"{question}\"\nanswer = \"yes\"\nby = \"anna\"\n");
    project.write("answers.toml", &text);
    let file = project.path("answers.toml").to_string_lossy().into_owned();
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes", "--approvals", &file]).run();
    let ran = ran.expect_code(0);
    assert_eq!(ran.row("fovea-3")[1], "done", "{ran}");
    assert!(format!("{}", project.told()).contains("anna: yes"));
}

/// F-09: what cannot be pulled leaves what runs alone.
#[test]
fn f_09_a_tag_that_is_missing_or_a_registry_that_is_away_leaves_what_runs_alone() {
    let Some(rig) = Rig::with(&["fovea-1"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    let (data, containers) = (rig.data("fovea-1", "label"), rig.containers("fovea-1"));
    let releases = std::fs::read_to_string(project.path("roles/fovea/releases.toml")).expect("the releases");
    let missing =
        "[[release]]\nversion = \"0.3.9\"\nmigration = \"20250915090000_summaries\"\nnotes = \"never pushed\"\n";
    project.write("roles/fovea/releases.toml", &(releases + "\n" + missing));
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.9", "--ack", "0.3.9", "--yes"]).run();
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(ran.row("fovea-1")[1], "failed", "{ran}");
    ran.says("manifest unknown");

    let rule = "OUTPUT -p tcp --dport 5000 -j REJECT --reject-with tcp-reset";
    rig.shell("fovea-1", &format!("iptables -I {rule}"));
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run();
    rig.shell("fovea-1", &format!("iptables -D {rule}"));
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.says("connection refused");
    assert_eq!(rig.containers("fovea-1"), containers);
    assert_eq!(rig.data("fovea-1", "label"), data);
}
