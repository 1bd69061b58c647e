//! What `ssh -G` cannot be asked: homes, problems, refusals, routes, hostile input.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use proptest::prelude::*;

use super::*;

/// A home folder with a configuration.
struct Home {
    folder: tempfile::TempDir,
    allow_exec: bool,
}

impl Home {
    fn with(config: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), allow_exec: false };
        home.write("config", config);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(".ssh").join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn resolver(&self) -> Resolver {
        let options = ResolverOptions {
            files: vec![self.path("config"), PathBuf::from("/nowhere/ssh_config")],
            home: self.folder.path().to_owned(),
            local_user: "me".to_owned(),
            local_host: "desk.example.com".to_owned(),
            allow_exec: self.allow_exec,
        };
        Resolver::load_with(options, |name| (name == "SOCKET").then(|| "/run/agent".to_owned()))
    }

    fn resolve(&self, alias: &str) -> Resolved {
        self.resolver().resolve(alias, &Overrides::default())
    }
}

fn messages(problems: &[ConfigProblem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.line, problem.message)).collect()
}

fn hops(list: &str) -> Proxy {
    Proxy::Jump(JumpHop::parse_list(list).unwrap())
}

#[test]
fn without_files_there_are_defaults() {
    let resolved = Resolver::empty("/home/me", "me").resolve("Web", &Overrides::default());
    assert_eq!((resolved.host_name.as_str(), resolved.port, resolved.user.as_str()), ("web", 22, "me"));
    assert_eq!(resolved.alias, "Web");
    assert_eq!((resolved.proxy, resolved.identity_agent), (Proxy::None, AgentChoice::Default));
    assert_eq!(resolved.user_known_hosts[0], Path::new("/home/me/.ssh/known_hosts"));
    assert_eq!(resolved.global_known_hosts[0], Path::new("/etc/ssh/ssh_known_hosts"));
    assert_eq!((resolved.refused, resolved.problems), (None, vec![]));
}

#[test]
fn overrides_win_and_are_what_match_looks_at() {
    let home = Home::with("User file\nPort 1\nMatch user inventory\nHostKeyAlias seen\n");
    let overrides = Overrides { user: Some("inventory".to_owned()), port: Some(2) };
    let resolved = home.resolver().resolve("web", &overrides);
    assert_eq!((resolved.user.as_str(), resolved.port), ("inventory", 2));
    assert_eq!(resolved.host_key_alias.as_deref(), Some("seen"));
    assert_eq!(resolved.host_id(), HostId::alias("seen"));
    assert_eq!(home.resolve("web").host_id(), HostId::new("web", 1));
}

#[test]
fn without_identity_files_the_usual_ones_that_exist_are_offered() {
    let home = Home::with("Host none\nIdentityFile none\nHost own\nIdentityFile %d/keys/%n\n");
    home.write("id_rsa", "");
    home.write("id_ed25519", "");
    let resolved = home.resolve("web");
    assert!(resolved.default_identities);
    assert_eq!(resolved.identity_files, [home.path("id_ed25519"), home.path("id_rsa")]);
    let resolved = home.resolve("none");
    assert!(!resolved.default_identities && resolved.identity_files.is_empty());
    assert_eq!(home.resolve("own").identity_files, [home.folder.path().join("keys/own")]);
}

#[test]
fn includes_are_relative_to_the_folder_of_the_user_and_belong_to_their_block() {
    let home = Home::with("Host web\n  Include conf.d/* ~/.ssh/more ${SOCKET}\nHost *\n  User last\n");
    home.write("conf.d/10-a", "User first\nHost db\nPort 9\n");
    home.write("conf.d/20-b", "User second\nPort 8\n");
    home.write("conf.d/.hidden", "HostKeyAlias hidden\n");
    fs::create_dir(home.path("conf.d/folder")).unwrap();
    home.write("more", "IdentityFile ~/more\n");
    let web = home.resolve("web");
    assert_eq!((web.user.as_str(), web.port, web.host_key_alias), ("first", 8, None));
    assert_eq!(web.identity_files, [home.folder.path().join("more")]);
    let db = home.resolve("db");
    assert_eq!((db.user.as_str(), db.port), ("last", 22));
    assert_eq!(home.resolver().problems(), []);
}

#[test]
fn files_that_include_each_other_end_in_a_refusal_and_not_in_a_hang() {
    let home = Home::with("Include a b\n");
    home.write("a", "Include a b\n");
    home.write("b", "Include a b\n");
    let resolved = home.resolve("web");
    assert!(resolved.refused.unwrap().contains("too many files include each other"));
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let home = Home::with("Include pipe\n");
    nix::unistd::mkfifo(&home.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(home.resolve("web").refused.unwrap().contains("it is no regular file"));
    assert!(crate::transport::ssh::known_hosts::KnownHosts::load(&[home.path("pipe")]).is_err());
}

#[test]
fn a_file_that_others_may_change_is_refused() {
    let home = Home::with("ProxyCommand evil\n");
    fs::set_permissions(home.path("config"), fs::Permissions::from_mode(0o666)).unwrap();
    let resolver = home.resolver();
    assert_eq!(resolver.problems()[0].kind, ProblemKind::File);
    let web = resolver.resolve("web", &Overrides::default());
    assert_eq!(web.proxy, Proxy::None);
    assert!(web.refused.unwrap().contains("others than its owner may change the file"));
}

#[test]
fn what_changes_route_or_trust_and_is_not_honoured_is_told_for_the_hosts_it_applies_to() {
    let home = Home::with(
        "Host web\n  BindAddress 192.0.2.1\n  BindAddress 192.0.2.2\n  StrictHostKeyChecking no\n  \
         VerifyHostKeyDNS no\n  CanonicalizeHostname yes\n  Match localnetwork 192.0.2.0/24\n  User wrong\n\
         Host *\n  VerifyHostKeyDNS yes\n  KnownHostsCommand /bin/x\n",
    );
    assert_eq!(home.resolver().problems(), []);
    let web = home.resolve("web");
    assert_eq!(
        messages(&web.problems),
        [
            "2: `BindAddress` changes the route to the host and is not honoured",
            "4: `StrictHostKeyChecking` is not honoured: unknown host keys are never accepted",
            "6: `CanonicalizeHostname` changes the route to the host and is not honoured",
            "7: `Match localnetwork` is not honoured; the block is left out",
            "11: `KnownHostsCommand` changes which host keys are trusted and is not honoured",
        ]
    );
    assert_eq!((web.user.as_str(), web.strict_host_key_checking), ("me", StrictHostKeyChecking::No));
    let db = home.resolve("db");
    assert_eq!(db.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [7, 10, 11]);
}

#[test]
fn broken_lines_are_told_once_for_the_file_and_refuse_only_the_hosts_of_their_block() {
    let home = Home::with("Host web\n  Port x\nHost *\n  Frobnicate yes\n  User \"a\n  User b\n");
    let resolver = home.resolver();
    let path = home.path("config");
    let told: Vec<_> = resolver.problems().iter().map(ToString::to_string).collect();
    let expected =
        ["2: `port`: `x` is no port", "4: `frobnicate` is no keyword that is known", "5: the quotes are not closed"];
    assert_eq!(told, expected.map(|message| format!("{}:{message}", path.display())));
    let home = Home::with("Host web\n  Port x\nHost *\n  Frobnicate yes\n  User b\n");
    assert!(home.resolve("web").refused.unwrap().ends_with("config:2: `port`: `x` is no port"));
    let db = home.resolve("db");
    assert_eq!((db.refused, db.user.as_str()), (None, "b"));
}

#[test]
fn a_broken_block_refuses_every_host_and_nothing_in_it_applies() {
    let home = Home::with("Host db\nPort 1\nMatch wat\nProxyJump bastion\n");
    for alias in ["web", "db"] {
        let resolved = home.resolve(alias);
        assert!(resolved.refused.unwrap().contains("`wat` is no condition of `Match`"));
        assert_eq!(resolved.proxy, Proxy::None);
    }
}

#[test]
fn match_exec_runs_only_where_it_is_allowed() {
    let mut home = Home::with(
        "Match exec true\nUser a\nMatch !exec false\nPort 5\nMatch exec \"test %n = web\"\nHostKeyAlias x\n",
    );
    let resolved = home.resolve("web");
    assert_eq!((resolved.user.as_str(), resolved.port), ("me", 22), "an answer that is not known leaves the block out");
    assert_eq!(resolved.problems.len(), 3);
    home.allow_exec = true;
    let resolved = home.resolve("web");
    assert_eq!((resolved.user.as_str(), resolved.port, resolved.host_key_alias.as_deref()), ("a", 5, Some("x")));
    let hostile = home.resolve("$(touch /tmp/x)");
    assert!(hostile.refused.unwrap().contains("cannot go into a shell command"));
}

#[test]
fn names_that_mean_something_to_a_shell_never_reach_a_proxy_command() {
    let home = Home::with("ProxyCommand nc %h %p\nMatch host user\nUser a;b\n");
    assert_eq!(home.resolve("web").proxy, Proxy::Command("nc web 22".to_owned()));
    for alias in ["web;id", "-oProxyCommand=id", "$(id)", "a b", "`id`", "a\nb"] {
        let resolved = home.resolve(alias);
        assert!(resolved.refused.unwrap().contains("cannot go into a shell command"), "{alias:?}");
        assert_eq!(resolved.proxy, Proxy::Command("exit 255".to_owned()));
    }
    let home = Home::with("ProxyCommand nc -l %r %h\nUser a;b\n");
    assert!(home.resolve("web").refused.is_some());
    let home = Home::with("ProxyCommand nc %z\n");
    assert!(home.resolve("web").refused.unwrap().contains("`%z` means nothing here"));
}

#[test]
fn the_agent_is_the_usual_one_none_or_a_path() {
    let table = [
        ("", AgentChoice::Default, 0),
        ("IdentityAgent SSH_AUTH_SOCK\n", AgentChoice::Default, 0),
        ("IdentityAgent none\n", AgentChoice::None, 0),
        ("IdentityAgent $SOCKET\n", AgentChoice::Path("/run/agent".into()), 0),
        ("IdentityAgent ${SOCKET}-%r\n", AgentChoice::Path("/run/agent-me".into()), 0),
        ("IdentityAgent $MISSING\n", AgentChoice::None, 1),
    ];
    for (config, expected, problems) in table {
        let resolved = Home::with(config).resolve("web");
        assert_eq!((resolved.identity_agent, resolved.problems.len()), (expected, problems), "{config}");
    }
}

#[test]
fn tokens_are_those_of_openssh() {
    let home = Home::with(
        "Port 2222\nHostName %h.example.com\nUser u-%n\nHostKeyAlias K\nProxyJump a,b\n\
         CertificateFile /%h/%n/%p/%r/%u/%l/%L/%k/%j/%%/${SOCKET}\nCertificateFile /${MISSING}\n",
    );
    let resolved = home.resolve("Web");
    assert_eq!(
        resolved.certificate_files,
        [Path::new("/web.example.com/Web/2222/u-Web/me/desk.example.com/desk/k/b/%//run/agent")]
    );
    assert_eq!(
        messages(&resolved.problems),
        ["7: `/${MISSING}` is left out: the environment variable `MISSING` is not set"]
    );
    assert_eq!(
        Home::with("RefuseConnection moved\n").resolve("web").refused.unwrap().rsplit(": ").next(),
        Some("moved")
    );
}

#[test]
fn a_route_resolves_every_jump_host_by_its_own_block() {
    let home = Home::with(
        "Host web\n ProxyJump gate,u@inner:2200\nHost gate\n ProxyJump outer\n Port 2\nHost outer\n HostName 192.0.2.9\n",
    );
    let resolver = home.resolver();
    let route = |alias: &str, jump: &str| -> Vec<String> {
        let jump = if jump.is_empty() { vec![] } else { JumpHop::parse_list(jump).unwrap() };
        let route = resolver.route(alias, &Overrides::default(), &jump).unwrap();
        route.iter().map(|host| format!("{}@{}:{}", host.user, host.host_name, host.port)).collect()
    };
    assert_eq!(route("web", ""), ["me@192.0.2.9:22", "me@gate:2", "u@inner:2200", "me@web:22"]);
    assert_eq!(route("db", ""), ["me@db:22"]);
    assert_eq!(route("db", "x,y"), ["me@x:22", "me@y:22", "me@db:22"]);
    assert_eq!(route("web", "outer"), ["me@192.0.2.9:22", "me@web:22"]);
    assert_eq!(home.resolve("web").proxy, hops("gate,u@inner:2200"));
}

#[test]
fn a_route_that_leads_round_in_a_circle_is_an_error() {
    let home = Home::with("Host *\n ProxyJump bastion\n");
    let error = home.resolver().route("web", &Overrides::default(), &[]).unwrap_err();
    assert_eq!(error.to_string(), "the jump hosts of `web` lead round in a circle through `bastion`");
}

#[test]
fn a_long_list_of_jump_hosts_is_no_circle() {
    let list: Vec<String> = (0..ROUTE_LIMIT).map(|number| format!("hop-{number}")).collect();
    let home = Home::with(&format!("Host web\nProxyJump {}\n", list.join(",")));
    let route = home.resolver().route("web", &Overrides::default(), &[]).unwrap();
    assert_eq!(route.len(), ROUTE_LIMIT + 1);
    assert_eq!((route[0].alias.as_str(), route[ROUTE_LIMIT].alias.as_str()), ("hop-0", "web"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_resolver_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), alias in ".{0,12}") {
        let home = Home::with("");
        home.write("config", &bytes);
        home.resolve(&alias);
    }

    #[test]
    fn no_values_make_the_resolver_panic(
        lines in prop::collection::vec(
            ("(Host|Match|Include|User|Port|HostName|ProxyJump|ProxyCommand|IdentityFile|IdentityAgent|UserKnownHostsFile|ConnectTimeout)",
             "[ =\t]", "[a-z0-9%~$\\{\\}\\[\\]@:/,!*?#\"'\\\\ é-]{0,16}"),
            0..8,
        ),
        alias in "[a-z%$.;é]{0,6}",
    ) {
        let lines: Vec<String> =
            lines.into_iter().map(|(keyword, between, value)| format!("{keyword}{between}{value}\n")).collect();
        Home::with(&lines.concat()).resolve(&alias);
    }
}
