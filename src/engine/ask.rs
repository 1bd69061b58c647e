//! Asks hosts what is installed and what they are: every source and every fact in one round trip.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use futures::{StreamExt as _, stream};
use indexmap::IndexMap;

use super::{
    Means, Stop,
    link::{Link, LinkError},
};
use crate::{
    event::Happening,
    model::{Failure, FailureClass, HostName, RunId, clean_line},
    plan::{HostPlan, Installed, Reading},
    steps::{Action, Work},
    transport::Exec,
};

/// Hosts asked together: reading is cheap, and a person waits for the plan.
const AT_ONCE: usize = 64;

/// Longest time for everything that one host is asked.
const ASK_WITHIN: Duration = Duration::from_secs(60);

/// Lines of an answer that are kept. A version has one, a tag with its digest two.
const MOST_LINES: u32 = 20;

/// Bytes beyond those lines that are read and not kept. Who prints on is broken off, and has failed.
const MOST_READ: u32 = 1_000_000;

/// Bytes of the reason that are kept where a program fails.
const MOST_OF_A_REASON: usize = 200;

/// Asks hosts for their versions and facts. A host that cannot be asked says why.
pub async fn ask(hosts: IndexMap<HostName, HostPlan>, means: Means) -> BTreeMap<HostName, Reading> {
    stream::iter(hosts)
        .map(|(host, of)| {
            let means = means.clone();
            async move {
                let asked = async {
                    let mut link = Link::open(&host, &of, &means).await?;
                    let reading = read(&host, &of, &mut link, &means).await?;
                    link.close().await;
                    Ok::<_, LinkError>(reading)
                };
                let asked = tokio::select! {
                    asked = asked => asked,
                    () = means.control.asked_for(Stop::Drain) => {
                        Err(LinkError::Failed(Failure::new(FailureClass::Controller, "stopped by a person")))
                    }
                };
                let reading = asked.unwrap_or_else(|error| {
                    let failure = failure_of(&error);
                    Reading { installed: Installed::Unreached(failure.to_string()), ..Reading::default() }
                });
                (host, reading)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Runs a program that only reads on each host, and returns what it printed, or why it could not be read.
pub async fn read_out(
    hosts: IndexMap<HostName, (HostPlan, String)>,
    means: Means,
) -> BTreeMap<HostName, Result<String, Failure>> {
    stream::iter(hosts)
        .map(|(host, (of, program))| {
            let means = means.clone();
            async move {
                let reading = async {
                    let mut link = Link::open(&host, &of, &means).await?;
                    let said = run(&of, program, &mut link).await?;
                    link.close().await;
                    Ok(said)
                };
                let said = tokio::select! {
                    said = reading => said.unwrap_or_else(|error| Err(failure_of(&error))),
                    () = means.control.asked_for(Stop::Drain) => {
                        Err(Failure::new(FailureClass::Controller, "stopped by a person"))
                    }
                };
                (host, said)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Reads when the newest data of each host was written, where its plan says how, or why that is not known.
pub async fn newest<'a>(
    hosts: impl IntoIterator<Item = (&'a HostName, &'a HostPlan)>,
    means: Means,
) -> BTreeMap<HostName, Result<String, Failure>> {
    let asked = hosts.into_iter().filter_map(|(host, of)| {
        let program = program(of.recovery.newest.as_deref()?)?;
        Some((host.clone(), (of.clone(), program)))
    });
    let asked: IndexMap<_, _> = asked.collect();
    let line = |said: String| {
        let line = first_line(&said);
        line.ok_or_else(|| Failure::new(FailureClass::Step, "nothing was said"))
    };
    read_out(asked, means).await.into_iter().map(|(host, said)| (host, said.and_then(line))).collect()
}

/// The first line of an answer that says anything.
fn first_line(said: &str) -> Option<String> {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(clean_line(line.as_bytes(), 200))
}

/// Runs one program that only reads, as the host's usual user.
async fn run(of: &HostPlan, program: String, link: &mut Link) -> Result<Result<String, Failure>, LinkError> {
    let session = link.session().await?;
    let mut exec = Exec::script(program.clone()).timeout(ASK_WITHIN);
    exec.run_as = link.run_as(of.target.run_as.as_ref().map(|run_as| run_as.user.as_str()));
    exec.secrets = super::program::secrets_in(&program, &link.redactor);
    let ended = match session.run(exec, &mut ()).await {
        Ok(ended) => ended,
        Err(error) => return Ok(Err(Failure::from_error(error.class(), &error))),
    };
    if !ended.is_success() {
        let said = link.redactor.hide(&clean_line(&ended.err.bytes(), 200));
        let failure = Failure::new(FailureClass::Step, format!("asking ended with {}", ended.status));
        return Ok(Err(failure.because(said)));
    }
    if !ended.out.is_complete() {
        return Ok(Err(Failure::new(FailureClass::Step, "the answer is too long")));
    }
    Ok(Ok(link.redactor.hide(&ended.out.text())))
}

fn failure_of(error: &LinkError) -> Failure {
    match error {
        LinkError::Failed(failure) => failure.clone(),
        LinkError::Ledger(error) => Failure::from_error(FailureClass::Controller, error),
    }
}

/// Reads the installed version as the role says, and the facts that the host's plan says how to read; records them.
pub(super) async fn read(host: &HostName, of: &HostPlan, link: &mut Link, means: &Means) -> Result<Reading, LinkError> {
    let sources = of.version.len();
    let facts = || of.facts.iter().filter_map(|(name, fact)| Some((name, fact.how.as_ref()?)));
    let questions: Vec<&Action> = of.version.iter().chain(facts().map(|(_, how)| how)).collect();
    if questions.is_empty() {
        return Ok(Reading::default());
    }
    let answers = answers(&questions, of, link).await?;
    let mut reading = Reading::default();
    if sources > 0 {
        reading = Reading::of_sources(&answers[..sources]);
        let version = Happening::FactRead { fact: "version".to_owned(), value: reading.installed.shown() };
        means.recorder.record(Some(host), version).await?;
    }
    for ((name, _), answer) in facts().zip(&answers[sources..]) {
        if let Some(line) = answer.as_ref().ok().and_then(|said| first_line(said)) {
            reading.facts.insert(name.clone(), line);
        }
    }
    for (fact, value) in &reading.facts {
        let read = Happening::FactRead { fact: fact.clone(), value: value.clone() };
        means.recorder.record(Some(host), read).await?;
    }
    Ok(reading)
}

/// Reads a fact that a step prints on its first line, and records it. `None`: not known.
pub(super) async fn read_fact(
    host: &HostName,
    of: &HostPlan,
    (action, fact): (&Action, &str),
    link: &mut Link,
    means: &Means,
) -> Result<Option<String>, LinkError> {
    let answer = answers(&[action], of, link).await?.pop().and_then(Result::ok);
    let found = answer.as_deref().and_then(first_line);
    let value = found.clone().unwrap_or_else(|| "unknown".to_owned());
    means.recorder.record(Some(host), Happening::FactRead { fact: fact.to_owned(), value }).await?;
    Ok(found)
}

/// What each question was answered, or why its program told nothing. Nothing is guessed.
type Answer = Result<String, String>;

async fn answers(questions: &[&Action], of: &HostPlan, link: &mut Link) -> Result<Vec<Answer>, LinkError> {
    let session = link.session().await?;
    let nonce = format!("longshore-{}", RunId::generate());
    let programs: Vec<Option<String>> = questions.iter().map(|action| program(action)).collect();
    let text = match programs.as_slice() {
        [Some(only)] => only.clone(),
        _ => together(&programs, &nonce),
    };
    let mut exec = Exec::script(text.clone()).timeout(ASK_WITHIN);
    exec.run_as = link.run_as(of.target.run_as.as_ref().map(|run_as| run_as.user.as_str()));
    exec.secrets = super::program::secrets_in(&text, &link.redactor);
    let ended = match session.run(exec, &mut ()).await {
        Ok(ended) => ended,
        Err(error) => return Ok(vec![Err(link.redactor.hide(&error.to_string())); questions.len()]),
    };
    let said = link.redactor.hide(&ended.out.text());
    if let [Some(_)] = programs.as_slice() {
        let why = || reason(&link.redactor.hide(&ended.err.text()), &format!("it ended with {}", ended.status));
        return Ok(vec![if ended.is_success() { Ok(said) } else { Err(why()) }]);
    }
    Ok(apart(&said, &nonce, questions.len()))
}

/// The last thing that a program said of its failure, or else what is known of its end.
fn reason(said: &str, otherwise: &str) -> String {
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(|| otherwise.to_owned(), |line| clean_line(line.as_bytes(), MOST_OF_A_REASON))
}

fn program(action: &Action) -> Option<String> {
    match action.kind().work() {
        Work::Host(program) => Some(program.act),
        Work::Controller(_) => None,
    }
}

/// Puts programs into one. Each has a shell of its own, so that a mistake in one is no mistake in another. What one
/// prints goes straight on, and of what it complains of, the last line is told where it fails: apart from what it
/// printed, so that no length of that hides it. Who prints more than is kept is read on, and comes to its own end.
fn together(programs: &[Option<String>], nonce: &str) -> String {
    let mut text = String::new();
    for (index, program) in programs.iter().enumerate() {
        let Some(program) = program else { continue };
        // Quoted here: placeholders of secrets in it are references to variables by now.
        let quoted = program.replace('\'', r"'\''");
        let _ = writeln!(
            text,
            "{{ o=$({{ e=$(sh -c '{quoted}' 2>&1 >&3 3>&- 4>&- </dev/null) || {{ s=$?; \
             printf '%s failed %s %s %.{MOST_OF_A_REASON}s\\n' '{nonce}' {index} \"$s\" \
             \"$(printf '%s\\n' \"$e\" | tail -n 1)\" >&4; }}; }} 3>&1 \
             | {{ head -n {MOST_LINES}; head -c {MOST_READ} >/dev/null; }}); }} 4>&1\n\
             printf '%s %s\\n%.4000s\\n' '{nonce}' {index} \"$o\""
        );
    }
    text
}

/// Takes apart what [`together`] printed: that a program failed comes before what it printed.
fn apart(said: &str, nonce: &str, count: usize) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = vec![None; count];
    let mut at = None;
    for line in said.lines() {
        let told = line.strip_prefix(nonce).map(str::trim);
        match told.map(|told| (told, told.strip_prefix("failed "))) {
            Some((_, Some(failed))) => {
                let (index, failed) = failed.split_once(' ').unwrap_or((failed, ""));
                let (status, said) = failed.split_once(' ').unwrap_or((failed, ""));
                if let Some(answer) = index.parse::<usize>().ok().and_then(|index| answers.get_mut(index)) {
                    *answer = Some(Err(reason(said, &format!("it ended with status {status}"))));
                }
                at = None;
            }
            Some((index, None)) => {
                at = index.parse().ok();
                if let Some(answer) = at.and_then(|at: usize| answers.get_mut(at)) {
                    answer.get_or_insert_with(|| Ok(String::new()));
                }
            }
            None => {
                if let Some(Some(Ok(answer))) = at.and_then(|at| answers.get_mut(at)) {
                    answer.push_str(line);
                    answer.push('\n');
                }
            }
        }
    }
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err("nothing was said".to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_answers_for_itself_whatever_the_others_do_and_however_much_it_prints() {
        let programs = [
            "echo '1.4.2'",
            "printf half; exit 3",
            "if then; oops (",
            "cat; echo \"it's\" two; echo lines",
            "yes | head -n 500",
            "set -e; false; echo no",
            "true",
            "echo no; echo 'first' >&2; echo \"it's 100% gone\" >&2; echo >&2; exit 4",
            "yes 1.4.2 | head -n 21; echo gone >&2; exit 5",
            "yes 1.4.2 | head -n 70000; exit 6",
            "echo 1.4.2; printf '%5000s'; exit 7",
            "awk 'BEGIN { for (i = 0; i < 70000; i++) print i }'",
            "exec yes",
        ];
        let programs: Vec<_> = programs.iter().map(|text| Some((*text).to_owned())).chain([None]).collect();
        let text = together(&programs, "mark");
        let ran = std::process::Command::new("sh").arg("-c").arg(&text).output().expect("a shell");
        let said = String::from_utf8(ran.stdout).expect("text");
        let answers = apart(&said, "mark", programs.len());
        let lines = |index: usize| answers[index].as_deref().map(str::trim_end);
        assert_eq!(lines(0), Ok("1.4.2"));
        assert_eq!(lines(1), Err(&"it ended with status 3".to_owned()), "what failed has told nothing");
        assert!(lines(2).is_err_and(|why| why.to_lowercase().contains("syntax error")), "{:?}", lines(2));
        assert_eq!(lines(3), Ok("it's two\nlines"));
        assert_eq!(lines(4).map(|text| text.lines().count()), Ok(20));
        assert_eq!(lines(5), Err(&"it ended with status 1".to_owned()));
        assert_eq!(lines(6), Ok(""));
        assert_eq!(lines(7), Err(&"it's 100% gone".to_owned()));
        // However much a program prints, it is its end that tells whether it has answered.
        assert_eq!(lines(8), Err(&"gone".to_owned()));
        assert_eq!(lines(9), Err(&"it ended with status 6".to_owned()));
        assert_eq!(lines(10), Err(&"it ended with status 7".to_owned()));
        assert_eq!(lines(11).map(|text| text.lines().count()), Ok(20));
        assert!(lines(12).is_err(), "it never ends by itself");
        assert_eq!(lines(13), Err(&"nothing was said".to_owned()), "who was not asked said nothing");
    }
}
