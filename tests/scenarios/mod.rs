//! Rules of a rollout, each shown by a simulated fleet: a scenario in, the tables that a person sees out.

mod command;
mod run;
mod scenario;
mod wire;
mod world;

use std::{fs, path::Path};

use scenario::Scenario;

#[test]
fn rollouts_go_as_the_scenarios_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("scenarios")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in files {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let text = runtime.block_on(Scenario::read(&file).play());
        wrong.extend(super::compare(&file.with_extension("txt"), &text).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
