//! What a line of the configuration asks for, read once, whichever host it is for.

use std::time::Duration;

use super::{
    StrictHostKeyChecking,
    jump::JumpHop,
    words::{self, Line},
};

/// What a line asks for.
#[derive(Debug, Clone)]
pub enum Directive {
    /// Begins a block for hosts by their names.
    Host(Vec<String>),
    /// Begins a block for hosts by what is known of them so far.
    Match(Vec<Criterion>),
    /// Files to read in this place.
    Include(Vec<String>),
    /// Keywords that may be unknown from here on.
    IgnoreUnknown(String),
    Set(Setting),
    /// A keyword that has no meaning for longshore.
    Nothing,
    /// A keyword that OpenSSH does not have, or did not when this was written.
    Unknown,
}

/// A value for the hosts of the block it stands in.
#[derive(Debug, Clone)]
pub enum Setting {
    HostName(String),
    Port(u16),
    User(String),
    IdentityFile(String),
    CertificateFile(String),
    IdentitiesOnly(bool),
    IdentityAgent(String),
    ForwardAgent(bool),
    /// Empty for `none`.
    ProxyJump(Vec<JumpHop>),
    ProxyCommand(String),
    HostKeyAlias(String),
    UserKnownHosts(Vec<String>),
    GlobalKnownHosts(Vec<String>),
    StrictHostKeyChecking(StrictHostKeyChecking),
    /// `None` for `none`, which leaves it open.
    ConnectTimeout(Option<Duration>),
    KeepaliveInterval(Option<Duration>),
    KeepaliveCount(u32),
    HostKeyAlgorithms(String),
    PubkeyAlgorithms(String),
    PreferredAuthentications(Vec<String>),
    PublicKey(bool),
    Password(bool),
    KeyboardInteractive(bool),
    Tag(String),
    Canonicalize(bool),
    Refuse(String),
    /// Changes route or trust, and is not honoured.
    NotHonoured {
        keyword: &'static str,
        changes: &'static str,
        /// Whether its value is the one that changes nothing.
        is_harmless: bool,
    },
}

/// One condition of a `Match`.
#[derive(Debug, Clone)]
pub struct Criterion {
    pub negated: bool,
    pub test: Test,
}

/// What a condition looks at. Texts are lists of patterns.
#[derive(Debug, Clone)]
pub enum Test {
    All,
    Canonical,
    Final,
    Host(String),
    OriginalHost(String),
    User(String),
    LocalUser(String),
    Tagged(String),
    SessionType(String),
    Exec(String),
    /// One that cannot be answered here.
    NotHonoured(&'static str),
}

const ROUTE: &str = "the route to the host";
const TRUST: &str = "which host keys are trusted";

/// What changes route or trust and is not honoured, and the values that change nothing.
const NOT_HONOURED: &[(&str, &str, &[&str])] = &[
    ("AddressFamily", ROUTE, &["any"]),
    ("BindAddress", ROUTE, &[]),
    ("BindInterface", ROUTE, &[]),
    ("CanonicalizePermittedCNAMEs", ROUTE, &["none"]),
    ("ProxyUseFdpass", ROUTE, &["no", "false"]),
    ("CASignatureAlgorithms", TRUST, &[]),
    ("CheckHostIP", TRUST, &["no", "false"]),
    ("KnownHostsCommand", TRUST, &["none"]),
    ("NoHostAuthenticationForLocalhost", TRUST, &["no", "false"]),
    ("RequiredRSASize", TRUST, &[]),
    ("RevokedHostKeys", TRUST, &["none"]),
    ("VerifyHostKeyDNS", TRUST, &["no", "false"]),
];

/// Keywords of OpenSSH that change neither route nor trust: terminal, forwardings, logs, the past.
const WITHOUT_MEANING: &[&str] = &[
    "addkeystoagent",
    "afstokenpassing",
    "batchmode",
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "channeltimeout",
    "cipher",
    "ciphers",
    "clearallforwardings",
    "compression",
    "compressionlevel",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fallbacktorsh",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "globalknownhostsfile2",
    "gssapiauthentication",
    "gssapiclientidentity",
    "gssapidelegatecredentials",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "hashknownhosts",
    "hostbasedacceptedalgorithms",
    "hostbasedauthentication",
    "hostbasedkeytypes",
    "ipqos",
    "kbdinteractivedevices",
    "keepalive",
    "kerberosauthentication",
    "kerberostgtpassing",
    "kexalgorithms",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "macs",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "permitlocalcommand",
    "permitremoteopen",
    "pkcs11provider",
    "protocol",
    "rekeylimit",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "rhostsauthentication",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "securitykeyprovider",
    "sendenv",
    "sessiontype",
    "setenv",
    "smartcarddevice",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "useprivilegedport",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
    "versionaddendum",
    "visualhostkey",
    "warnweakcrypto",
    "xauthlocation",
];

/// Reads a line. The error says what is wrong with the value.
pub fn parse(line: &Line) -> Result<Directive, String> {
    let text = || line.one().map(str::to_owned);
    let flag = || line.one().and_then(words::flag);
    let setting = match line.keyword.as_str() {
        "host" => return line.many().map(Directive::Host),
        "match" => return parse_match(&line.words).map(Directive::Match),
        "include" => return line.many().map(Directive::Include),
        "ignoreunknown" => return text().map(Directive::IgnoreUnknown),
        "hostname" => Setting::HostName(text()?),
        "port" => Setting::Port(words::port(line.one()?)?),
        "user" => Setting::User(text()?),
        "identityfile" | "identityfile2" => Setting::IdentityFile(text()?),
        "certificatefile" => Setting::CertificateFile(text()?),
        "identitiesonly" => Setting::IdentitiesOnly(flag()?),
        "identityagent" => Setting::IdentityAgent(text()?),
        // Anything else is the path or the variable of the agent to forward.
        "forwardagent" => Setting::ForwardAgent(words::flag(line.one()?).unwrap_or(true)),
        "proxyjump" => Setting::ProxyJump(match line.one()? {
            none if none.eq_ignore_ascii_case("none") => Vec::new(),
            list => JumpHop::parse_list(list).map_err(|error| error.to_string())?,
        }),
        "proxycommand" => Setting::ProxyCommand(line.rest.trim_start_matches([' ', '\t', '=']).to_owned()),
        "hostkeyalias" => Setting::HostKeyAlias(text()?),
        "userknownhostsfile" => Setting::UserKnownHosts(files(line)?),
        "globalknownhostsfile" => Setting::GlobalKnownHosts(files(line)?),
        "stricthostkeychecking" => Setting::StrictHostKeyChecking(strictness(line.one()?)?),
        "connecttimeout" => Setting::ConnectTimeout(words::time(line.one()?)?),
        "serveraliveinterval" => Setting::KeepaliveInterval(words::time(line.one()?)?),
        "serveralivecountmax" => Setting::KeepaliveCount(number(line.one()?)?),
        "hostkeyalgorithms" => Setting::HostKeyAlgorithms(text()?),
        "pubkeyacceptedalgorithms" | "pubkeyacceptedkeytypes" => Setting::PubkeyAlgorithms(text()?),
        "preferredauthentications" => {
            Setting::PreferredAuthentications(line.one()?.split(',').map(str::to_owned).collect())
        }
        "pubkeyauthentication" | "dsaauthentication" => Setting::PublicKey(match line.one()? {
            "unbound" | "host-bound" => true,
            other => words::flag(other)?,
        }),
        "passwordauthentication" => Setting::Password(flag()?),
        "kbdinteractiveauthentication"
        | "challengeresponseauthentication"
        | "skeyauthentication"
        | "tisauthentication" => Setting::KeyboardInteractive(flag()?),
        "tag" => Setting::Tag(text()?),
        "canonicalizehostname" => Setting::Canonicalize(match line.one()? {
            "always" => true,
            other => words::flag(other)?,
        }),
        "refuseconnection" => Setting::Refuse(text()?),
        other => return parse_other(other, &line.words),
    };
    Ok(Directive::Set(setting))
}

fn parse_other(keyword: &str, words: &[String]) -> Result<Directive, String> {
    if let Some((keyword, changes, harmless)) = NOT_HONOURED.iter().find(|known| known.0.eq_ignore_ascii_case(keyword))
    {
        let value = words.first().ok_or("a value is missing")?;
        let is_harmless = harmless.iter().any(|harmless| harmless.eq_ignore_ascii_case(value));
        return Ok(Directive::Set(Setting::NotHonoured { keyword, changes, is_harmless }));
    }
    Ok(if WITHOUT_MEANING.contains(&keyword) { Directive::Nothing } else { Directive::Unknown })
}

fn files(line: &Line) -> Result<Vec<String>, String> {
    let files = line.many()?;
    match files.iter().any(|file| file.eq_ignore_ascii_case("none")) {
        true if files.len() > 1 => Err("`none` must stand alone".to_owned()),
        true => Ok(Vec::new()),
        false => Ok(files),
    }
}

fn strictness(text: &str) -> Result<StrictHostKeyChecking, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "ask" => StrictHostKeyChecking::Ask,
        "accept-new" => StrictHostKeyChecking::AcceptNew,
        "off" => StrictHostKeyChecking::No,
        other if words::flag(other)? => StrictHostKeyChecking::Yes,
        _ => StrictHostKeyChecking::No,
    })
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn parse_match(words: &[String]) -> Result<Vec<Criterion>, String> {
    let mut criteria: Vec<Criterion> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let bare = word.strip_prefix('!').unwrap_or(word);
        let negated = bare.len() < word.len();
        let (name, joined) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let name = name.to_ascii_lowercase();
        let mut value = || {
            let value = joined.clone().or_else(|| words.next().cloned());
            let may_be_empty = matches!(name.as_str(), "tagged" | "command");
            value.filter(|value| may_be_empty || !value.is_empty()).ok_or_else(|| format!("`{name}` has no value"))
        };
        let test = match name.as_str() {
            "all" => {
                // Only after a `canonical` or a `final`, and with nothing behind it.
                if criteria.len() > 1 || words.next().is_some() {
                    return Err("`all` cannot be combined with other conditions".to_owned());
                }
                Test::All
            }
            "canonical" => Test::Canonical,
            "final" => Test::Final,
            "host" => Test::Host(value()?),
            "originalhost" => Test::OriginalHost(value()?),
            "user" => Test::User(value()?),
            "localuser" => Test::LocalUser(value()?),
            "tagged" => Test::Tagged(value()?),
            "sessiontype" => Test::SessionType(value()?),
            "exec" => Test::Exec(value()?),
            "localnetwork" => value().map(|_| Test::NotHonoured("localnetwork"))?,
            "version" => value().map(|_| Test::NotHonoured("version"))?,
            "command" => value().map(|_| Test::NotHonoured("command"))?,
            _ => return Err(format!("`{name}` is no condition of `Match`")),
        };
        criteria.push(Criterion { negated, test });
    }
    if criteria.is_empty() { Err("a condition is missing".to_owned()) } else { Ok(criteria) }
}
