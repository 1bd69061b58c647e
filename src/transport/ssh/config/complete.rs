//! Turns what was found for a host into what to do: defaults, tokens, paths.

use std::path::{Path, PathBuf};

use super::{
    AgentChoice, AuthMethods, Overrides, Proxy, Resolved,
    evaluate::{DEFAULT_PORT, Pass, Placed},
    expand::{self, Tokens},
};

/// Private keys of the usual names, best first, of the types that can be used without a token.
const USUAL_IDENTITIES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

impl Pass<'_> {
    /// Fills in the rest, once all files have been gone through.
    pub fn finish(mut self, host_name: String, overrides: &Overrides) -> Resolved {
        let found = std::mem::take(&mut self.found);
        // Tokens look at some of what was found.
        self.found.host_key_alias = found.host_key_alias.map(|alias| alias.to_ascii_lowercase());
        self.found.jump.clone_from(&found.jump);
        self.found.port = found.port;

        let mut problems = std::mem::take(&mut self.problems);
        let mut refused = self.refused.take();
        let mut refuse = |what: &str, message: String| {
            refused.get_or_insert_with(|| format!("`{what}` of `{}`: {message}", self.alias));
        };
        let user = match found.user {
            None => self.surroundings.local_user.clone(),
            Some(user) if overrides.user.is_some() => user,
            Some(user) => self.tokens(host_name.clone(), None).text(&user).unwrap_or_else(|message| {
                refuse("User", message);
                user
            }),
        };
        let tokens = self.tokens(host_name.clone(), Some(user.clone()));

        let proxy = match (found.jump.filter(|hops| !hops.is_empty()), found.command) {
            (Some(hops), _) => Proxy::Jump(hops),
            (None, Some(command)) if !command.eq_ignore_ascii_case("none") => {
                Proxy::Command(tokens.command(&command).unwrap_or_else(|message| {
                    refuse("ProxyCommand", message);
                    // Whoever overlooks the refusal must not get a direct connection instead.
                    "exit 255".to_owned()
                }))
            }
            (None, _) => Proxy::None,
        };

        let home = &self.surroundings.home;
        let user_known_hosts = match found.user_known_hosts {
            None => ["known_hosts", "known_hosts2"].map(|name| home.join(".ssh").join(name)).to_vec(),
            Some(files) => {
                let expanded = files.iter().map(|file| tokens.path(file));
                expanded.filter_map(|path| path.map_err(|message| refuse("UserKnownHostsFile", message)).ok()).collect()
            }
        };
        let global_known_hosts = match found.global_known_hosts {
            None => ["ssh_known_hosts", "ssh_known_hosts2"].map(|name| Path::new("/etc/ssh").join(name)).to_vec(),
            Some(files) => files.into_iter().map(PathBuf::from).collect(),
        };

        let mut paths = |files: Vec<Placed>| -> Vec<PathBuf> {
            let named = files.into_iter().filter(|file| !file.text.eq_ignore_ascii_case("none"));
            named
                .filter_map(|file| tokens.path(&file.text).map_err(|why| problems.push(file.problem(&why))).ok())
                .collect()
        };
        let default_identities = found.identity_files.is_empty();
        let identity_files = if default_identities {
            let usual = USUAL_IDENTITIES.map(|name| home.join(".ssh").join(name));
            usual.into_iter().filter(|path| path.exists()).collect()
        } else {
            paths(found.identity_files)
        };
        let certificate_files = paths(found.certificate_files);
        let identity_agent = found.identity_agent.map_or(AgentChoice::Default, |agent| {
            agent_choice(&agent.text, &tokens).unwrap_or_else(|message| {
                problems.push(agent.problem(&message));
                AgentChoice::None
            })
        });

        Resolved {
            alias: self.alias.to_owned(),
            host_name,
            port: found.port.unwrap_or(DEFAULT_PORT),
            user,
            identity_files,
            default_identities,
            certificate_files,
            identities_only: found.identities_only.unwrap_or(false),
            identity_agent,
            forward_agent: found.forward_agent.unwrap_or(false),
            methods: AuthMethods {
                public_key: found.public_key.unwrap_or(true),
                password: found.password.unwrap_or(true),
                keyboard_interactive: found.keyboard_interactive.unwrap_or(true),
            },
            preferred_authentications: found.preferred_authentications,
            proxy,
            host_key_alias: self.found.host_key_alias.clone(),
            user_known_hosts,
            global_known_hosts,
            strict_host_key_checking: found.strict_host_key_checking.unwrap_or_default(),
            host_key_algorithms: found.host_key_algorithms,
            pubkey_algorithms: found.pubkey_algorithms,
            connect_timeout: found.connect_timeout.filter(|time| !time.is_zero()),
            keepalive_interval: found.keepalive_interval.filter(|time| !time.is_zero()),
            keepalive_count: found.keepalive_count,
            refused,
            problems,
        }
    }
}

fn agent_choice(text: &str, tokens: &Tokens) -> Result<AgentChoice, String> {
    Ok(match text {
        "SSH_AUTH_SOCK" => AgentChoice::Default,
        "none" => AgentChoice::None,
        _ => AgentChoice::Path(match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(name) => expand::variable(name, &tokens.surroundings.environment)?.into(),
            None => tokens.path(text)?,
        }),
    })
}
