//! What can be saved: each source as data, and as the shell functions that `frame.sh` calls.

use std::fmt::Write as _;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::{Redactor, quote},
    steps::{
        Problem, Size, Template, Texts,
        command::CommandLine,
        shell::{self, path_word},
    },
};

/// A `PostgreSQL` database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PostgresSource {
    /// Name of the database.
    pub database: String,
    /// User to connect as. The client's own choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Address or socket folder of the server. The client's own choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port of the server. The client's own choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Password: a variable that is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What stands before each of `psql`, `pg_dump`, `pg_restore`, `createdb` and `dropdb`, for `sh`:
    /// `docker compose exec -T postgres`. Nothing when left out: the programs of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// Folder to run the programs in: that of the compose file. The login folder when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Query for the migration head, noted with the copy: one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

impl PostgresSource {
    pub(in crate::steps) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "postgres.database", &mut self.database);
        let texts = [
            ("postgres.user", &mut self.user),
            ("postgres.host", &mut self.host),
            ("postgres.password", &mut self.password),
            ("postgres.dir", &mut self.dir),
            ("postgres.head", &mut self.head),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                visit(Template::Text, key, text);
            }
        }
        if let Some(through) = &mut self.through {
            visit(Template::Shell, "postgres.through", through);
        }
    }

    pub(in crate::steps) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("postgres.dir", self.dir.as_deref()).into_iter().collect();
        if self.database.trim().is_empty() {
            problems.push(Problem::new("postgres.database", "the name of the database is empty"));
        }
        if self.password.as_deref().is_some_and(|text| !text.contains("{{") && !Redactor::mentions_secret(text)) {
            problems.push(
                Problem::new("postgres.password", "a password does not stand in a document")
                    .hint("name a variable that is a secret: `{{database-password}}`"),
            );
        }
        if self.password.is_some() && self.through.is_some() {
            problems.push(
                Problem::new(
                    "postgres.password",
                    "a password in the environment does not reach through another program",
                )
                .hint("let the server trust its own socket there, or run the programs of the host"),
            );
        }
        problems
    }

    /// `-h -p -U` for every client program.
    fn connection(&self) -> String {
        let mut words = String::new();
        for (flag, value) in
            [("-h", self.host.clone()), ("-p", self.port.map(|port| port.to_string())), ("-U", self.user.clone())]
        {
            if let Some(value) = value {
                let _ = write!(words, " {flag} {}", quote(&value));
            }
        }
        words
    }

    /// The function `client`, which runs a client program of the server's.
    pub(in crate::steps) fn client(&self) -> String {
        let mut text = String::new();
        if let Some(dir) = &self.dir {
            // A subshell for each call: the frame's own folder stays what it is.
            let _ = writeln!(text, "client_dir={}", path_word(dir));
        } else {
            text.push_str("client_dir=.\n");
        }
        if let Some(password) = &self.password {
            let _ = writeln!(text, "PGPASSWORD={}\nexport PGPASSWORD", quote(password));
        }
        let through = self.through.as_deref().unwrap_or_default();
        let connection = quote(&self.connection());
        let through = quote(through);
        let _ = writeln!(
            text,
            "client() (\n  CDPATH= cd -- \"$client_dir\" || exit 1\n  program=$1\n  shift\n  eval {through}' \"$program\" '{connection}' \"$@\"'\n)"
        );
        // Any other program where the server is.
        let _ = writeln!(text, "server() (\n  CDPATH= cd -- \"$client_dir\" || exit 1\n  eval {through}' \"$@\"'\n)");
        text
    }

    pub(super) fn functions(&self) -> String {
        let mut text = self.client();
        let _ = writeln!(text, "database={}", quote(&self.database));
        let _ = writeln!(text, "head={}", quote(self.head.as_deref().unwrap_or_default()));
        let inner = format!("{} -d {}", self.connection(), quote(&self.database));
        let _ = writeln!(text, "connection={}", quote(&inner));
        text.push_str(super::COUNTS);
        text.push_str(include_str!("postgres.sh"));
        text
    }
}

/// An `SQLite` file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SqliteSource {
    /// The database file: absolute, or below `~/`. It must be there.
    pub file: String,
    /// Tables that the copy must have.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub tables: Texts,
    /// Query for the migration head, noted with the copy: one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

impl SqliteSource {
    pub(in crate::steps) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "sqlite.file", &mut self.file);
        for (index, table) in self.tables.0.iter_mut().enumerate() {
            visit(Template::Text, &format!("sqlite.tables.{index}"), table);
        }
        if let Some(head) = &mut self.head {
            visit(Template::Text, "sqlite.head", head);
        }
    }

    pub(in crate::steps) fn problems(&self) -> Vec<Problem> {
        shell::path_problem("sqlite.file", Some(&self.file)).into_iter().collect()
    }

    pub(super) fn functions(&self) -> String {
        format!(
            "file={}\ntables={}\nhead={}\n{}{}",
            path_word(&self.file),
            quote(&self.tables.0.join("\n")),
            quote(self.head.as_deref().unwrap_or_default()),
            super::SQLITE_PROOF,
            include_str!("sqlite.sh")
        )
    }
}

/// Files and folders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FilesSource {
    /// What to save: absolute paths, or below `~/`. Each must be there.
    pub paths: Texts,
    /// Patterns of what to leave out, as `tar` reads them.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub exclude: Texts,
    /// Patterns of names, each of which at least one file of the archive must have: `ssh_host_*_key`.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub must_contain: Texts,
    /// Variables that a dotenv file of the archive must set to something, by the path of the file: `{ "/srv/app/.env" =
    /// ["SESSION_SECRET"] }`. Without them what is restored does not start.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub must_set: IndexMap<String, Texts>,
    /// Whether files may change while they are read, as logs do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changing: bool,
}

impl FilesSource {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        for (key, texts) in
            [("paths", &mut self.paths), ("exclude", &mut self.exclude), ("must-contain", &mut self.must_contain)]
        {
            for (index, text) in texts.0.iter_mut().enumerate() {
                visit(Template::Text, &format!("files.{key}.{index}"), text);
            }
        }
        // The path is a key of the table: it is rendered all the same.
        self.must_set = std::mem::take(&mut self.must_set)
            .into_iter()
            .map(|(mut path, names)| {
                visit(Template::Text, "files.must-set", &mut path);
                (path, names)
            })
            .collect();
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.paths.is_empty() {
            problems.push(Problem::new("files.paths", "it does not say which files"));
        }
        for (index, path) in self.paths.iter().enumerate() {
            let key = format!("files.paths.{index}");
            problems.extend(shell::path_problem(&key, Some(path)));
            if path.contains('\n') {
                problems.push(Problem::new(&key, "the path has a line break in it"));
            }
        }
        for (path, names) in &self.must_set {
            problems.extend(shell::path_problem("files.must-set", Some(path)));
            problems.extend(shell::variable_problems("files.must-set", names.iter()));
        }
        problems
    }

    pub(super) fn functions(&self) -> String {
        let paths = self.paths.iter().map(|path| path_word(path)).collect::<Vec<_>>().join("'\n'");
        let settings = self.must_set.iter().flat_map(|(path, names)| names.iter().map(move |name| (path, name)));
        let settings = settings.map(|(path, name)| format!("{}{}", quote(&format!("{name} ")), path_word(path)));
        let settings = settings.collect::<Vec<_>>();
        let settings = if settings.is_empty() { "''".to_owned() } else { settings.join("'\n'") };
        format!(
            "paths={paths}\nleave_out={}\nwanted={}\nsettings={settings}\nchanging={}\n{}",
            quote(&self.exclude.0.join("\n")),
            quote(&self.must_contain.0.join("\n")),
            if self.changing { "yes" } else { "no" },
            include_str!("files.sh")
        )
    }
}

/// A command of the product's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CommandSource {
    /// Saves into `$LONGSHORE_BACKUP_FILE`.
    pub run: CommandLine,
    /// Proves what is in `$LONGSHORE_BACKUP_FILE`: exit 0 for a good copy.
    pub check: CommandLine,
    /// What the copy's name ends with. `backup` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// Room the copy needs: `2GiB`. Nothing is asked for when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

impl CommandSource {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        self.run.templates("command.run", visit);
        self.check.templates("command.check", visit);
        if let Some(size) = &mut self.size {
            visit(Template::Text, "command.size", size);
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self.run.problem("command.run").into_iter().collect();
        problems.extend(self.check.problem("command.check"));
        if let Some(extension) = self.extension.as_deref().filter(|text| !super::is_plain(text)) {
            let message = format!("`{extension}` is not the end of a file's name");
            problems.push(Problem::new("command.extension", message).hint("letters and digits, without the dot"));
        }
        if let Some(size) = self.size.as_deref().filter(|size| !size.contains("{{"))
            && let Err(message) = size.parse::<Size>()
        {
            problems.push(Problem::new("command.size", message));
        }
        problems
    }

    pub(super) fn functions(&self) -> String {
        let expected = self.size.as_deref().and_then(|size| size.parse::<Size>().ok()).unwrap_or(Size(0));
        format!(
            "save() (set -e; eval {})\ncheck() (set -e; eval {})\nsuffix={}\nexpected={}\n{}",
            quote(&self.run.to_shell()),
            quote(&self.check.to_shell()),
            quote(self.extension.as_deref().unwrap_or("backup")),
            expected.0,
            include_str!("command.sh")
        )
    }
}

/// A copy that lies elsewhere, and is known by an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ElsewhereSource {
    /// Makes the copy, and prints its id as the last line: `zfs snapshot "$s" && echo "$s"`.
    pub run: CommandLine,
    /// Proves that the copy `$LONGSHORE_BACKUP_ID` is there and complete: exit 0.
    pub check: CommandLine,
}

impl ElsewhereSource {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        self.run.templates("elsewhere.run", visit);
        self.check.templates("elsewhere.check", visit);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self.run.problem("elsewhere.run").into_iter().collect();
        problems.extend(self.check.problem("elsewhere.check"));
        problems
    }

    pub(super) fn functions(&self) -> String {
        format!(
            "save() (set -e; eval {})\ncheck() (set -e; eval {})\n{}",
            quote(&self.run.to_shell()),
            quote(&self.check.to_shell()),
            include_str!("elsewhere.sh")
        )
    }
}
