//! The two flavours of the model service: one answers, and the backend does not notice a switch.

use crate::{
    command::flat,
    rig::{Install, Rig},
};

/// F-36, F-37, F-39: `up` with the other profile alone leaves both, which answer to one name in turn.
#[test]
fn f_37_f_39_a_switch_of_flavours_leaves_one_that_answers_and_the_backend_as_it_was() {
    const GPU: [Install; 1] = [("fovea-3", "0.3.1", "gpu")];
    let Some(rig) = Rig::with(&["fovea-3"]) else { return };
    rig.installed(&[("fovea-3", "0.3.1", "cpu")]);
    // The operator says that the host is of the other kind now, and has put the card in.
    let driver = "printf '#!/bin/sh\\necho GPU 0\\n' >/usr/local/bin/nvidia-smi; chmod 0755 /usr/local/bin/nvidia-smi";
    rig.shell("fovea-3", driver);
    let project = rig.project(&GPU);
    let (data, containers) = (rig.data("fovea-3", "label"), rig.containers("fovea-3"));
    let answering = || {
        let asked = rig.shell("fovea-3", "docker compose exec -T backend nslookup model-service </dev/null");
        asked.lines().skip_while(|line| !line.starts_with("Name")).filter(|line| line.starts_with("Address")).count()
    };

    // What a person does, and what comes of it.
    rig.shell("fovea-3", "docker compose --profile gpu up -d");
    assert_eq!(answering(), 2);
    let ran = project.longshore(["check", "fovea", "--role", "fovea"]).run().expect_code(1);
    ran.says("One flavour of the model service runs");
    rig.shell("fovea-3", "docker compose --profile '*' rm -sf model-service-gpu");
    assert_eq!(answering(), 1);

    let ran = project.longshore(["apply", "fovea-flavour", "--yes"]).run().expect_code(0);
    assert_eq!(answering(), 1, "{ran}");
    let after = rig.containers("fovea-3");
    assert!(after.contains_key("model-service-gpu") && !after.contains_key("model-service"), "{after:?}");
    for untouched in ["backend", "postgres", "redis"] {
        assert_eq!(after[untouched], containers[untouched], "{ran}");
    }
    assert_eq!(rig.spot_check("fovea-3")["summary"], "6 labels, read on the gpu");
    // The summary just made is one more row; everything else is as it was.
    let after = rig.data("fovea-3", "label");
    for table in ["users", "videos", "annotations", "blobs"] {
        assert_eq!(after[table], data[table], "{table}");
    }
}

/// F-38: a profile for the GPU on a machine without one is refused before anything, the other way round is only odd.
#[test]
fn f_38_a_profile_for_the_gpu_needs_one_and_a_gpu_that_is_not_used_is_told() {
    const HOSTS: [Install; 2] = [("fovea-1", "0.3.0", "cpu"), ("fovea-2", "0.3.0", "gpu")];
    let Some(rig) = Rig::with(&["fovea-1", "fovea-2"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    let containers = HOSTS.map(|(host, ..)| rig.containers(host));
    let planned = |said: &str| {
        let plan = project.longshore(["plan", "fovea-upgrade", "--to", "0.3.1"]).run().expect_code(0);
        assert_eq!(flat(&plan.out).contains(said), said.contains("fovea-1"), "{plan}");
    };
    planned("made for");
    // The driver is on the other machine.
    rig.shell("fovea-2", "rm /usr/local/bin/nvidia-smi");
    rig.shell(
        "fovea-1",
        "printf '#!/bin/sh\\necho GPU 0\\n' >/usr/local/bin/nvidia-smi; chmod 0755 /usr/local/bin/nvidia-smi",
    );
    planned("the fact `gpu` is `yes`, and the profile `fovea` is made for `no`: fovea-1");
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes", "--limit", "fovea-2"]).run();
    assert_eq!((ran.code, ran.row("fovea-2")[1].as_str()), (Some(1), "parked"), "{ran}");
    let ran = ran.says("neither nvidia-smi nor the runtime of Docker finds a GPU");
    assert_eq!(HOSTS.map(|(host, ..)| rig.containers(host)), containers, "{ran}");
}
