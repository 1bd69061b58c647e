//! Brings what has changed of a tree to the host, beside the step's other files; nothing of it is in its place yet.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    LoadedTree,
    local::{Entry, Manifest, archive},
};
use crate::{
    model::{Secret, clean},
    steps::{Progress, StepError},
    transport::{Ended, Exec, Session},
};

/// Longest time for a question: the host digests all files that it has of the tree.
const QUESTION: Duration = Duration::from_mins(10);

/// Longest time for the files.
const SENDING: Duration = Duration::from_mins(60);

/// Compares the host's files with the wanted ones, as far as a shell can: prints what it has.
const HAS: &str = include_str!("has.sh");

/// Brings what the host lacks to the folder `path`, a shell expression: `new/` with the files, and the lists `wanted`,
/// `changed` and `gone`. What an earlier attempt brought there goes.
pub(in crate::steps) async fn send(
    session: &Arc<dyn Session>,
    run_as: Option<(String, Option<Secret>)>,
    tree: &LoadedTree,
    path: &str,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), StepError> {
    let (from, exclude) = (tree.path.clone(), tree.exclude.clone());
    let manifest = tokio::task::spawn_blocking(move || Manifest::read(&from, &exclude))
        .await
        .map_err(|_| StepError::Refused("reading the tree was cut short".to_owned()))??;
    if manifest.digest() != tree.sha256 {
        let local = tree.path.display();
        return Err(StepError::Refused(format!("`{local}` has changed since the plan was made")));
    }
    let host = Host { session, run_as, begin: format!("umask 077\nf={path}\nto={}\n", tree.to_word()) };
    host.put("rm -rf \"$f\" && mkdir -p \"$f/new\" && cat >\"$f/wanted\"\n", &manifest.lines()).await?;
    let has = host.ask(HAS).await?;
    let has = Has::read(&has);
    let changed: Vec<Entry> = manifest.0.iter().filter(|entry| !has.lines.contains(&entry.line())).cloned().collect();
    let wanted: HashSet<&str> = manifest.0.iter().map(|entry| entry.path.as_str()).collect();
    let gone = has.known.iter().filter(|path| !wanted.contains(path.as_str()));
    let gone = gone.fold(String::new(), |gone, path| gone + path + "\n");
    host.put("cat >\"$f/gone\"\n", if tree.keep_old { "" } else { &gone }).await?;
    if !changed.is_empty() {
        host.files(tree, &changed, progress).await?;
    }
    // Last: without this list nothing is put into its place.
    let lines: String = changed.iter().map(Entry::line).collect();
    host.put("cat >\"$f/changed.new\" && mv \"$f/changed.new\" \"$f/changed\"\n", &lines).await
}

/// What the host has of the tree.
#[derive(Debug, Default)]
struct Has {
    /// As [`Entry::line`] has them.
    lines: HashSet<String>,
    /// What an earlier tree brought.
    known: Vec<String>,
}

impl Has {
    fn read(text: &str) -> Self {
        let mut has = Self::default();
        let runs: HashSet<&str> = text.lines().filter_map(|line| line.strip_prefix("x ")).collect();
        for line in text.lines() {
            match line.split_at_checked(2) {
                Some(("s ", rest)) => {
                    let Some((sha256, path)) = rest.split_once("  ") else { continue };
                    let kind = if runs.contains(path) { "x" } else { "f" };
                    has.lines.insert(format!("{kind}\t{sha256}\t{path}\n"));
                }
                Some(("l ", rest)) => {
                    has.lines.insert(format!("l\t{rest}\n"));
                }
                Some(("o ", path)) => has.known.push(path.to_owned()),
                _ => {}
            }
        }
        has
    }
}

struct Host<'a> {
    session: &'a Arc<dyn Session>,
    run_as: Option<(String, Option<Secret>)>,
    begin: String,
}

impl Host<'_> {
    fn exec(&self, text: &str, limit: Duration) -> Exec {
        let mut exec = Exec::script(format!("{}{text}", self.begin)).timeout(limit);
        exec.run_as.clone_from(&self.run_as);
        exec
    }

    fn good(ended: &Ended) -> Result<(), StepError> {
        if ended.is_success() {
            return Ok(());
        }
        let output = clean(&ended.err.bytes()).lines().map(str::to_owned).collect();
        Err(StepError::Ended {
            program: "bringing a tree to the host".to_owned(),
            status: ended.status.clone(),
            output,
        })
    }

    async fn put(&self, text: &str, content: &str) -> Result<(), StepError> {
        let ended = self.session.push(&mut content.as_bytes(), self.exec(text, QUESTION)).await?;
        Self::good(&ended)
    }

    async fn ask(&self, text: &str) -> Result<String, StepError> {
        let mut said = Vec::new();
        let ended = self.session.pull(self.exec(text, QUESTION), &mut said).await?;
        Self::good(&ended)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    async fn files(
        &self,
        tree: &LoadedTree,
        entries: &[Entry],
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), StepError> {
        let of = entries.iter().map(Entry::size).sum();
        let (mut into, mut from) = tokio::io::duplex(256 * 1024);
        let exec = self.exec("cd \"$f/new\" && exec tar -xpof -\n", SENDING);
        let writing = async {
            let told = |done| progress(Progress::Bytes { done, of });
            let written = archive(&tree.path, entries, &mut into, told).await;
            // Without its end the archive is refused there.
            drop(into);
            written.map_err(|source| StepError::LocalFile { path: tree.path.display().to_string(), source })
        };
        let (written, pushed) = tokio::join!(writing, self.session.push(&mut from, exec));
        let ended = pushed?;
        // What the host says of a broken pipe is less than why it broke.
        Self::good(&ended)?;
        written
    }
}
