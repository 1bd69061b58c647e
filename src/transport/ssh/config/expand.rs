//! Puts values in for `%h`, `${NAME}` and `~`.

use std::path::PathBuf;

use nix::unistd::User;
use sha1::{Digest as _, Sha1};

use super::{Environment, Surroundings, jump};

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

/// What the tokens stand for, for one host.
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    pub surroundings: &'a Surroundings,
    /// `%h`
    pub host_name: String,
    /// `%n`
    pub alias: &'a str,
    /// `%p`
    pub port: u16,
    /// `%r`. `None` while the user itself is being expanded: then `%C` is not there either.
    pub user: Option<String>,
    /// `%k`
    pub host_key_alias: String,
    /// `%j`: the jump host next to the host.
    pub jump: String,
}

impl Tokens<'_> {
    fn value(&self, token: char) -> Result<String, String> {
        self.known(token).ok_or_else(|| format!("`%{token}` means nothing here"))
    }

    fn known(&self, token: char) -> Option<String> {
        let Surroundings { home, local_user, local_host, .. } = self.surroundings;
        Some(match token {
            'h' => self.host_name.clone(),
            'n' => self.alias.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.clone()?,
            'k' => self.host_key_alias.clone(),
            'j' => self.jump.clone(),
            'u' => local_user.clone(),
            'd' => home.display().to_string(),
            'i' => nix::unistd::getuid().to_string(),
            'l' => local_host.clone(),
            'L' => local_host.split('.').next().unwrap_or_default().to_owned(),
            'C' => {
                let parts = [local_host, &self.host_name, &self.port.to_string(), self.user.as_ref()?, &self.jump];
                let digest = Sha1::digest(parts.map(String::as_str).concat());
                digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| HEX[usize::from(digit)]).collect()
            }
            _ => return None,
        })
    }

    /// Puts in tokens and `${NAME}`, as for names.
    pub fn text(&self, text: &str) -> Result<String, String> {
        expand(text, |token| self.value(token), Some(&self.surroundings.environment))
    }

    /// Puts in a leading `~`, tokens and `${NAME}`, as for paths.
    pub fn path(&self, text: &str) -> Result<PathBuf, String> {
        self.text(&tilde(text, self.surroundings)?).map(PathBuf::from)
    }

    /// Puts in tokens, as for commands. The shell sees to variables.
    ///
    /// A name that means something to a shell is an error: names come from the inventory and from jump
    /// hosts, and no one quotes them in a command.
    pub fn command(&self, text: &str) -> Result<String, String> {
        expand(
            text,
            |token| {
                let value = self.value(token)?;
                let is_safe = match token {
                    'h' | 'n' | 'k' | 'j' => jump::is_safe_host(&value),
                    'r' => jump::is_safe_user(&value),
                    _ => true,
                };
                if is_safe { Ok(value) } else { Err(format!("`{value}` cannot go into a shell command")) }
            },
            None,
        )
    }
}

/// Puts in `%h` alone, as for `HostName`.
pub fn host_name(text: &str, alias: &str) -> Result<String, String> {
    let value = |token| match token {
        'h' => Ok(alias.to_owned()),
        _ => Err(format!("`%{token}` means nothing in a `HostName`")),
    };
    expand(text, value, None)
}

/// Puts in `${NAME}` alone.
pub fn variables(text: &str, environment: &Environment) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, after) = after.split_once('}').ok_or_else(|| format!("`${{` in `{text}` is not closed"))?;
        out.push_str(&variable(name, environment)?);
        rest = after;
    }
    Ok(out + rest)
}

/// Returns the value of a variable.
pub fn variable(name: &str, environment: &Environment) -> Result<String, String> {
    (environment.0)(name).ok_or_else(|| format!("the environment variable `{name}` is not set"))
}

/// Puts in the home of this user or another one for a leading `~`.
pub fn tilde(text: &str, surroundings: &Surroundings) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(text.to_owned()) };
    let (user, path) = rest.split_once('/').unwrap_or((rest, ""));
    let home = if user.is_empty() || user == surroundings.local_user {
        surroundings.home.clone()
    } else {
        User::from_name(user).ok().flatten().ok_or_else(|| format!("there is no user `{user}`"))?.dir
    };
    let home = home.display().to_string();
    Ok(format!("{}/{}", home.trim_end_matches('/'), path.trim_start_matches('/')))
}

fn expand(
    text: &str,
    value: impl Fn(char) -> Result<String, String>,
    environment: Option<&Environment>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(environment) = environment.filter(|_| rest.starts_with("${")) {
            let (name, after) = rest[2..].split_once('}').ok_or_else(|| format!("`${{` in `{text}` is not closed"))?;
            out.push_str(&variable(name, environment)?);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('%') {
            let token = after.chars().next().ok_or_else(|| format!("`{text}` ends with a single `%`"))?;
            if token == '%' {
                out.push('%');
            } else {
                out.push_str(&value(token)?);
            }
            rest = &after[token.len_utf8()..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    Ok(out + rest)
}
