//! Variables: their names, references to secrets, and secrets that were written out by mistake.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::Findings;
use crate::{
    config::{
        documents::Value,
        masking,
        resolve::Variables,
        source::{KeyPath, Source},
        suggest, template,
    },
    model::SecretSource,
};

/// Checks the table of variables at `path`.
pub(super) fn variables(source: &Source, path: &KeyPath, vars: &IndexMap<String, Value>, found: &mut Findings<'_>) {
    for (name, value) in vars {
        let at = path.key(name);
        self::name(source, &at, name, found);
        match &value.0 {
            Json::Object(table) if table.contains_key("secret") => reference(source, &at, table, found),
            value => {
                nested(source, &at, value, found);
                if masking::is_name_of_secret(name) && value.as_str().is_some_and(|text| !text.is_empty()) {
                    found.warning(
                        source.place(&at),
                        format!("`{name}` looks like a secret that is written out"),
                        Some(format!("keep it elsewhere: `{name} = {{ secret = {{ env = \"NAME\" }} }}`")),
                    );
                }
                if value.as_str().is_some_and(|text| text.contains("{{")) {
                    found.warning(
                        source.place(&at),
                        format!("`{name}` contains `{{{{`, but variables are no templates"),
                        Some("write the whole text where it is used".to_owned()),
                    );
                }
            }
        }
    }
}

/// Checks the names of variables that a role or profile wants set elsewhere.
pub(super) fn required(source: &Source, path: &KeyPath, names: &IndexMap<String, String>, found: &mut Findings<'_>) {
    names.keys().for_each(|name| self::name(source, &path.key(name), name, found));
}

fn name(source: &Source, path: &KeyPath, name: &str, found: &mut Findings<'_>) {
    if Variables::BUILT_IN.contains(&name) || template::is_reserved(name) {
        let message = format!("no variable can be called `{name}`: templates have their own meaning for it");
        found.error(source.key_place(path), message, Some("choose another name".to_owned()));
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        let message = format!("`{}` cannot be the name of a variable", name.escape_debug());
        let hint = "a name begins with a letter and consists of letters, digits, `-` and `_`";
        found.error(source.key_place(path), message, Some(hint.to_owned()));
    }
}

/// Checks `{ secret = { env = "NAME" } }`.
fn reference(source: &Source, path: &KeyPath, table: &serde_json::Map<String, Json>, found: &mut Findings<'_>) {
    let shape = "write `{ secret = { env = \"NAME\" } }`, or `file` or `command` in place of `env`";
    for key in table.keys().filter(|key| *key != "secret") {
        let message = format!("`{}` cannot stand beside `secret`", key.escape_debug());
        found.error(source.key_place(&path.key(key)), message, Some(shape.to_owned()));
    }
    let Some(inner) = table.get("secret") else { return };
    let at = path.key("secret");
    if inner.is_string() {
        let message = "`secret` says where a secret comes from, never the secret itself";
        return found.error(source.place(&at), message, Some(shape.to_owned()));
    }
    if serde_json::from_value::<SecretSource>(inner.clone()).is_err() {
        let odd = inner
            .as_object()
            .and_then(|inner| inner.keys().find(|key| !["env", "file", "command"].contains(&key.as_str())));
        match odd {
            Some(key) => found.error(
                source.key_place(&at.key(key)),
                format!("unknown key `{}`", key.escape_debug()),
                suggest::hint(key, ["env", "file", "command"]),
            ),
            None => found.error(
                source.place(&at),
                "`secret` needs exactly one of `env`, `file` and `command`",
                Some("`env` and `file` are texts, `command` is a list of words".to_owned()),
            ),
        }
    }
}

/// A reference is a whole variable: inside a list or table nobody would resolve it.
fn nested(source: &Source, path: &KeyPath, value: &Json, found: &mut Findings<'_>) {
    match value {
        Json::Object(table) => {
            for (key, value) in table {
                let at = path.key(key);
                if value.as_object().is_some_and(|inner| inner.len() == 1 && inner.contains_key("secret")) {
                    let hint = "make it a variable of its own".to_owned();
                    found.error(source.place(&at), "a secret inside a table is not resolved", Some(hint));
                } else {
                    nested(source, &at, value, found);
                }
            }
        }
        Json::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let at = path.index(index);
                if value.as_object().is_some_and(|inner| inner.len() == 1 && inner.contains_key("secret")) {
                    let hint = "make it a variable of its own".to_owned();
                    found.error(source.place(&at), "a secret inside a list is not resolved", Some(hint));
                } else {
                    nested(source, &at, value, found);
                }
            }
        }
        _ => {}
    }
}
