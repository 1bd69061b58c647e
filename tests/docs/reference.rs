//! The reference of the documents: every key with its type, its default and its meaning, from the JSON Schemas.

use longshore::config::{
    builtin_profiles,
    documents::Profile,
    schema::{self, DocumentKind},
};
use serde_json::Value;

use crate::{
    examples,
    kept::keep,
    markdown::{anchor, table},
};

/// A page of the reference.
struct Page {
    file: &'static str,
    title: &'static str,
    about: &'static str,
    kind: DocumentKind,
    sections: &'static [Section],
    /// A document that shows the page's keys.
    example: &'static str,
}

/// A table of keys: of the document itself, or of a type within it.
struct Section {
    of: Option<&'static str>,
    heading: &'static str,
}

const fn document(heading: &'static str) -> Section {
    Section { of: None, heading }
}

const fn within(of: &'static str, heading: &'static str) -> Section {
    Section { of: Some(of), heading }
}

const PAGES: &[Page] = &[
    Page {
        file: "inventory.md",
        title: "Inventory",
        about: "`inventory/*.toml`.",
        kind: DocumentKind::Inventory,
        sections: &[
            document("The document"),
            within("HostEntry", "`[hosts.NAME]`"),
            within("Settings", "`[defaults]`, and `settings` of a group"),
            within("Group", "`[groups.NAME]`"),
            within("BecomeDoc", "`become`"),
            within("Window", "`window`"),
            within("Value", "Values of variables"),
            within("SecretSource", "References to secrets"),
        ],
        example: examples::INVENTORY,
    },
    Page {
        file: "playbook.md",
        title: "Playbook",
        about: "`playbooks/*.toml`.",
        kind: DocumentKind::Playbook,
        sections: &[
            document("The document"),
            within("RolloutDoc", "`[rollout]`"),
            within("Canary", "`canary`"),
            within("CanaryHosts", "Hosts of a canary"),
            within("WaveHosts", "Hosts of a wave"),
            within("SoakTable", "`soak`"),
            within("Amount", "Numbers of hosts"),
            within("Budget", "`[rollout.budget]`"),
            within("WaveBudget", "`[rollout.budget.wave]`"),
            within("OnFailure", "`[on-failure]`"),
        ],
        example: examples::PLAYBOOK,
    },
    Page {
        file: "role.md",
        title: "Role",
        about: "`roles/NAME/role.toml`. Files and templates that its steps name are relative to its folder.",
        kind: DocumentKind::Role,
        sections: &[document("The document"), within("DataStore", "`[[data]]`"), within("Loss", "Losses")],
        example: examples::ROLE,
    },
    Page {
        file: "releases.md",
        title: "Releases",
        about: "`roles/NAME/releases.toml`.",
        kind: DocumentKind::Releases,
        sections: &[document("The document"), within("Release", "`[[release]]`")],
        example: examples::RELEASES,
    },
    Page {
        file: "profile.md",
        title: "Profile",
        about: "`[profiles.NAME]` of an inventory.",
        kind: DocumentKind::Inventory,
        sections: &[within("Profile", "`[profiles.NAME]`")],
        example: examples::PROFILE,
    },
    Page {
        file: "steps.md",
        title: "Steps",
        about: "A step is one thing done on one host. It stands in a role's action, in a playbook's `[[steps]]`, \
                as a profile's verb, or as an `undo`.",
        kind: DocumentKind::Role,
        sections: &[
            within("StepDoc", "Keys of every step"),
            within("Retry", "`retry`"),
            within("Requirement", "`requires`"),
            within("Effect", "Effects"),
            within("Duration", "Lengths of time"),
            within("CommandTable", "`command`"),
            within("Script", "`script`"),
            within("Outside", "`outside` of `command` and `script`"),
            within("File", "`file`"),
            within("Tree", "`tree`"),
            within("Env", "`env`"),
            within("Line", "`line`"),
            within("Fetch", "`fetch`"),
            within("Check", "`check`"),
            within("Wait", "`wait`"),
            within("Notify", "`notify`"),
            within("Backup", "`backup`"),
            within("PostgresSource", "`postgres` of `backup` and `restore`"),
            within("SqliteSource", "`sqlite` of `backup` and `restore`"),
            within("FilesSource", "`files` of `backup`"),
            within("CommandSource", "`command` of `backup`"),
            within("ElsewhereSource", "`elsewhere` of `backup`"),
            within("Restore", "`restore`"),
            within("Latest", "`latest` of `restore`"),
            within("RestoredFiles", "`files` of `restore`"),
            within("RestoreCommand", "`command` of `restore`"),
            within("Keep", "`keep` of `backup`"),
            within("Encrypt", "`encrypt` of `backup`"),
            within("Mirror", "`mirror`"),
            within("Record", "`record` of `mirror`"),
            within("Collect", "`collect`"),
            within("Deliver", "`deliver`"),
            within("Reboot", "`reboot`"),
        ],
        example: "",
    },
    Page {
        file: "checks.md",
        title: "Checks",
        about: "A check is one probe with a verdict. It stands in `[[check]]` and `[[gate]]` of roles and playbooks, in \
                a `check` step, and in `until` of a `wait`.",
        kind: DocumentKind::Role,
        sections: &[
            within("RoleCheck", "`[[check]]` and `[[gate]]`"),
            within("HttpCheck", "`http`"),
            within("TcpCheck", "`tcp`"),
            within("CommandCheckTable", "`command`"),
            within("DiskCheck", "`disk`"),
            within("SshCheck", "`ssh`"),
            within("RestartsCheck", "`restarts`"),
            within("ScenarioCheck", "`scenario`"),
            within("ScenarioRequest", "Requests of a `scenario`"),
            within("CopyCheck", "`copy`"),
            within("ManualCheck", "`manual`"),
            within("Statuses", "HTTP statuses"),
        ],
        example: "",
    },
];

/// Types that are told where another one is.
const ALIASES: &[(&str, &str)] = &[
    ("Command", "CommandTable"),
    ("CommandLine", "CommandTable"),
    ("CommandCheck", "CommandCheckTable"),
    ("Soak", "SoakTable"),
];

/// Types that are shown as what they are made of.
const PLAIN: &[&str] = &["Texts", "Version", "ProfileName", "GroupName", "HostName", "Tag"];

#[test]
fn the_reference_is_what_the_schemas_say() {
    for page in PAGES {
        keep(&format!("docs/reference/{}", page.file), &render(page));
    }
}

#[test]
fn every_type_of_the_documents_has_its_place_in_the_reference() {
    let mut lost = Vec::new();
    for kind in DocumentKind::ALL {
        for (name, schema) in schema::of(kind)["$defs"].as_object().into_iter().flatten() {
            let is_told = place(name).is_some() || PLAIN.contains(&name.as_str()) || name.starts_with("OneOrMany_");
            if !is_told && schema.get("enum").is_none() && schema.get("oneOf").is_none() {
                lost.push(format!("{}: {name}", kind.as_str()));
            }
        }
    }
    assert!(lost.is_empty(), "in no page: {lost:#?}");
}

fn render(page: &Page) -> String {
    let mut text = format!(
        "# {}\n\n<!-- Made from the code by `BLESS=1 cargo test --test docs`; change the doc comments there. -->\n\n",
        page.title
    );
    let schema = schema::of(page.kind);
    text.push_str(page.about);
    if page.sections.first().is_some_and(|section| section.of.is_none()) {
        text.push_str(&format!(" {}\n", description(schema).unwrap_or_default()));
    } else {
        text.push('\n');
    }
    if !page.example.is_empty() {
        text.push_str(&format!("\n```toml {}\n{}```\n", page.kind.as_str(), page.example));
    }
    if page.file == "checks.md" {
        text.push_str(examples::VERDICTS);
    }
    for section in page.sections {
        text.push_str(&render_section(page, section, schema));
    }
    if page.file == "profile.md" {
        text.push_str(&built_in());
    }
    text
}

fn render_section(page: &Page, section: &Section, whole: &Value) -> String {
    let schema = match section.of {
        None => whole,
        Some(name) => {
            let found = &whole["$defs"][name];
            assert!(!found.is_null(), "{}: there is no `{name}`", page.file);
            found
        }
    };
    let name = section.of.unwrap_or_default();
    let mut text = format!("\n## {}\n\n", section.heading);
    // The table form of a command has no words of its own: those of the command stand for it.
    let told = match name {
        "" => None,
        "CommandTable" => description(&whole["$defs"]["Command"]),
        "CommandCheckTable" => description(&whole["$defs"]["CommandCheck"]),
        "SoakTable" => description(&whole["$defs"]["Soak"]),
        _ => description(schema),
    };
    if let Some(told) = told {
        text.push_str(&format!("{told}\n\n"));
    }
    if page.file == "steps.md" {
        text.push_str(&examples::of_step(name));
    } else if page.file == "checks.md" {
        text.push_str(&examples::of_check(name));
    }
    if let Some(keys) = keys(schema, page, whole) {
        text.push_str(&keys);
    } else if let Some(choices) = choices(schema) {
        for (value, meaning) in choices {
            text.push_str(&format!("- {value}: {}\n", uncapital(&meaning)));
        }
    } else if name == "CanaryHosts" {
        text.push_str(
            "A whole number, chosen so that the facts of `represent` differ; a list of names of hosts; or a \
             [selector](../selectors.md).\n",
        );
    }
    format!("{}\n", text.trim_end())
}

fn description(schema: &Value) -> Option<String> {
    schema.get("description")?.as_str().map(str::to_owned)
}

/// The table of a type's keys.
fn keys(schema: &Value, page: &Page, whole: &Value) -> Option<String> {
    let properties = schema.get("properties")?.as_object()?;
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rows = Vec::new();
    for (key, value) in properties {
        let is_required = required.contains(&key.as_str());
        let told = description(value).or_else(|| description(target(value, whole)?)).unwrap_or_default();
        let (mut meaning, mut default) = if is_required { (told, None) } else { take_default(&told) };
        if is_required {
            default = Some("required".to_owned());
        }
        let default = default.or_else(|| default_of(value)).unwrap_or_else(|| "–".to_owned());
        if let Some(choices) = target(value, whole).and_then(choices)
            && place_of_choices(value).is_none()
        {
            for (value, told) in choices {
                meaning.push_str(&format!(" {value}: {}", uncapital(&told)));
            }
        }
        rows.push(vec![format!("`{key}`"), type_of(value, page, whole), default, meaning]);
    }
    Some(table(&["key", "type", "default", "meaning"], &rows))
}

/// Takes the sentence that says what holds when a key is left out from the others.
fn take_default(told: &str) -> (String, Option<String>) {
    const PHRASE: &str = " when left out";
    let told = told.replace('\n', " ");
    let mut rest = Vec::new();
    let mut default = None;
    for sentence in sentences(&told) {
        let Some(at) = sentence.find(PHRASE).filter(|_| default.is_none()) else {
            rest.push(sentence.to_owned());
            continue;
        };
        // `Largest file accepted: 64MiB when left out` says two things.
        let begin = sentence[..at].rfind(": ").map_or(0, |colon| colon + 2);
        if begin > 0 {
            rest.push(format!("{}.", &sentence[..begin - 2]));
        }
        let said = format!("{}{}", &sentence[begin..at], &sentence[at + PHRASE.len()..]);
        default = Some(uncapital(said.trim_end_matches(['.', ',']).trim()));
    }
    (rest.join(" "), default)
}

/// Splits at full stops that end a sentence: those before a space, outside of code.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut from, mut in_code) = (0, false);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'`' => in_code = !in_code,
            b'.' if !in_code && bytes.get(at + 1).is_none_or(|next| *next == b' ') => {
                found.push(text[from..=at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(text[from..].trim());
    found.retain(|sentence| !sentence.is_empty());
    found
}

fn uncapital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // A name such as `PEM` stays as it is.
        Some(first) if letters.clone().next().is_none_or(|second| !second.is_uppercase()) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

fn default_of(schema: &Value) -> Option<String> {
    match schema.get("default") {
        Some(Value::String(text)) => Some(format!("`{text}`")),
        Some(Value::Bool(value)) => Some(format!("`{value}`")),
        Some(Value::Number(number)) => Some(format!("`{number}`")),
        _ if schema.get("type").is_some_and(|kind| kind == "boolean") => Some("`false`".to_owned()),
        _ => None,
    }
}

fn target<'a>(schema: &Value, whole: &'a Value) -> Option<&'a Value> {
    whole["$defs"].get(reference(schema)?)
}

/// The name of the type that a schema refers to, also where it may be missing.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").and_then(Value::as_str);
    let any = || schema.get("anyOf")?.as_array()?.iter().find_map(|one| one.get("$ref")?.as_str());
    direct.or_else(any)?.strip_prefix("#/$defs/")
}

/// The values a type can have, each with its meaning.
fn choices(schema: &Value) -> Option<Vec<(String, String)>> {
    let choices = schema.get("oneOf")?.as_array()?;
    choices
        .iter()
        .map(|one| {
            let told = one.get("description")?.as_str()?.to_owned();
            let value = if let Some(value) = one.get("const").and_then(Value::as_str) {
                format!("`{value}`")
            } else {
                let (key, inner) = one.get("properties")?.as_object()?.iter().next()?;
                let value = if inner["type"] == "array" { "[\"...\"]" } else { "\"...\"" };
                format!("`{{ {key} = {value} }}`")
            };
            Some((value, told))
        })
        .collect()
}

/// Choices that have a section of their own are not told again at each key.
fn place_of_choices(schema: &Value) -> Option<(&'static str, String)> {
    place(reference(schema)?)
}

/// The page and anchor of a type.
fn place(name: &str) -> Option<(&'static str, String)> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    PAGES.iter().find_map(|page| {
        let section = page.sections.iter().find(|section| section.of == Some(name))?;
        Some((page.file, anchor(section.heading)))
    })
}

fn type_of(schema: &Value, page: &Page, whole: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        return type_by_name(name, page, whole);
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let mut parts: Vec<_> =
            any.iter().filter(|one| one["type"] != "null").map(|one| type_of(one, page, whole)).collect();
        parts.dedup();
        return parts.join(" or ");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        Some(Value::String(kind)) => Some(kind.as_str()),
        _ => None,
    };
    match kind {
        Some("string") => "text".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("array") => format!("list of {}", plural(&type_of(&schema["items"], page, whole))),
        Some("object") => {
            let by_pattern = || schema.get("patternProperties")?.as_object()?.values().next();
            match schema.get("additionalProperties").filter(|inner| inner.is_object()).or_else(by_pattern) {
                Some(inner) => format!("table of {}", plural(&type_of(inner, page, whole))),
                None => "table".to_owned(),
            }
        }
        _ => "any value".to_owned(),
    }
}

/// Words for types that tables and lists are made of.
fn plural(word: &str) -> String {
    match word {
        "text" => "texts".to_owned(),
        "name" => "names".to_owned(),
        "whole number" => "whole numbers".to_owned(),
        "any value" => "values".to_owned(),
        other if other.starts_with("list of") => format!("a {other}"),
        // Several of several kinds.
        other if other.contains(" or ") => format!("({other})"),
        // A link: `[table](place)`.
        other => other.replacen("s](", "](", 1).replacen("](", "s](", 1),
    }
}

fn type_by_name(name: &str, page: &Page, whole: &Value) -> String {
    let schema = &whole["$defs"][name];
    let link = |word: &str| match place(name) {
        Some((file, anchor)) if file == page.file => format!("[{word}](#{anchor})"),
        Some((file, anchor)) => format!("[{word}]({file}#{anchor})"),
        None => word.to_owned(),
    };
    match name {
        "Duration" => link("length of time"),
        "Value" => link("value"),
        "SecretSource" => link("reference to a secret"),
        "StepDoc" => link("step"),
        "RoleCheck" | "Check" => link("check"),
        "Amount" => link("number of hosts"),
        "CanaryHosts" => link("count, selector or names"),
        "WaveHosts" => link("number or group of hosts"),
        "Soak" => link("length of time or table"),
        "Statuses" => link("status or list of statuses"),
        "Texts" => "text or list of texts".to_owned(),
        "Command" | "CommandCheck" => link("command"),
        "CommandLine" => "text or list of words".to_owned(),
        "Version" => "version".to_owned(),
        "HostName" | "GroupName" | "ProfileName" | "Tag" => "name".to_owned(),
        _ if name.starts_with("OneOrMany_") => {
            let one = type_of(&schema["anyOf"][0], page, whole);
            format!("{one} or list of {}", plural(&one))
        }
        _ => match (choices(schema), schema.get("enum")) {
            (Some(choices), _) => {
                let values = choices.into_iter().map(|(value, _)| value).collect::<Vec<_>>().join(", ");
                if place(name).is_some() { link(&values) } else { values }
            }
            (None, Some(_)) => type_of(schema, page, whole),
            (None, None) => link("table"),
        },
    }
}

/// The profiles that are compiled in, with what each can do and needs.
fn built_in() -> String {
    let mut text = String::from(
        "\n## Built-in profiles\n\nEach is a TOML file in `src/config/profiles/`, with the reasons for its commands beside them.\n",
    );
    for (name, source) in builtin_profiles() {
        let profile: Profile = toml::from_str(source).unwrap_or_else(|error| panic!("{name}: {error}"));
        text.push_str(&format!("\n### `{name}`\n\n{}.", profile.about.as_deref().unwrap_or_default()));
        if let Some(base) = &profile.extends {
            text.push_str(&format!(" Extends `{base}`."));
        }
        text.push('\n');
        if !(profile.verbs.is_empty() && profile.requires.is_empty() && profile.vars.is_empty()) {
            text.push('\n');
        }
        if !profile.verbs.is_empty() {
            let verbs = profile.verbs.keys().map(|verb| format!("`{verb}`")).collect::<Vec<_>>().join(", ");
            text.push_str(&format!("- Verbs: {verbs}\n"));
        }
        for (variable, what) in &profile.requires {
            text.push_str(&format!("- Needs the variable `{variable}`: {what}\n"));
        }
        for (variable, value) in &profile.vars {
            text.push_str(&format!("- Sets the variable `{variable}`: `{}`\n", value.0));
        }
    }
    text
}

#[test]
fn a_default_is_taken_out_of_the_words_about_a_key() {
    let table = [
        ("Port. 22 when left out, unless `x` says so.", "Port.", Some("22, unless `x` says so")),
        ("Largest: `64MiB` when left out.", "Largest.", Some("`64MiB`")),
        ("Name. None when left out: like any other.", "Name.", Some("none: like any other")),
        ("By `a.b`. Nothing else.", "By `a.b`. Nothing else.", None),
    ];
    for (told, meaning, default) in table {
        assert_eq!(take_default(told), (meaning.to_owned(), default.map(str::to_owned)), "{told}");
    }
}
