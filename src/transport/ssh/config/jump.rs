//! Jump hosts as they are written: `[user@]host[:port]`, `[user@][address]:port`, `ssh://...`.

use std::{fmt, str::FromStr};

use super::words;

/// One host on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JumpHop {
    pub user: Option<String>,
    /// Name to look up in the configuration.
    pub host: String,
    pub port: Option<u16>,
}

/// A jump host that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no jump host; write `[user@]host[:port]`")]
pub struct JumpError {
    pub text: String,
}

impl JumpHop {
    /// Reads a comma-separated list, as `ProxyJump` has it.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, JumpError> {
        text.split(',').map(str::parse).collect()
    }
}

impl FromStr for JumpHop {
    type Err = JumpError;

    fn from_str(text: &str) -> Result<Self, JumpError> {
        parse(text).ok_or_else(|| JumpError { text: text.to_owned() })
    }
}

impl fmt::Display for JumpHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (&self.port, self.host.contains(':')) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, true) => write!(f, "[{}]", self.host),
            (None, false) => f.write_str(&self.host),
        }
    }
}

fn parse(text: &str) -> Option<JumpHop> {
    let uri = text.strip_prefix("ssh://");
    let (user, place) = match uri {
        Some(uri) => match uri.split_once('@') {
            // What follows a semicolon are parameters that nobody uses.
            Some((user, place)) => (Some(decode(user.split(';').next()?)?), place),
            None => (None, uri),
        },
        None => match text.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, text),
        },
    };
    let place = if uri.is_some() { place.strip_suffix('/').unwrap_or(place) } else { place };
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':')?)),
            }
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(words::port(port).ok()?),
    };
    let is_good = is_safe_host(host)
        && !host.is_empty()
        && !host.contains('/')
        && user.as_deref().is_none_or(|u| !u.is_empty() && is_safe_user(u));
    is_good.then(|| JumpHop { user, host: host.to_owned(), port })
}

/// Resolves `%41` in the user of a URI.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Says whether a host name may go into a shell command, by the rule of OpenSSH.
pub fn is_safe_host(host: &str) -> bool {
    !host.starts_with('-')
        && !host.chars().any(|c| "'`\"$\\;&<>|(){},".contains(c) || c.is_whitespace() || c.is_control())
}

/// Says whether a user name may go into a shell command, by the rule of OpenSSH.
pub fn is_safe_user(user: &str) -> bool {
    !user.starts_with('-')
        && !user.ends_with('\\')
        && !user.chars().any(|c| "'`\";&<>|(){}".contains(c) || c.is_control())
        && !user.contains(" -")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(user: &str, host: &str, port: u16) -> JumpHop {
        let user = (!user.is_empty()).then(|| user.to_owned());
        JumpHop { user, host: host.to_owned(), port: (port > 0).then_some(port) }
    }

    #[test]
    fn jump_hosts_are_read_in_every_form() {
        let table = [
            ("bastion", hop("", "bastion", 0)),
            ("deploy@bastion:2222", hop("deploy", "bastion", 2222)),
            ("me@corp@bastion", hop("me@corp", "bastion", 0)),
            ("[2001:db8::7]:22", hop("", "2001:db8::7", 22)),
            ("root@[2001:db8::7]", hop("root", "2001:db8::7", 0)),
            ("ssh://bastion", hop("", "bastion", 0)),
            ("ssh://a%40b;x=y@bastion:2222/", hop("a@b", "bastion", 2222)),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
        assert_eq!(JumpHop::parse_list("a,b:1").unwrap(), [hop("", "a", 0), hop("", "b", 1)]);
    }

    #[test]
    fn what_is_no_jump_host_is_an_error() {
        for text in [
            "",
            "@host",
            "user@",
            "host:0",
            "host:65536",
            "host:x",
            "[::1",
            "[::1]x",
            "::1",
            "-oProxyCommand=x",
            "ssh://host/path",
            "ssh://%zz@host",
            "a b",
            "a;b",
            "$(id)",
            "u;id@host",
            "-l@host",
        ] {
            assert!(text.parse::<JumpHop>().is_err(), "{text:?}");
        }
        assert!(JumpHop::parse_list("a,,b").is_err());
    }
}
