//! Asks `ssh -G` what a configuration means for a host, and compares.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use nix::unistd::{User, getuid};
use proptest::prelude::*;

use super::*;

/// Configurations, and the hosts to ask about. `{dir}` is the folder that they and `INCLUDED` are in.
const TABLE: &[(&str, &str)] = &[
    ("", "web db"),
    ("Host web\n  User deploy\n  Port 2222\n  HostName 198.51.100.7\n", "web db WEB"),
    ("Host web\nUser a\nHost *\nUser b\nPort 1\n", "web db"),
    ("User a\nHost web\nUser b\n", "web db"),
    ("Host web-* !web-2\nUser a\nHost !web-1 web-?\nUser b\n", "web-1 web-2 web-3 db"),
    ("Host !web\nUser a\nHost *\nPort 7\n", "web db"),
    ("Host a,b c\nUser a\n", "a b c"),
    ("Host \"web\" 'db'\nUser \"de ploy\"\n", "web db"),
    ("\thost\tweb\n\t\tuSeR\tdeploy\t# who\n\tPORT = 22\n hostname=198.51.100.8\n", "web"),
    ("Host=web\nUser=a\nPort   =   2200\n", "web"),
    ("Host web\r\n  User deploy\r\n  IdentityFile ~/.ssh/web\r\n", "web"),
    ("# User a\n\n   # Port 1\nHost web # db\nUser b#c\n", "web db # #"),
    ("HostName %h.Example.COM\n", "web db.eu"),
    ("Host web\nHostName 100%%.example.com\n", "web"),
    ("HostName 2001:DB8:0:0::7\n", "web"),
    ("Host *.eu\nHostName %h.example.com\nUser a\nMatch host *.example.com\nUser b\nPort 3\n", "web.eu web.us"),
    ("Match host web\nUser a\nMatch host=db,web\nPort 4\nMatch !host web\nPort 5\n", "web db other WEB"),
    (
        "Host web\nHostName db\nMatch originalhost web\nUser a\nMatch host web\nPort 6\nMatch host db\nPort 7\n",
        "web db",
    ),
    ("Match user deploy\nPort 8\nHost web\nUser deploy\nMatch user deploy,root host web\nIdentityFile ~/k\n", "web db"),
    ("Match localuser nobody\nUser a\nMatch localuser *\nUser b\n", "web"),
    ("Match all\nUser a\nMatch !all\nPort 9\n", "web"),
    ("Host web\nMatch all\nPort 9\n", "web db"),
    ("Match exec true\nUser a\nMatch exec \"test %h = web\"\nPort 10\nMatch !exec false\nHostKeyAlias c\n", "web db"),
    ("Match host db exec false\nUser a\nMatch exec \"exit 3\"\nUser b\n", "web db"),
    ("Host web\nHostName web.example.com\nMatch final host *.example.com\nUser a\nHost web.*\nPort 11\n", "web db"),
    ("Match canonical\nUser a\nMatch final all\nPort 12\nMatch !canonical\nIdentityFile x\n", "web"),
    ("Host web\nMatch final\nUser late\nHost *\nUser early\nIdentityFile a\nIdentityFile b\n", "web db"),
    ("IdentityFile ~/.ssh/a\nHost web\nIdentityFile ~/.ssh/b\nIdentityFile ~/.ssh/a\nIdentityFile /c\n", "web db"),
    ("IdentityFile none\nIdentitiesOnly yes\nCertificateFile ~/.ssh/a-cert.pub\nCertificateFile /b\n", "web"),
    ("IdentityFile \"~/with space\"\nIdentitiesOnly TRUE\n", "web"),
    ("Host web\nProxyJump bastion\nHost *\nProxyJump a,b@c:2222,[2001:db8::1]:22\n", "web db"),
    ("Host web\nProxyJump none\nHost *\nProxyJump bastion\n", "web db"),
    ("Host web\nProxyCommand nc %h %p\nHost *\nProxyJump bastion\n", "web db"),
    ("Host web\nProxyJump bastion\nHost *\nProxyCommand nc %h %p\n", "web db"),
    ("Host web\nProxyCommand none\nHost *\nProxyCommand nc -x \"proxy # 1\" %h %% %p %r %n\n", "web db"),
    ("ProxyJump ssh://deploy@bastion:2200,ssh://last\n", "web"),
    ("ProxyJump=me@corp@bastion\n", "web"),
    ("Host web\nProxyJump none\nProxyCommand nc %h 1\n", "web"),
    ("HostKeyAlias Fleet-Web\nUserKnownHostsFile ~/.a %d/b \"/c d\"\nGlobalKnownHostsFile /g ~/h\n", "web"),
    ("UserKnownHostsFile none\nGlobalKnownHostsFile none\n", "web"),
    ("UserKnownHostsFile /%h/%n/%p/%r/%u/%i/%l/%L/%C/%k/%%\nHost web\nHostName x.Y\nPort 5\nUser u\n", "web db"),
    ("UserKnownHostsFile /%k/%C ${LONGSHORE_TEST}/a\nHostKeyAlias Some.Alias\n", "web"),
    ("Host web\nUserKnownHostsFile /a /b\nHost *\nUserKnownHostsFile /c\n", "web db"),
    ("ConnectTimeout 10\nServerAliveInterval 1m30s\nServerAliveCountMax 5\n", "web"),
    ("Host web\nConnectTimeout none\nHost *\nConnectTimeout 1h\nServerAliveInterval 0\n", "web db"),
    ("IdentityAgent none\nForwardAgent yes\n", "web"),
    ("Host web\nIdentityAgent ~/agent-%h\nHost *\nIdentityAgent SSH_AUTH_SOCK\nForwardAgent no\n", "web db"),
    ("StrictHostKeyChecking accept-new\nPubkeyAuthentication no\nPasswordAuthentication no\n", "web"),
    (
        "StrictHostKeyChecking off\nPreferredAuthentications publickey,password\nKbdInteractiveAuthentication no\n",
        "web",
    ),
    ("Include {dir}/web.conf\nHost *\nUser last\n", "web db"),
    ("Host web\nInclude {dir}/all.conf\nHost *\nUser last\n", "web db"),
    ("Host db\nInclude {dir}/web.conf\nPort 30\nHost *\nUser last\n", "web db"),
    ("Include {dir}/*.conf {dir}/missing\nPort 40\n", "web db other"),
    ("Host web\nInclude {dir}/nested/*.conf\nIdentityFile z\n", "web db"),
    ("Host db\nInclude {dir}/final.conf\nHost *\nHostName x\nMatch host x\nUser a\nHost x\nPort 50\n", "web db"),
    ("IgnoreUnknown Use*,foo\nUseKeychain yes\nFoo bar\nUser a\n", "web"),
    ("Compression yes\nLocalForward 8080 localhost:80\nSendEnv LANG LC_*\nControlPath /x\nUser a\n", "web"),
    ("Host web\nPort ssh\n", "web"),
];

const INCLUDED: &[(&str, &str)] = &[
    ("web.conf", "User outer\nHost web\nPort 31\nIdentityFile ~/w\n"),
    ("all.conf", "Port 32\nHost *\nIdentityFile ~/all\n"),
    ("final.conf", "Match final\nIdentityFile ~/final\n"),
    ("nested/a.conf", "Include {dir}/nested/deep/*\nIdentityFile a\n"),
    ("nested/b.conf", "IdentityFile b\nMatch host web\nUser nested\n"),
    ("nested/deep/c", "IdentityFile c\nHost other\nUser wrong\n"),
];

/// What OpenSSH refuses to work with, for the host `web`.
const REFUSED: &[&str] = &[
    "Host web\nPort 0\n",
    "Host web\nPort 65536\n",
    "Host web\nUser\n",
    "Host web\nUser \"a\n",
    "Host web\nUser a b\n",
    "Host web\nIdentitiesOnly maybe\n",
    "Host web\nProxyJump a@\n",
    "Host web\nProxyJump [::1\n",
    "Host web\nConnectTimeout soon\n",
    "Host web\nUserKnownHostsFile none /a\n",
    "Host web\nUserKnownHostsFile /a%z\n",
    "Host web\nUserKnownHostsFile ${LONGSHORE_UNSET}\n",
    "Host \"\"\nUser a\n",
    "Match\nUser a\n",
    "Match host\nUser a\n",
    "Match moon full\nUser a\n",
    "Match host web all\nUser a\nMatch user a host b all\n",
    "HostName %p\n",
    "Include {dir}/loop\n",
];

#[test]
fn hosts_resolve_as_ssh_resolves_them() {
    let Some(bench) = Bench::new() else { return };
    assert!(TABLE.len() >= 30);
    let overrides = [
        Overrides::default(),
        Overrides { user: Some("over".to_owned()), port: None },
        Overrides { user: None, port: Some(2) },
    ];
    for (content, hosts) in TABLE {
        bench.write(content);
        let resolver = bench.resolver();
        for host in hosts.split(' ').filter(|host| !host.is_empty()) {
            for overrides in &overrides {
                let output = bench.ssh(host, overrides);
                let trouble = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "ssh does not take\n{content}\n{trouble}");
                let found = resolver.resolve(host, overrides);
                assert_eq!(found.refused, None, "{host} with\n{content}");
                let theirs = bench.theirs(&output);
                assert_eq!(ours(&found, &theirs), theirs, "{host} and {overrides:?} with\n{content}");
            }
        }
    }
}

#[test]
fn what_ssh_refuses_is_refused_with_the_place() {
    let Some(bench) = Bench::new() else { return };
    fs::write(bench.dir().join("loop"), format!("Include {}/loop\n", bench.dir().display())).unwrap();
    for content in REFUSED {
        bench.write(content);
        let output = bench.ssh("web", &Overrides::default());
        assert!(!output.status.success(), "ssh takes\n{content}");
        let refused = bench.resolver().resolve("web", &Overrides::default()).refused;
        assert!(refused.is_some(), "longshore takes\n{content}");
    }
}

#[test]
fn a_proxy_command_is_expanded_as_ssh_expands_it() {
    let Some(bench) = Bench::new() else { return };
    let out = bench.dir().join("out");
    // The shell holds its standard output open until all is written: when it closes, ssh ends it.
    let proxy = format!("sh -c 'printf %%s \"%h|%n|%p|%r|%k|%%\" > {}; exit 1'", out.display());
    for content in ["", "HostName x.Example.com\nPort 7\nUser u\n", "HostName 2001:db8::7\nHostKeyAlias Alias\n"] {
        bench.write(&format!("{content}ProxyCommand {proxy}\n"));
        let Proxy::Command(ours) = bench.resolver().resolve("Web", &Overrides::default()).proxy else {
            panic!("no command")
        };
        let mut seen = Vec::new();
        let config = bench.dir().join("config");
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "BatchMode=yes", "-F"]).arg(config).args(["Web", "true"]);
        for mut command in [ssh, {
            let mut sh = Command::new("/bin/sh");
            sh.args(["-c", &ours]);
            sh
        }] {
            command.output().unwrap();
            seen.push(fs::read_to_string(&out).unwrap());
            fs::remove_file(&out).unwrap();
        }
        assert_eq!(seen[0], seen[1], "{content}");
    }
}

fn a_line() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec![
        "web",
        "db",
        "*",
        "w*",
        "!web",
        "!d?",
        "x.example.com",
        "*.example.com",
        "web db",
        "* !db",
    ]);
    let condition = prop::sample::select(vec![
        "all",
        "host web",
        "host web,db",
        "!host web",
        "host *.example.com",
        "originalhost web",
        "!originalhost d*",
        "user a",
        "!user a,b",
        "user a host web",
        "localuser nobody",
        "exec true",
        "exec false host web",
        "final",
        "canonical",
        "final host x.*",
        "final all",
        "!canonical",
    ]);
    let setting = prop::sample::select(vec![
        "User a",
        "User b",
        "Port 1",
        "Port 2",
        "HostName %h.example.com",
        "HostName x.example.com",
        "HostName 198.51.100.1",
        "IdentityFile ~/.ssh/one",
        "IdentityFile /two",
        "IdentityFile none",
        "IdentitiesOnly yes",
        "IdentitiesOnly no",
        "CertificateFile ~/c",
        "ProxyJump none",
        "ProxyJump j1",
        "ProxyJump j1,u@j2:9",
        "ProxyCommand nc %h %p",
        "ProxyCommand none",
        "HostKeyAlias one",
        "HostKeyAlias TWO",
        "UserKnownHostsFile /a ~/b",
        "UserKnownHostsFile /%h/%r/%p",
        "UserKnownHostsFile none",
        "ConnectTimeout 5",
        "ConnectTimeout none",
        "ServerAliveInterval 3",
        "ServerAliveCountMax 9",
        "ForwardAgent yes",
        "StrictHostKeyChecking no",
        "PasswordAuthentication no",
        "Compression no",
    ]);
    let include = prop::sample::select(vec!["web.conf", "all.conf", "final.conf", "nested/*.conf", "*.conf"]);
    let style = (0..4_usize, any::<bool>(), prop::sample::select(vec![" ", "\t", "  ", " = ", "=", "= "]));
    let statement = prop_oneof![
        3 => host.prop_map(|host| format!("Host {host}")),
        3 => condition.prop_map(|condition| format!("Match {condition}")),
        10 => setting.prop_map(str::to_owned),
        1 => include.prop_map(|include| format!("Include {{dir}}/{include}")),
    ];
    (statement, style).prop_map(|(statement, (indent, loud, between))| {
        let (keyword, rest) = statement.split_once(' ').unwrap();
        let keyword = if loud { keyword.to_uppercase() } else { keyword.to_owned() };
        // The version of ssh may take a second word of a `Match` for a part of an equation.
        let between = if keyword.eq_ignore_ascii_case("match") { " " } else { between };
        format!("{}{keyword}{between}{rest}\n", " ".repeat(indent))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_configuration_resolves_as_ssh_resolves_it(
        lines in prop::collection::vec(a_line(), 0..14),
        host in prop::sample::select(vec!["web", "db", "x.example.com", "Web", "j1"]),
        user in prop::option::of(Just("a".to_owned())),
    ) {
        let Some(bench) = Bench::new() else { return Ok(()) };
        let content = lines.concat();
        bench.write(&content);
        let overrides = Overrides { user, port: None };
        let output = bench.ssh(host, &overrides);
        let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
        // A loop is found by `route` here, and by ssh on this way.
        prop_assume!(!trouble.contains("jumphost loop"));
        prop_assert!(output.status.success(), "ssh does not take\n{}\n{}", content, trouble);
        let resolved = bench.resolver().resolve(host, &overrides);
        prop_assert_eq!(&resolved.refused, &None);
        let theirs = bench.theirs(&output);
        prop_assert_eq!(ours(&resolved, &theirs), theirs, "{} with\n{}", host, content);
    }
}

/// What is compared, by keyword.
type Comparable = BTreeMap<&'static str, Vec<String>>;

struct Bench {
    folder: tempfile::TempDir,
    user: User,
}

impl Bench {
    /// `None`, said aloud, where OpenSSH is not installed.
    fn new() -> Option<Self> {
        if Command::new("ssh").arg("-V").output().is_err() {
            println!("SKIPPED: ssh is not installed, so nothing was compared with OpenSSH");
            return None;
        }
        let bench = Self { folder: tempfile::tempdir().unwrap(), user: User::from_uid(getuid()).unwrap().unwrap() };
        for (name, content) in INCLUDED {
            let file = bench.dir().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bench.fill(content)).unwrap();
        }
        Some(bench)
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn fill(&self, content: &str) -> String {
        content.replace("{dir}", self.dir().to_str().unwrap())
    }

    fn write(&self, content: &str) {
        fs::write(self.dir().join("config"), self.fill(content)).unwrap();
    }

    fn resolver(&self) -> Resolver {
        let options = ResolverOptions {
            files: vec![self.dir().join("config")],
            home: self.user.dir.clone(),
            local_user: self.user.name.clone(),
            local_host: String::from_utf8(Command::new("uname").arg("-n").output().unwrap().stdout)
                .unwrap()
                .trim()
                .to_owned(),
            allow_exec: true,
        };
        Resolver::load_with(options, |name| (name == "LONGSHORE_TEST").then(|| "/from-environment".to_owned()))
    }

    fn ssh(&self, host: &str, overrides: &Overrides) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.env("LONGSHORE_TEST", "/from-environment").env_remove("LONGSHORE_UNSET");
        ssh.arg("-G").arg("-F").arg(self.dir().join("config"));
        if let Some(user) = &overrides.user {
            ssh.args(["-l", user]);
        }
        if let Some(port) = overrides.port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.arg("--").arg(host).output().unwrap()
    }

    /// Reads what `ssh -G` prints. It leaves identity files and commands as they are written.
    fn theirs(&self, output: &Output) -> Comparable {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let values = |keyword: &str| -> Vec<&str> {
            text.lines().filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' ')).collect()
        };
        let mut theirs = Comparable::new();
        for keyword in COMPARED {
            theirs.insert(keyword, values(keyword).into_iter().map(str::to_owned).collect());
        }
        let home = self.user.dir.to_str().unwrap();
        for keyword in ["identityfile", "certificatefile"] {
            let files = theirs.get_mut(keyword).unwrap();
            files.retain(|file| file != "none");
            for file in files {
                if let Some(rest) = file.strip_prefix("~/") {
                    *file = format!("{home}/{rest}");
                }
            }
        }
        let usual = ["id_rsa", "id_ecdsa", "id_ed25519"].map(|name| format!("{home}/.ssh/{name}"));
        if usual.iter().all(|usual| theirs["identityfile"].contains(usual)) {
            theirs.insert("identityfile", vec!["usual".to_owned()]);
        }
        let (host, port, user) = (values("hostname")[0], values("port")[0], values("user")[0]);
        let alias = values("host")[0];
        for command in theirs.get_mut("proxycommand").unwrap() {
            *command = command
                .replace("%h", host)
                .replace("%p", port)
                .replace("%r", user)
                .replace("%n", alias)
                .replace("%%", "%");
        }
        for hops in theirs.get_mut("proxyjump").unwrap() {
            *hops = format!("{:?}", JumpHop::parse_list(hops).unwrap());
        }
        for time in ["connecttimeout", "serveraliveinterval"] {
            theirs.get_mut(time).unwrap().retain(|time| time != "none" && time != "0");
        }
        // Without a keyword there is no line, or an empty one, depending on the version.
        for files in ["userknownhostsfile", "globalknownhostsfile"] {
            theirs.get_mut(files).unwrap().retain(|files| !files.is_empty() && files != "none");
        }
        theirs
    }
}

const COMPARED: [&str; 20] = [
    "user",
    "hostname",
    "port",
    "identityfile",
    "certificatefile",
    "identitiesonly",
    "identityagent",
    "forwardagent",
    "proxyjump",
    "proxycommand",
    "hostkeyalias",
    "userknownhostsfile",
    "globalknownhostsfile",
    "stricthostkeychecking",
    "connecttimeout",
    "serveraliveinterval",
    "serveralivecountmax",
    "preferredauthentications",
    "passwordauthentication",
    "kbdinteractiveauthentication",
];

/// Puts a resolved host into the words of `ssh -G`.
fn ours(resolved: &Resolved, theirs: &Comparable) -> Comparable {
    let one = |value: &dyn fmt::Display| vec![value.to_string()];
    let flag = |flag: bool| vec![if flag { "yes" } else { "no" }.to_owned()];
    let paths = |paths: &[PathBuf]| -> Vec<String> { paths.iter().map(|path| path.display().to_string()).collect() };
    let joined = |files: &[PathBuf]| if files.is_empty() { vec![] } else { vec![paths(files).join(" ")] };
    let seconds = |time: Option<Duration>| time.iter().map(|time| time.as_secs().to_string()).collect::<Vec<_>>();
    let (jump, command) = match &resolved.proxy {
        Proxy::None => (vec![], vec![]),
        Proxy::Jump(hops) => (vec![format!("{hops:?}")], vec![]),
        Proxy::Command(command) => (vec![], one(command)),
    };
    let strict = match resolved.strict_host_key_checking {
        StrictHostKeyChecking::Yes => "true",
        StrictHostKeyChecking::No => "false",
        StrictHostKeyChecking::Ask => "ask",
        StrictHostKeyChecking::AcceptNew => "accept-new",
    };
    let agent = match &resolved.identity_agent {
        // Named or not, it is the same one.
        AgentChoice::Default => {
            theirs["identityagent"].iter().filter(|agent| *agent == "SSH_AUTH_SOCK").cloned().collect()
        }
        AgentChoice::None => one(&"none"),
        AgentChoice::Path(path) => one(&path.display()),
    };
    BTreeMap::from([
        ("user", one(&resolved.user)),
        ("hostname", one(&resolved.host_name)),
        ("port", one(&resolved.port)),
        ("identityfile", if resolved.default_identities { one(&"usual") } else { paths(&resolved.identity_files) }),
        ("certificatefile", paths(&resolved.certificate_files)),
        ("identitiesonly", flag(resolved.identities_only)),
        ("identityagent", agent),
        ("forwardagent", flag(resolved.forward_agent)),
        ("proxyjump", jump),
        ("proxycommand", command),
        ("hostkeyalias", resolved.host_key_alias.iter().cloned().collect()),
        ("userknownhostsfile", joined(&resolved.user_known_hosts)),
        ("globalknownhostsfile", joined(&resolved.global_known_hosts)),
        ("stricthostkeychecking", one(&strict)),
        ("connecttimeout", seconds(resolved.connect_timeout)),
        ("serveraliveinterval", seconds(resolved.keepalive_interval)),
        ("serveralivecountmax", one(&resolved.keepalive_count.unwrap_or(3))),
        ("preferredauthentications", resolved.preferred_authentications.iter().map(|names| names.join(",")).collect()),
        ("passwordauthentication", flag(resolved.methods.password)),
        ("kbdinteractiveauthentication", flag(resolved.methods.keyboard_interactive)),
    ])
}
