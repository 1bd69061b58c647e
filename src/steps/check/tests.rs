//! Probes against small servers on loopback, through a session on this machine.

use std::fs;

use super::*;
use crate::{
    model::{FailureClass, HostName},
    steps::stand::{Stand, WebServer, answer},
    transport::scripted::{Answer, ScriptedTransport},
};

/// What a probe saw, without the times in it.
fn seen(probed: &Probed) -> (Verdict, String) {
    let times = regex::Regex::new(r"\d+ ms").expect("valid");
    (probed.verdict, times.replace_all(&probed.seen, "N ms").into_owned())
}

fn scripted(transport: &ScriptedTransport) -> Stand {
    let host: HostName = "web-1".parse().expect("a name");
    Stand { session: transport.session(&host), ..Stand::new() }
}

#[tokio::test]
async fn an_http_answer_is_judged_by_each_condition() {
    let server = WebServer::start(|request| match request.split(' ').nth(1) {
        Some("/health") => answer(
            200,
            "content-type: application/json\r\nx-version: 1.2\r\n",
            r#"{"status":"ok","db":{"migration":"0042"},"up":true}"#,
        ),
        Some("/bad") => answer(503, "", "database is down\nmore"),
        Some("/page") => answer(200, "", "<html>Welcome\nback</html>"),
        _ => answer(404, "", "<html>lost</html>"),
    })
    .await;
    let stand = Stand::new();
    let url = |path: &str| format!("url = 'http://localhost:{}{path}'", server.port);
    let pass = (Verdict::Pass, "status 200 in N ms");
    for (path, conditions, (verdict, said)) in [
        ("/health", "", pass),
        ("/health", "status = [200, 204]", pass),
        ("/health", "json = { status = 'ok', 'db.migration' = '0042', up = 'true' }", pass),
        ("/health", "jq = '.status == \"ok\" and .up'", pass),
        ("/health", "response-headers = { X-Version = '1.2' }\nmin-bytes = 20", pass),
        ("/page", "contains = ['Welcome', 'back']\nnot-contains = 'Error'\nmatches = '^back'", pass),
        ("/bad", "", (Verdict::Fail, "status 503 (expected 2xx): database is down more")),
        ("/lost", "status = 200", (Verdict::Fail, "status 404 (expected 200): not found")),
        ("/bad", "status = '5xx'", (Verdict::Pass, "status 503 in N ms")),
        (
            "/health",
            "json = { 'db.migration' = '0041' }",
            (
                Verdict::Fail,
                "status 200, but the answer says otherwise: `db.migration` is \"0042\" (expected \"0041\")",
            ),
        ),
        ("/health", "jq = '.up | not'", (Verdict::Fail, "status 200, but the answer fails `.up | not`: it is false")),
        (
            "/page",
            "json = { a = 1 }",
            (Verdict::Fail, "status 200, but the answer is not JSON: <html>Welcome back</html>"),
        ),
        ("/page", "contains = 'Error'", (Verdict::Fail, "status 200, but the answer does not contain `Error`")),
        ("/page", "not-contains = 'back'", (Verdict::Fail, "status 200, but the answer contains `back`")),
        ("/page", "matches = '^x'", (Verdict::Fail, "status 200, but the answer does not match `^x`")),
        ("/page", "min-bytes = 999", (Verdict::Fail, "status 200, but the answer has 25 bytes (expected 999)")),
        (
            "/page",
            "response-headers = { X-Version = '1.2' }",
            (Verdict::Fail, "status 200, but the header `X-Version` is missing (expected `1.2`)"),
        ),
    ] {
        let probed = stand.check(&format!("[http]\n{}\n{conditions}", url(path))).await;
        assert_eq!(seen(&probed), (verdict, said.to_owned()), "{path} {conditions}");
        let probed = stand.check(&format!("[http]\n{}\nfrom = 'controller'\n{conditions}", url(path))).await;
        assert_eq!(probed.verdict, verdict, "{path} {conditions}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_40_a_slow_first_answer_passes_with_a_time_of_its_own_and_not_with_the_usual_one() {
    let server = WebServer::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        answer(200, "", "warm")
    })
    .await;
    let stand = Stand::new();
    for (own, wanted) in [("", Verdict::Fail), (", timeout = \"20s\"", Verdict::Pass)] {
        let text = format!("http = {{ url = \"http://127.0.0.1:{}/api/models/config\"{own} }}", server.port);
        let check: Check = toml::from_str(&text).expect("a check");
        let usual = Duration::from_millis(150);
        let probed = stand.with(async |reach| check.probe(reach, usual).await).await;
        assert_eq!(probed.verdict, wanted, "{own}: {}", probed.seen);
    }
}

#[tokio::test]
async fn a_request_carries_what_was_asked_and_secrets_stay_hidden() {
    let server = WebServer::start(|request| answer(500, "", &format!("who is {}", &request[..20]))).await;
    let stand = Stand::new().secret("token", "s3cret/&token");
    let token = crate::model::SecretId::new("token").placeholder();
    let mut check: Check = toml::from_str(&format!(
        "[http]\nurl = 'http://127.0.0.1:{}/a?b=c'\njson-body = {{ user = 'x', list = [1, 'TOKEN'] }}\nheaders = {{ Authorization = 'Bearer TOKEN', Host = 'other' }}",
        server.port
    ))
    .expect("valid");
    check.templates(&mut |_, _, text| *text = text.replace("TOKEN", &token));
    let probed = stand.probe(&check).await;
    assert_eq!(probed.verdict, Verdict::Fail);
    let asked = server.asked().remove(0);
    assert!(asked.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{asked}");
    for part in ["authorization: Bearer s3cret/&token\r\n", "host: other\r\n", "content-type: application/json\r\n"] {
        assert!(asked.contains(part), "{asked}");
    }
    assert!(asked.ends_with(r#"{"user":"x","list":[1,"s3cret/&token"]}"#), "{asked}");
    assert!(!format!("{probed:?} {}", check.summary()).contains("s3cret"));
    let unknown = Stand::new().probe(&check).await;
    assert_eq!((unknown.verdict, unknown.seen.as_str()), (Verdict::Error, "the secret `token` has no value here"));
}

#[tokio::test]
async fn an_echoed_secret_is_hidden_in_what_was_seen() {
    let server = WebServer::start(|_| answer(500, "", "no such token: s3cret-token")).await;
    let stand = Stand::new().secret("token", "s3cret-token");
    let probed = stand.check(&format!("[http]\nurl = 'http://localhost:{}/'", server.port)).await;
    assert!(probed.seen.ends_with("no such token: [hidden]"), "{}", probed.seen);
}

#[tokio::test]
async fn redirections_are_followed_only_when_asked_and_without_credentials_elsewhere() {
    let other = WebServer::start(|_| answer(200, "", "other")).await;
    let port = other.port;
    let server = WebServer::start(move |request| match request.split(' ').nth(1) {
        Some("/away") => answer(302, &format!("location: http://localhost:{port}/there\r\n"), ""),
        Some("/loop") => answer(302, "location: loop\r\n", ""),
        Some("/form") => answer(303, "location: /done\r\n", ""),
        _ => answer(200, "", "done"),
    })
    .await;
    let stand = Stand::new();
    let check = |path: &str, rest: &str| format!("[http]\nurl = 'http://127.0.0.1:{}{path}'\n{rest}", server.port);
    let probed = stand.check(&check("/away", "status = 302")).await;
    assert_eq!(probed.verdict, Verdict::Pass, "{probed:?}");
    let probed = stand.check(&check("/away", "redirects = 2\nheaders = { Authorization = 'x', X-Kept = 'y' }")).await;
    assert_eq!(probed.verdict, Verdict::Pass, "{probed:?}");
    let asked = other.asked().remove(0);
    assert!(!asked.contains("authorization") && asked.contains("x-kept: y"), "{asked}");
    let probed = stand.check(&check("/form", "redirects = 1\nbody = 'a=b'\ncontains = 'done'")).await;
    assert_eq!(probed.verdict, Verdict::Pass, "{probed:?}");
    assert!(server.asked().last().expect("asked").starts_with("GET /done "));
    let probed = stand.check(&check("/loop", "redirects = 3")).await;
    assert_eq!((probed.verdict, probed.seen.as_str()), (Verdict::Fail, "more than 3 redirections"));
}

#[tokio::test]
async fn a_long_answer_is_bounded_and_never_judged_by_half() {
    let server = WebServer::start(|_| answer(200, "", &format!("{}end", "x".repeat(3_000_000)))).await;
    let stand = Stand::new();
    let check = |rest: &str| format!("[http]\nurl = 'http://localhost:{}/'\n{rest}", server.port);
    for (conditions, verdict) in [
        ("contains = 'xxx'", Verdict::Pass),
        ("contains = 'end'", Verdict::Error),
        ("min-bytes = 3000000", Verdict::Pass),
        ("min-bytes = 3000004", Verdict::Fail),
    ] {
        assert_eq!(stand.check(&check(conditions)).await.verdict, verdict, "{conditions}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_or_nonsense_fails() {
    let nonsense = WebServer::start(|_| "SSH-2.0-nobody\r\n".to_owned()).await;
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
    let silent_port = silent.local_addr().expect("bound").port();
    let gone = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
    let gone_port = gone.local_addr().expect("bound").port();
    drop(gone);
    let stand = Stand::new();
    let check = |port: u16| format!("[http]\nurl = 'http://127.0.0.1:{port}/'\ntimeout = '300ms'");
    let probed = stand.check(&check(nonsense.port)).await;
    assert!(probed.verdict == Verdict::Fail && probed.seen.starts_with("no answer of HTTP: "), "{probed:?}");
    let probed = stand.check(&check(silent_port)).await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Fail, "no answer within 300ms, while waiting for the answer")
    );
    let probed = stand.check(&check(gone_port)).await;
    assert!(probed.verdict == Verdict::Fail && probed.seen.contains("refused"), "{probed:?}");
}

#[tokio::test]
async fn tls_is_verified_unless_said_otherwise() {
    use tokio_rustls::rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    };
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../exchange/certificates/leaf.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../exchange/certificates/leaf.key"));
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("valid")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("valid")], key.expect("valid"))
        .expect("valid");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = WebServer::start_tls(|_| answer(200, "", "secure"), acceptor).await;
    let stand = Stand::new();
    fs::write(stand.path("ca.pem"), include_bytes!("../exchange/certificates/ca.pem")).expect("writable");
    fs::write(stand.path("empty.pem"), "").expect("writable");
    let check = |host: &str, rest: &str| {
        format!("[http]\nurl = 'https://{host}:{}/'\ncontains = 'secure'\n{rest}", server.port)
    };
    let ca = format!("ca-file = '{}'", stand.at("ca.pem"));
    for (host, rest, verdict, said) in [
        ("localhost", ca.clone(), Verdict::Pass, "status 200"),
        ("127.0.0.1", ca.clone(), Verdict::Pass, "status 200"),
        ("localhost", "verify = false".to_owned(), Verdict::Pass, "status 200"),
        ("localhost", String::new(), Verdict::Fail, "no TLS with localhost: "),
        ("localhost", format!("ca-file = '{}'", stand.at("empty.pem")), Verdict::Error, "cannot use the certificates"),
    ] {
        let probed = stand.check(&check(host, &rest)).await;
        assert!(probed.verdict == verdict && probed.seen.starts_with(said), "{host} {rest}: {probed:?}");
    }
}

#[tokio::test]
async fn a_port_is_open_or_not() {
    let server = WebServer::start(|_| String::new()).await;
    let stand = Stand::new();
    for from in ["host", "controller"] {
        let check = |port: u16| format!("[tcp]\nconnect = 'localhost:{port}'\nfrom = '{from}'");
        let probed = stand.check(&check(server.port)).await;
        assert_eq!(seen(&probed), (Verdict::Pass, "connected in N ms".to_owned()));
        let probed = stand.check(&check(1)).await;
        assert!(probed.verdict == Verdict::Fail && probed.seen.contains("no connection to localhost:1"), "{probed:?}");
    }
}

#[tokio::test]
async fn a_command_is_judged_by_its_end_and_its_output() {
    let stand = Stand::new();
    for (command, verdict, said) in [
        ("'true'", Verdict::Pass, "exit status 0 in N ms"),
        ("['printf', '%s', 'a b']", Verdict::Pass, "exit status 0 in N ms"),
        ("{ run = 'exit 3', exit = 3 }", Verdict::Pass, "exit status 3 in N ms"),
        ("'echo why >&2; exit 3'", Verdict::Fail, "exit status 3 (expected 0): why"),
        ("{ run = 'exit 75', inconclusive = [75] }", Verdict::Inconclusive, "exit status 75 (expected 0)"),
        ("'kill -9 $$'", Verdict::Fail, "ended by signal KILL after N ms (expected 0)"),
        ("{ run = 'echo active', contains = 'active' }", Verdict::Pass, "exit status 0 in N ms"),
        (
            "{ run = 'echo inactive', matches = '^active$' }",
            Verdict::Fail,
            "exit status 0, but the output does not match `^active$`",
        ),
        (
            "{ run = \"echo '[{\\\"State\\\":\\\"running\\\"}]'\", jq = 'all(.[]; .State == \"running\")' }",
            Verdict::Pass,
            "exit status 0 in N ms",
        ),
        ("{ run = 'pwd', dir = '/usr', contains = '/usr' }", Verdict::Pass, "exit status 0 in N ms"),
    ] {
        assert_eq!(seen(&stand.check(&format!("command = {command}")).await), (verdict, said.to_owned()), "{command}");
    }
    let check: Check = toml::from_str("command = 'sleep 60'").expect("valid");
    let probed = stand.with(async |reach| check.probe(reach, Duration::from_millis(200)).await).await;
    assert_eq!((probed.verdict, probed.seen.as_str()), (Verdict::Fail, "the program did not end within 200ms"));
}

#[tokio::test]
async fn free_space_is_compared_in_bytes_and_percent() {
    let df = Answer::to("df -Pk").out("1000000 250000\n");
    let stand = scripted(&ScriptedTransport::new().answer(df));
    for (wanted, verdict, said) in [
        ("free = '200MiB'", Verdict::Pass, "244.1MiB of 976.5MiB free (25%)"),
        ("free = '2GiB'", Verdict::Fail, "244.1MiB of 976.5MiB free (25%), expected 2GiB"),
        ("free-percent = 25", Verdict::Pass, "244.1MiB of 976.5MiB free (25%)"),
        ("free = '1MB'\nfree-percent = 30", Verdict::Fail, "244.1MiB of 976.5MiB free (25%), expected 30%"),
    ] {
        let probed = stand.check(&format!("[disk]\npath = '/srv'\n{wanted}")).await;
        assert_eq!((probed.verdict, probed.seen.as_str()), (verdict, said));
    }
    let stand = scripted(&ScriptedTransport::new().answer(Answer::to_all().status(1).err("df: broken\n")));
    let probed = stand.check("[disk]\npath = '/srv'\nfree = '1B'").await;
    assert_eq!(
        (probed.verdict, probed.seen.as_str()),
        (Verdict::Error, "`df` did not say how much is free: df: broken")
    );
}

#[tokio::test]
async fn a_lost_link_measures_nothing() {
    let lost = || TransportError::LinkLost { source: None };
    let stand = scripted(&ScriptedTransport::new().answer(Answer::to_all().fails(lost)));
    for check in ["command = 'true'", "[disk]\npath = '/'\nfree = '1B'"] {
        assert_eq!(stand.check(check).await.verdict, Verdict::Error, "{check}");
    }
    // Nothing listens there; but as the link is gone, that is not known.
    assert_eq!(stand.check("[tcp]\nconnect = 'localhost:80'").await.verdict, Verdict::Error);
}

#[tokio::test]
async fn a_request_goes_through_the_host() {
    let transport = ScriptedTransport::new().serves(Some("web-1"), 3000, answer(200, "", "hello"));
    let stand = scripted(&transport);
    let probed = stand.check("[http]\nurl = 'http://app.internal:3000/up'\ncontains = 'hello'").await;
    assert_eq!(probed.verdict, Verdict::Pass, "{probed:?}");
    let probed = stand.check("[http]\nurl = 'http://[::1]:3001/up'").await;
    assert_eq!(probed.verdict, Verdict::Fail, "{probed:?}");
    let asked: Vec<_> = transport.sent().into_iter().map(|sent| sent.request).collect();
    let tcp = |address: &str, port| crate::transport::scripted::Request::Tcp { address: address.to_owned(), port };
    assert_eq!(asked, [tcp("app.internal", 3000), tcp("::1", 3001)]);
}

#[tokio::test]
async fn a_check_step_that_is_not_green_is_an_error_with_its_verdict() {
    let stand = Stand::new();
    let step: Check = toml::from_str("command = { run = 'exit 75', inconclusive = [75] }").expect("valid");
    let error = stand.with(async |reach| step.act(reach).await).await.expect_err("not green");
    assert!(matches!(error, StepError::Check { verdict: Verdict::Inconclusive, .. }), "{error:?}");
    assert_eq!(error.to_failure().class, FailureClass::Check);
    let step: Check = toml::from_str("command = 'true'").expect("valid");
    let done = stand.with(async |reach| step.act(reach).await).await.expect("green");
    assert_eq!((done.changed, done.probe.map(|probed| probed.verdict)), (false, Some(Verdict::Pass)));
}

#[test]
fn wrong_checks_are_all_named() {
    let problems = |text: &str| -> Vec<String> {
        let check: Check = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        check.problems().into_iter().map(|problem| problem.key).collect()
    };
    for (text, keys) in [
        ("", &[""][..]),
        ("[tcp]\nconnect = 'a:1'\n[http]\nurl = 'http://x/'", &["tcp"]),
        (
            "[http]\nurl = 'localhost:80'\nmatches = '('\njq = '.a |'\nmethod = 'get'",
            &["http.url", "http.method", "http.matches", "http.jq"],
        ),
        ("[http]\nurl = 'http://me:pw@x/'", &["http.url"]),
        ("[http]\nurl = 'ftp://x/'\nheaders = { 'a b' = 'c' }", &["http.url", "http.headers.a b"]),
        ("[http]\nurl = '{{url}}'\nmatches = '{{x}}('\njq = '{{x}} |'", &[]),
        ("[tcp]\nconnect = 'localhost'", &["tcp.connect"]),
        ("[disk]\npath = 'x'", &["disk.path", "disk"]),
        ("[disk]\npath = '/x'\nfree = '2 apples'\nfree-percent = 100", &["disk.free", "disk.free-percent"]),
        ("[ssh]\nconnect = 'x'\nuser = ''\nhost-key = 'MD5:x'", &["ssh.user", "ssh.host-key"]),
        ("command = { run = '', inconclusive = [0] }", &["command.run", "command.inconclusive"]),
    ] {
        assert_eq!(problems(text), keys, "{text}");
    }
}
