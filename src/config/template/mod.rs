//! Templates: Handlebars in strict mode, without HTML escaping, quoted for the shell where a shell reads them.
//!
//! Strict mode alone lets a missing value pass in places (`{{#if missing}}`, null, a list), so every
//! template is checked against its scope before it is rendered, too.

mod check;
mod quoting;

use std::{ops::Range, sync::OnceLock};

use handlebars::{
    Context, Handlebars, Helper, HelperResult, JsonRender, Output, RenderContext, RenderErrorReason, Renderable,
};
use serde_json::Value as Json;

use crate::model::{Redactor, quote};
pub use crate::steps::Template as TemplateKind;

pub use check::is_reserved;

/// The names a template may use, each with its value. In a check, null stands for a value known later.
pub type Scope = serde_json::Map<String, Json>;

/// The name in a [`Scope`] under which the texts are that `{{> NAME}}` puts in.
pub const SNIPPETS: &str = "snippets";

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Bytes of the template to underline.
    pub range: Range<usize>,
    pub message: String,
    pub hint: Option<String>,
    /// The name, where the problem is that nobody declares it.
    pub undeclared: Option<String>,
}

/// Why a template could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the template `{text}` cannot be rendered: {problem}")]
    Problem { text: String, problem: String, hint: Option<String> },
    #[error("the template `{text}` cannot be rendered")]
    Render {
        text: String,
        #[source]
        source: Box<handlebars::RenderError>,
    },
    #[error("the secret in `{text}` cannot be put into a command as it is")]
    RawSecret { text: String },
}

impl TemplateError {
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Problem { hint, .. } => hint.as_deref(),
            Self::RawSecret { .. } => Some("leave out `raw`: a secret is passed to the command as a quoted value"),
            Self::Render { .. } => None,
        }
    }
}

/// Lists what is wrong with a template: its syntax, names nobody declares, and values that would
/// break out of the shell's quotes. In `scope` null stands for a value that is known later.
pub fn check(kind: TemplateKind, text: &str, scope: &Scope) -> Vec<TemplateProblem> {
    check::check(kind, text, scope, check::Unset::Allowed)
}

/// Renders a template. A value that is null counts as missing, except as a condition.
pub fn render(kind: TemplateKind, text: &str, scope: &Scope) -> Result<String, TemplateError> {
    // Most texts are no templates at all, and there may be a thousand hosts.
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    if let Some(problem) = check::check(kind, text, scope, check::Unset::Refused).into_iter().next() {
        return Err(TemplateError::Problem { text: shown(text), problem: problem.message, hint: problem.hint });
    }
    let registry = match kind {
        TemplateKind::Shell => &registries().shell,
        TemplateKind::Text => &registries().text,
    };
    let known = scope.get(SNIPPETS).and_then(Json::as_object).filter(|_| text.contains('>'));
    let with_snippets = known.map(|snippets| {
        let mut registry = registry.clone();
        for (name, text) in snippets.iter().filter_map(|(name, text)| Some((name, text.as_str()?))) {
            // One that is no template was told by the check if it is put in here.
            let _ = registry.register_partial(name, text);
        }
        registry
    });
    with_snippets.as_ref().unwrap_or(registry).render_template(text, scope).map_err(|source| {
        if matches!(source.reason(), RenderErrorReason::InvalidParamType(RAW_SECRET)) {
            return TemplateError::RawSecret { text: shown(text) };
        }
        TemplateError::Render { text: shown(text), source: Box::new(source) }
    })
}

/// One line of a template, for a message.
fn shown(text: &str) -> String {
    crate::model::clean_line(text.as_bytes(), 60)
}

struct Registries {
    shell: Handlebars<'static>,
    text: Handlebars<'static>,
}

fn registries() -> &'static Registries {
    static REGISTRIES: OnceLock<Registries> = OnceLock::new();
    REGISTRIES.get_or_init(|| {
        let new = || {
            let mut registry = Handlebars::new();
            registry.set_strict_mode(true);
            registry.unregister_helper("log");
            registry
        };
        let mut shell = new();
        shell.register_escape_fn(quote);
        shell.register_helper("raw", Box::new(raw_for_shell));
        let mut text = new();
        text.register_escape_fn(handlebars::no_escape);
        text.register_helper("raw", Box::new(raw));
        Registries { shell, text }
    })
}

/// Marks the one error of our own among those of the engine, whose errors take a text only.
const RAW_SECRET: &str = "longshore: a text without a secret";

fn raw_for_shell<'reg, 'rc>(
    helper: &Helper<'rc>,
    registry: &'reg Handlebars<'reg>,
    context: &'rc Context,
    render: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    if helper.param(0).is_some_and(|value| Redactor::mentions_secret(&value.value().render())) {
        return Err(RenderErrorReason::InvalidParamType(RAW_SECRET).into());
    }
    raw(helper, registry, context, render, out)
}

/// Puts a value in as it is; as a block, keeps everything within it as it is.
fn raw<'reg, 'rc>(
    helper: &Helper<'rc>,
    registry: &'reg Handlebars<'reg>,
    context: &'rc Context,
    render: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    if let Some(block) = helper.template() {
        return block.render(registry, context, render, out);
    }
    let value = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("raw", 0))?;
    out.write(&value.value().render())?;
    Ok(())
}

#[cfg(test)]
mod tests;
