//! The reference of the command line, from the definitions that parse it.

use clap::{Arg, ArgAction, Command};

use crate::{kept::keep, markdown::table};

#[test]
fn the_command_reference_is_what_the_program_takes() {
    let mut root = longshore::cli::command();
    root.build();
    let mut text = String::from(
        "# Commands\n\n<!-- Made from the code by `BLESS=1 cargo test --test docs`; change the doc comments there. -->\n\n",
    );
    text.push_str(&format!("{}.\n\n{}\n", about(&root), details(&root)));
    text.push_str("\n## Options of every command\n\n");
    text.push_str(&arguments(root.get_arguments().filter(|arg| arg.is_global_set())));
    text.push_str("\nThe numbers that commands end with are in [exit codes](../exit-codes.md).\n");
    for command in root.get_subcommands() {
        render(command, "longshore", &mut text);
    }
    keep("docs/reference/commands.md", &text);
}

fn render(command: &Command, above: &str, text: &mut String) {
    let name = format!("{above} {}", command.get_name());
    if command.get_name() == "help" {
        return;
    }
    text.push_str(&format!("\n## `{name}`\n\n{}.\n", about(command)));
    let details = details(command);
    if !details.is_empty() {
        text.push_str(&format!("\n{details}\n"));
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage:").trim();
    text.push_str(&format!("\n```text\n{}\n```\n", usage.split_whitespace().collect::<Vec<_>>().join(" ")));
    let own = arguments(command.get_arguments().filter(|arg| !arg.is_global_set()));
    if !own.is_empty() {
        text.push_str(&format!("\n{own}"));
    }
    for below in command.get_subcommands() {
        render(below, &name, text);
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// What the help says after its first line.
fn details(command: &Command) -> String {
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    long.strip_prefix(&about(command)).unwrap_or_default().trim().to_owned()
}

fn arguments<'a>(all: impl Iterator<Item = &'a Arg>) -> String {
    let rows: Vec<_> = all
        .filter(|arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version"))
        .map(|arg| vec![spelling(arg), meaning(arg)])
        .collect();
    if rows.is_empty() { String::new() } else { table(&["argument", "meaning"], &rows) }
}

fn spelling(arg: &Arg) -> String {
    let names = || arg.get_value_names().into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if arg.is_positional() {
        let dots = if arg.get_num_args().is_some_and(|count| count.max_values() > 1) { "..." } else { "" };
        let name = format!("{}{dots}", names());
        return if arg.is_required_set() { format!("`{name}`") } else { format!("`[{name}]`") };
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let spelled = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if takes_value { format!("`{spelled} {}`", names()) } else { format!("`{spelled}`") }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.split_whitespace().collect::<Vec<_>>().join(" ");
    if !text.ends_with('.') {
        text.push('.');
    }
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values = arg.get_possible_values();
    if takes_value && !values.is_empty() {
        let told = values.iter().map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        });
        text.push_str(&format!(" One of {}.", told.collect::<Vec<_>>().join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        text.push_str(&format!(" Default: `{}`.", defaults.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        text.push_str(&format!(" Environment: `{}`.", variable.to_string_lossy()));
    }
    text
}
