//! Users' ways through a small application on loopback.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::steps::{
    StepKind as _,
    stand::{Stand, WebServer, answer},
};

/// A small application: a login by form or JSON to a cookie, videos for those who are in, a job that takes three polls.
async fn application() -> WebServer {
    let polls = AtomicU32::new(0);
    WebServer::start(move |request| {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let has = |line: &str| request.lines().any(|header| header == line);
        let is_in = has("cookie: session=s3cret-session; theme=dark") || has("cookie: theme=dark; session=s3cret-session");
        match (method, path) {
            ("POST", "/login") if body == "user=anna&password=a+%26+b" || body.contains("\"password\":\"a & b\"") => answer(
                302,
                "location: /home\r\nset-cookie: session=s3cret-session; Path=/; HttpOnly\r\nset-cookie: theme=dark\r\nset-cookie: old=1; Max-Age=0\r\n",
                "",
            ),
            ("POST", "/login") => answer(401, "", "{\"error\":\"wrong password\"}"),
            ("GET", "/home") if is_in => answer(200, "", "Welcome"),
            ("GET", "/videos/7") if is_in => answer(200, "content-type: video/mp4\r\n", &"x".repeat(2000)),
            ("POST", "/jobs") if is_in => answer(201, "", "{\"id\":\"job-4711\",\"of\":{\"video\":7}}"),
            ("GET", "/jobs/job-4711?of=7") if polls.fetch_add(1, Ordering::SeqCst) >= 2 => {
                answer(200, "", "{\"status\":\"done\",\"summary\":\"a dog\"}")
            }
            ("GET", "/jobs/job-4711?of=7") => answer(200, "", "{\"status\":\"running\",\"summary\":null}"),
            ("GET", "/failed") => answer(200, "", "{\"status\":\"failed\",\"for\":\"job-4711\"}"),
            _ => answer(403, "", "not in: /jobs/job-4711"),
        }
    })
    .await
}

fn scenario(port: u16, requests: &str) -> String {
    format!("[scenario]\nrequests = [\n{}\n]\n", requests.replace("BASE", &format!("http://localhost:{port}")))
}

const LOGIN: &str = "{ name = 'log in', http = { url = 'BASE/login', form = { user = 'anna', password = 'a & b' }, redirects = 1, contains = 'Welcome' } },";
const JOB: &str = "{ name = 'ask for a summary', http = { url = 'BASE/jobs', json-body = { video = 7 } }, keep = { job = 'id', video = 'of.video' } },";

#[tokio::test]
async fn f_26_f_27_f_28_s_37_a_user_logs_in_sees_a_video_and_gets_a_summary() {
    let server = application().await;
    let poll = "{ name = 'the summary', http = { url = 'BASE/jobs/${job}?of=${video}', json = { status = 'done' }, jq = '.summary | length > 0' }, within = '5s', every = '10ms' },";
    let video = "{ name = 'load a video', http = { url = 'BASE/videos/7', min-bytes = 1000, response-headers = { content-type = 'video/mp4' } } },";
    let stand = Stand::new();
    let probed = stand.check(&scenario(server.port, &[LOGIN, video, JOB, poll].concat())).await;
    assert_eq!(probed.verdict, Verdict::Pass, "{probed:?}");
    assert!(probed.seen.starts_with("4 requests in "), "{probed:?}");
    // As JSON the same, and nobody is in without having logged in.
    let json = LOGIN.replace("form", "json-body");
    assert_eq!(stand.check(&scenario(server.port, &[&json, video].concat())).await.verdict, Verdict::Pass);
    let probed = stand.check(&scenario(server.port, video)).await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Fail, "`load a video`: status 403 (expected 2xx): not in: /jobs/job-4711")
    );
}

#[tokio::test]
async fn f_26_f_28_a_wrong_password_a_stuck_job_and_a_failed_one_are_failures() {
    let server = application().await;
    let stand = Stand::new();
    let wrong = LOGIN.replace("a & b", "guess");
    let probed = stand.check(&scenario(server.port, &wrong)).await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Fail, "`log in`: status 401 (expected 2xx): {\"error\":\"wrong password\"}")
    );
    let poll = "{ name = 'the summary', http = { url = 'BASE/jobs/${job}?of=7', json = { status = 'never' } }, within = '60ms', every = '10ms' },";
    let probed = stand.check(&scenario(server.port, &[LOGIN, JOB, poll].concat())).await;
    assert_eq!(probed.verdict, Verdict::Fail);
    assert!(
        probed
            .seen
            .starts_with("`the summary`: not within 60ms: status 200, but the answer says otherwise: `status` is "),
        "{probed:?}"
    );
    // It does not wait for what cannot come any more.
    let failed = "{ name = 'the summary', http = { url = 'BASE/failed', json = { status = 'done' } }, within = '1h', give-up = { status = 'failed' } },";
    let probed = stand.check(&scenario(server.port, failed)).await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Fail, "`the summary`: given up: the answer says `status` is \"failed\"")
    );
    let keeps = JOB.replace("of.video", "of.none");
    let probed = stand.check(&scenario(server.port, &[LOGIN, &keeps].concat())).await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Fail, "`ask for a summary`: the answer has no `of.none`")
    );
    // What was kept may be a token: it is not shown.
    let lost = "{ name = 'lost', http = { url = 'BASE/lost/${job}' } },";
    let probed = stand.check(&scenario(server.port, &[LOGIN, JOB, lost].concat())).await;
    assert_eq!(probed.seen, "`lost`: status 403 (expected 2xx): not in: /jobs/***");
}

#[test]
fn mistakes_are_said_before_anything_is_asked() {
    for (requests, key, message) in [
        ("", "requests", "a scenario needs requests"),
        ("{ name = 'a', http = { url = 'http://x/${job}' } }", "requests.0.http.url", "no earlier request keeps `job`"),
        (
            "{ name = 'a', http = { url = 'nothing' } }",
            "requests.0.http.url",
            "`nothing` is neither `http` nor `https`",
        ),
        ("{ name = ' ', http = { url = 'http://x/' } }", "requests.0.name", "a request of a scenario needs a name"),
        (
            "{ name = 'a', http = { url = 'http://x/' }, every = '1s' }",
            "requests.0.every",
            "it is for a request that is repeated",
        ),
        (
            "{ name = 'a', http = { url = 'http://x/' }, keep = { 'a b' = 'id' } }",
            "requests.0.keep.a b",
            "`a b` cannot stand in `${...}`",
        ),
        (
            "{ name = 'a', http = { url = 'http://x/', form = { a = 'b' }, body = 'c' } }",
            "requests.0.http.form",
            "a request has one body",
        ),
    ] {
        let check: ScenarioCheck =
            toml::from_str(&format!("requests = [{requests}]")).unwrap_or_else(|error| panic!("{requests}: {error}"));
        let problems: Vec<_> = check.problems().into_iter().map(|problem| (problem.key, problem.message)).collect();
        let wanted = (key.to_owned(), message.to_owned());
        assert!(problems.contains(&wanted), "{requests}: {problems:?}");
    }
    // What is kept may be a whole address.
    let whole = "requests = [{ name = 'a', http = { url = 'http://x/' }, keep = { next = 'links.next' } }, { name = 'b', http = { url = '${next}' } }]";
    let check: ScenarioCheck = toml::from_str(whole).expect("valid");
    assert_eq!(check.problems(), []);
    let step = super::super::Check { scenario: Some(check), ..super::super::Check::default() };
    assert!(step.timeout() >= Duration::from_secs(60), "two answers of 30 s each");
}

#[tokio::test]
async fn s_46_what_a_scenario_made_is_taken_away_again_even_where_it_failed_in_between() {
    let taken_away = std::sync::Arc::new(AtomicU32::new(0));
    let count = std::sync::Arc::clone(&taken_away);
    let server = WebServer::start(move |request| {
        if request.starts_with("POST /screens ") {
            return answer(201, "", "{\"id\":\"screen-4711\"}");
        }
        if request.starts_with("DELETE /screens/screen-4711 ") {
            count.fetch_add(1, Ordering::SeqCst);
            return answer(204, "", "");
        }
        answer(500, "", "")
    })
    .await;
    let stand = Stand::new();
    let create = "{ name = 'create', http = { url = 'BASE/screens', method = 'POST' }, keep = { id = 'id' } },";
    let read = "{ name = 'read', http = { url = 'BASE/screens/${id}' } },";
    let list = "{ name = 'list', http = { url = 'BASE/screens' } },";
    let delete = "{ name = 'delete', http = { url = 'BASE/screens/${id}', method = 'DELETE' }, always = true },";
    let probed = stand.check(&scenario(server.port, &[create, read, list, delete].concat())).await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Fail, "`read`: status 500 (expected 2xx): internal server error")
    );
    assert_eq!(taken_away.load(Ordering::SeqCst), 1);
    // What was never made cannot be taken away.
    let broken = create.replace("'BASE/screens', method = 'POST'", "'BASE/broken'");
    let probed = stand.check(&scenario(server.port, &[&broken, read, delete].concat())).await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Fail, "`create`: status 500 (expected 2xx): internal server error")
    );
    assert_eq!(taken_away.load(Ordering::SeqCst), 1);
}
