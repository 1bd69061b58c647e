//! Plans as they are printed, and as checklists.

use super::*;

#[test]
fn a_plan_says_which_profiles_versions_and_architectures_no_canary_has() {
    let mut plan: Plan = serde_json::from_str(&PLAN.replace("HOST", HOST)).expect("a plan");
    for (name, arch) in [("web-1", "x86_64"), ("web-2", "x86_64"), ("web-3", "aarch64")] {
        let fact = crate::plan::PlannedFact { value: Some(arch.to_owned()), ..Default::default() };
        plan.hosts.get_mut(&host(name)).expect("a host").facts.insert("arch".to_owned(), fact);
    }
    let text = super::plan::render(&plan, Detail::Brief, &wide(), &|_| String::new());
    let said = "canary     1 host of 4; not in it: profile systemd (1 host); version 0.4.0 (1 host); arch aarch64 (1 host); \
                the arch of 1 host is not known";
    assert!(
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains(&said.split_whitespace().collect::<Vec<_>>().join(" ")),
        "{text}"
    );
}

#[test]
fn a_plan_says_what_will_happen_and_what_cannot_be_taken_back() {
    let plan: Plan = serde_json::from_str(&PLAN.replace("HOST", HOST)).expect("a plan");
    let summary = |step: &crate::plan::PlannedStep| format!("does {}", step.name.to_lowercase());
    let text = |detail, page: &Page| super::plan::render(&plan, detail, page, &summary);
    assert_snapshot!(&text(Detail::Brief, &narrow()), @"
    Upgrade fovea to 0.4.0
    apply: 4 hosts in 2 waves; role fovea, upgrade; to 0.4.0; plan
      sha256:0123456789ab

    ╭────────┬───────┬─────────────────┬──────┬─────────────────────╮
    │ wave   │ hosts │ which           │ soak │ then                │
    ├────────┼───────┼─────────────────┼──────┼─────────────────────┤
    │ canary │ 1     │ web-1           │ 10m  │ waits for `promote` │
    │ wave 1 │ 3     │ web-[2,3], db-1 │      │                     │
    ╰────────┴───────┴─────────────────┴──────┴─────────────────────╯

    At a glance
      time       about 8s a host, nothing to take back; about 11m in all, soaks
                 included
      downtime   not said: no step has `downtime`
      no return  3 hosts (web-[1-3]) from step 3, `Apply migrations` (data), on: the
                 new schema is not readable by 0.3.2
      canary     1 host of 4; not in it: profile systemd (1 host); version 0.4.0 (1
                 host)
      halts      at the first failed host, or more than 1 unreachable, or the same
                 error on 2 hosts
      asked      whether to go on after canary; how to go on, where a host fails
                 after its point of no return

    web-[1-3] (profile compose, 0.3.2 → 0.4.0)
    ╭─────┬─────────────────────────┬────────┬─────────────────────────────╮
    │     │ step                    │ effect │ undo                        │
    ├─────┼─────────────────────────┼────────┼─────────────────────────────┤
    │ 1   │ Fetch images            │ read   │ nothing to undo             │
    │     │   does fetch images     │        │                             │
    │ 2   │ Pin the version         │ code   │ by itself                   │
    │     │   does pin the version  │        │                             │
    │ 3 ! │ Apply migrations        │ data   │ none: the new schema is not │
    │     │   does apply migrations │        │ readable by 0.3.2           │
    ╰─────┴─────────────────────────┴────────┴─────────────────────────────╯
    ! Step 3, `Apply migrations`, is the point of no return: the new schema is not
      readable by 0.3.2. A failure from there on is not taken back by itself.
      From there on the host is held as it stands, for the role has no
      `[[incident]]`; the role has no `[[restore]]`
    gates: Disk has room
    health: API answers; Schema is new (after only)

    db-1 (profile systemd, has 0.4.0 already)
      nothing to do

    Rules
      - Up to 20 hosts at once within a wave.
      - The first host that fails halts the run.
      - 1 host may be unreachable; one more halts the run.
      - Any number of hosts may be inconclusive.
      - The same error on 2 hosts halts the run at once.
      - A host that fails before its point of no return is taken back, last step
        first.
      - A host that fails after it, and may not be pointed back, is left as it
        stands, for a person.

    Know before
      ! Never run twice, so a lost link may leave them in doubt: `Apply migrations`.
      ! No canary has the profile `systemd`, which 1 host has.
    ");
    assert_snapshot!(&text(Detail::Brief, &wide()), @"
    Upgrade fovea to 0.4.0
    apply: 4 hosts in 2 waves; role fovea, upgrade; to 0.4.0; plan sha256:0123456789ab

    ╭────────┬───────┬─────────────────┬──────┬─────────────────────╮
    │ wave   │ hosts │ which           │ soak │ then                │
    ├────────┼───────┼─────────────────┼──────┼─────────────────────┤
    │ canary │ 1     │ web-1           │ 10m  │ waits for `promote` │
    │ wave 1 │ 3     │ web-[2,3], db-1 │      │                     │
    ╰────────┴───────┴─────────────────┴──────┴─────────────────────╯

    At a glance
      time       about 8s a host, nothing to take back; about 11m in all, soaks included
      downtime   not said: no step has `downtime`
      no return  3 hosts (web-[1-3]) from step 3, `Apply migrations` (data), on: the new schema is not readable by 0.3.2
      canary     1 host of 4; not in it: profile systemd (1 host); version 0.4.0 (1 host)
      halts      at the first failed host, or more than 1 unreachable, or the same error on 2 hosts
      asked      whether to go on after canary; how to go on, where a host fails after its point of no return

    web-[1-3] (profile compose, 0.3.2 → 0.4.0)
    ╭─────┬─────────────────────────┬────────┬───────────────────────────────────────────────╮
    │     │ step                    │ effect │ undo                                          │
    ├─────┼─────────────────────────┼────────┼───────────────────────────────────────────────┤
    │ 1   │ Fetch images            │ read   │ nothing to undo                               │
    │     │   does fetch images     │        │                                               │
    │ 2   │ Pin the version         │ code   │ by itself                                     │
    │     │   does pin the version  │        │                                               │
    │ 3 ! │ Apply migrations        │ data   │ none: the new schema is not readable by 0.3.2 │
    │     │   does apply migrations │        │                                               │
    ╰─────┴─────────────────────────┴────────┴───────────────────────────────────────────────╯
    ! Step 3, `Apply migrations`, is the point of no return: the new schema is not readable by 0.3.2. A failure from there
      on is not taken back by itself.
      From there on the host is held as it stands, for the role has no `[[incident]]`; the role has no `[[restore]]`
    gates: Disk has room
    health: API answers; Schema is new (after only)

    db-1 (profile systemd, has 0.4.0 already)
      nothing to do

    Rules
      - Up to 20 hosts at once within a wave.
      - The first host that fails halts the run.
      - 1 host may be unreachable; one more halts the run.
      - Any number of hosts may be inconclusive.
      - The same error on 2 hosts halts the run at once.
      - A host that fails before its point of no return is taken back, last step first.
      - A host that fails after it, and may not be pointed back, is left as it stands, for a person.

    Know before
      ! Never run twice, so a lost link may leave them in doubt: `Apply migrations`.
      ! No canary has the profile `systemd`, which 1 host has.
    ");

    let differing = |step: &crate::plan::PlannedStep| format!("at {:p}", std::ptr::from_ref(step));
    let brief = super::plan::render(&plan, Detail::Brief, &wide(), &differing);
    assert_eq!(brief.matches("(differs from host to host)").count(), 3, "{brief}");
    let full = super::plan::render(&plan, Detail::Full, &wide(), &differing);
    assert!(!full.contains("differs"), "{full}");
}

const HOST: &str = r#"{
      "target": {"host": "web-1", "way": {"by": "ssh", "address": "198.51.100.7"}}, "profile": "compose", "found": "0.3.2",
      "point-of-no-return": 2,
      "gates": [{"name": "Disk has room", "check": {}, "timeout": "10s"}],
      "checks": [{"name": "API answers", "check": {}, "timeout": "10s"},
                 {"name": "Schema is new", "check": {}, "timeout": "10s", "after-only": true}],
      "steps": [
        {"id": "01-pull", "name": "Fetch images", "effect": "read", "timeout": "5m", "repeat-safe": true,
         "action": {"wait": {"for": "1s"}}, "undo": "nothing"},
        {"id": "02-pin", "name": "Pin the version", "effect": "code", "timeout": "5m", "repeat-safe": true,
         "action": {"wait": {"for": "1s"}}, "undo": "by-program"},
        {"id": "03-migrate", "name": "Apply migrations", "effect": "data", "timeout": "5m", "repeat-safe": false,
         "action": {"wait": {"for": "1s"}}, "undo": {"impossible": {"reason": "the new schema is not readable by 0.3.2"}}}
      ]}"#;

const PLAN: &str = r#"{
  "format": 1, "digest": "sha256:0123456789abcdef0123456789abcdef", "made-at": "2026-03-01T09:00:00Z",
  "title": "Upgrade fovea to 0.4.0", "purpose": "apply", "role": "fovea", "action": "upgrade", "wanted": "0.4.0",
  "waves": [
    {"name": "canary", "hosts": ["web-1"], "soak": "10m", "promote": "manual"},
    {"name": "wave 1", "hosts": ["web-2", "web-3", "db-1"], "soak": "0s", "promote": "auto"}
  ],
  "rollout": {"at-once": 20, "budget": {"failed": 0, "unreachable": 1, "inconclusive": null, "same-failure": 2},
    "before-data": "undo", "after-data": "hold", "scope": "host"},
  "warnings": ["No canary has the profile `systemd`, which 1 host has."],
  "hosts": {"web-1": HOST, "web-2": HOST, "web-3": HOST, "db-1": {
      "target": {"host": "db-1", "way": {"by": "controller"}}, "profile": "systemd", "found": "0.4.0", "steps": []}}
}"#;

#[test]
fn s_48_a_plan_and_what_became_of_it_are_checklists() {
    let plan: Plan = serde_json::from_str(&PLAN.replace("HOST", HOST)).expect("a plan");
    assert_snapshot!(checklist(&plan, &narrow()), @r"
    # Upgrade fovea to 0.4.0

    4 hosts to 0.4.0 in 2 waves. Plan of 2026-03-01 09:00.

    ## web-\[1-3\], now 0.3.2

    Before:

    - [ ] Disk has room

    Steps:

    - [ ] 1. Fetch images
    - [ ] 2. Pin the version
    - [ ] 3. Apply migrations (the point of no return)

    After:

    - [ ] API answers
    - [ ] Schema is new

    ## db-1, now 0.4.0
    ");
    let state = Story::upgrade().fold();
    let text = done_checklist(&state, RunNumber(42), &narrow());
    let of = |host: &str| text.split("\n## ").find(|part| part.starts_with(host)).expect("its part").to_owned();
    assert_snapshot!(["# ", "eu-1", "web-5", "db-1"].map(of).join("\n---\n"), @r"
    # Upgrade fovea to 0.4.0

    Run 0042: 8 hosts, begun 2026-03-01 09:00.

    ---
    eu-1: unreachable

    Steps:

    - [ ] 4 further steps not begun

    ---
    web-5: undone

    Healthy before:

    - [x] API answers
    - [x] Disk has room

    Steps:

    - [x] 1. Fetch images, 1s
    - [x] 2. Back up Postgres, 1s
    - [ ] 3. Pin the version: done and taken back
    - [ ] 4. Switch: failed, step \`Switch\` failed: \`docker compose up -d\` ended with status 1

    After it was taken back:

    - [x] API answers
    - [x] Disk has room

    ---
    db-1: stuck

    Healthy before:

    - [x] API answers
    - [x] Disk has room

    Steps:

    - [x] 1. Fetch images, 1s
    - [x] 2. Back up Postgres, 1s
    - [x] 3. Pin the version, 1s
    - [ ] 4. Switch: taking it back failed, the undo of step \`Switch\` failed: \`docker compose up -d\` ended with status 1
    ");
}
