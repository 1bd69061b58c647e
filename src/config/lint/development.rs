//! Commands for development alone, which no installation in use may see.

use crate::steps::Action;

/// The commands, and what they do.
const DEVELOPMENT: [(&str, &str); 7] = [
    ("priv/repo/seeds.exs", "brings sample data and accounts"),
    ("mix ecto.setup", "brings sample data and accounts"),
    ("mix ecto.reset", "drops the database"),
    ("prisma migrate reset", "drops the database"),
    ("prisma migrate dev", "may drop the database"),
    ("rails db:reset", "drops the database"),
    ("rails db:setup", "brings sample data and accounts"),
];

/// The key of an action's text or list that holds such a command, the command, and what it does.
pub(super) fn found_in(action: &mut Action) -> Option<(String, (&'static str, &'static str))> {
    // Words of one command are read together, whichever way they are written apart.
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut found = None;
    action.kind_mut().templates(&mut |_, key, text| {
        let text = text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
        found = found.take().or_else(|| Some((key.to_owned(), for_development(&text)?)));
        match key.rsplit_once('.').filter(|(_, index)| index.parse::<usize>().is_ok()) {
            Some((list, _)) if commands.last().is_some_and(|(last, _)| last == list) => {
                let (_, words) = commands.last_mut().expect("just looked at");
                words.push(' ');
                words.push_str(&text);
            }
            Some((list, _)) => commands.push((list.to_owned(), text)),
            None => {}
        }
    });
    found.or_else(|| commands.into_iter().find_map(|(key, words)| Some((key, for_development(&words)?))))
}

/// The command in a text that is for development alone, and what it does.
fn for_development(text: &str) -> Option<(&'static str, &'static str)> {
    DEVELOPMENT.into_iter().find(|(command, _)| text.contains(command))
}
