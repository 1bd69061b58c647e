//! Conditions on JSON: values at paths, and expressions of jq.

use std::time::Duration;

use indexmap::IndexMap;
use jaq_core::{Ctx, Vars, data::JustLut, unwrap_valr};
use jaq_json::Val;
use serde_json::Value;

use super::Template;
use crate::model::{Span, clean_line};

/// Values expected in a JSON document, by path: `status`, `db.migration`, `items.0.name`, `/a~1b/c`.
pub type Expected = IndexMap<String, Value>;

/// Visits the texts among expected values: each is a template.
pub(super) fn templates(key: &str, value: &mut Value, visit: &mut dyn FnMut(Template, &str, &mut String)) {
    match value {
        Value::String(text) => visit(Template::Text, key, text),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                templates(&format!("{key}.{index}"), item, visit);
            }
        }
        Value::Object(map) => {
            for (name, item) in map.iter_mut() {
                templates(&format!("{key}.{name}"), item, visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Says where a document differs from what is expected: one line for the first difference.
pub(super) fn difference(document: &Value, expected: &Expected) -> Option<String> {
    expected.iter().find_map(|(path, wanted)| match find(document, path) {
        None => Some(format!("`{path}` is missing (expected {})", brief(wanted))),
        Some(seen) if !equals(wanted, seen) => {
            Some(format!("`{path}` is {} (expected {})", brief(seen), brief(wanted)))
        }
        Some(_) => None,
    })
}

/// Finds a value: by JSON pointer, as a key that is there as it is written, or step by step at the dots.
pub(super) fn find<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() || path.starts_with('/') {
        return document.pointer(path);
    }
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    path.split('.').try_fold(document, |value, name| match value {
        Value::Object(map) => map.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Whether a value is the expected one. A text also equals a number or a truth value written so:
/// what a template made is always a text.
fn equals(wanted: &Value, seen: &Value) -> bool {
    match (wanted, seen) {
        (Value::String(text), Value::Bool(seen)) => text == if *seen { "true" } else { "false" },
        (Value::String(text), Value::Number(seen)) => text == seen.to_string().as_str(),
        (Value::Number(wanted), Value::Number(seen)) => {
            wanted == seen || (wanted.as_i64().is_none() || seen.as_i64().is_none()) && wanted.as_f64() == seen.as_f64()
        }
        (Value::Array(wanted), Value::Array(seen)) => {
            wanted.len() == seen.len() && wanted.iter().zip(seen).all(|(wanted, seen)| equals(wanted, seen))
        }
        (Value::Object(wanted), Value::Object(seen)) => {
            wanted.len() == seen.len()
                && wanted.iter().all(|(name, wanted)| seen.get(name).is_some_and(|seen| equals(wanted, seen)))
        }
        _ => wanted == seen,
    }
}

fn brief(value: &Value) -> String {
    clean_line(value.to_string().as_bytes(), 60)
}

/// What an expression of jq says of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Every result is true: anything but `false` and `null`.
    True,
    /// One is not, or there is none; with what there was.
    False(String),
    /// It could not be evaluated, and why.
    Nothing(String),
}

/// Longest time an expression may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Results of an expression that are looked at.
const RESULTS: usize = 10_000;

/// Stack of the thread that evaluates: expressions may be recursive.
const STACK: usize = 64 * 1024 * 1024;

/// Evaluates an expression on a document, within a time of its own.
///
/// In a thread that nobody joins: an expression without end must hold up neither the run nor its end.
pub(super) async fn ask(expression: &str, document: &[u8]) -> Said {
    let (expression, document) = (expression.to_owned(), document.to_vec());
    let (tell, told) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("jq".to_owned()).stack_size(STACK).spawn(move || {
        // The receiver may have gone: then nobody wants to know.
        let _ = tell.send(evaluate(&expression, &document));
    });
    if thread.is_err() {
        return Said::Nothing("no thread to evaluate it in".to_owned());
    }
    match tokio::time::timeout(LIMIT, told).await {
        Ok(Ok(said)) => said,
        Ok(Err(_)) => Said::Nothing("the evaluation broke off".to_owned()),
        Err(_) => Said::Nothing(format!("it did not end within {}", Span(LIMIT))),
    }
}

fn evaluate(expression: &str, document: &[u8]) -> Said {
    let Expression(filter) = match compile(expression) {
        Ok(expression) => expression,
        Err(reason) => return Said::Nothing(reason),
    };
    let Ok(input) = jaq_json::read::parse_single(document) else {
        return Said::False("the answer is not JSON".to_owned());
    };
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let mut count = 0;
    for result in filter.id.run((context, input)).map(unwrap_valr).take(RESULTS) {
        match result {
            Ok(Val::Null | Val::Bool(false)) => {
                let which = if count > 0 { format!("result {} is", count + 1) } else { "it is".to_owned() };
                return Said::False(format!(
                    "{which} {}",
                    if matches!(result, Ok(Val::Null)) { "null" } else { "false" }
                ));
            }
            Ok(_) => count += 1,
            Err(error) => return Said::False(clean_line(error.to_string().as_bytes(), 80)),
        }
    }
    if count == 0 { Said::False("it gives no result".to_owned()) } else { Said::True }
}

/// A jq expression, ready to run.
pub(super) struct Expression(jaq_core::Filter<JustLut<Val>>);

/// Compiles an expression of jq. The error says why it is none.
pub(super) fn compile(expression: &str) -> Result<Expression, String> {
    use jaq_core::load::{Arena, File, Loader};
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(defs)
        .load(&arena, File { code: expression, path: () })
        .map_err(|_| "the syntax is wrong".to_owned())?;
    jaq_core::Compiler::default().with_funs(funs).compile(modules).map(Expression).map_err(|errors| {
        let names: Vec<_> =
            errors.into_iter().flat_map(|(_, errors)| errors).map(|(name, _)| format!("`{name}`")).collect();
        format!("{} is not defined", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found_by_path_and_compared_as_people_mean_it() {
        let document = json!({
            "status": "ok", "db": { "migration": "0042", "lag": 3.0 }, "a.b": 1, "items": [{ "name": "x" }], "up": true
        });
        let good = [
            ("status", json!("ok")),
            ("db.migration", json!("0042")),
            ("db.lag", json!(3)),
            ("a.b", json!(1)),
            ("items.0.name", json!("x")),
            ("/items/0", json!({ "name": "x" })),
            ("/db/lag", json!("3.0")),
            ("up", json!("true")),
        ];
        for (path, wanted) in good {
            assert_eq!(difference(&document, &Expected::from([(path.to_owned(), wanted)])), None, "{path}");
        }
        let bad = [
            ("status", json!("OK"), "`status` is \"ok\" (expected \"OK\")"),
            ("db.migration", json!(42), "`db.migration` is \"0042\" (expected 42)"),
            ("db.nothing", json!(null), "`db.nothing` is missing (expected null)"),
            ("items.1", json!({}), "`items.1` is missing (expected {})"),
        ];
        for (path, wanted, said) in bad {
            assert_eq!(difference(&document, &Expected::from([(path.to_owned(), wanted)])).as_deref(), Some(said));
        }
    }

    #[tokio::test]
    async fn an_expression_says_true_false_or_why_not() {
        let document = br#"{"services":[{"up":true,"name":"a"},{"up":false,"name":"b"}],"n":5}"#;
        for (expression, said) in [
            (".n > 4", Said::True),
            (".services | length == 2", Said::True),
            (".services[].name", Said::True),
            (".services | map(select(.up)) | length == 2", Said::False("it is false".to_owned())),
            (".services[].up", Said::False("result 2 is false".to_owned())),
            (".nothing", Said::False("it is null".to_owned())),
            ("empty", Said::False("it gives no result".to_owned())),
        ] {
            assert_eq!(ask(expression, document).await, said, "{expression}");
        }
        assert!(matches!(ask(".n | keys", document).await, Said::False(_)));
        assert!(matches!(ask("nosuch(.n)", document).await, Said::Nothing(_)));
        assert_eq!(ask(".", b"not json").await, Said::False("the answer is not JSON".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_expression_that_takes_too_long_is_given_up() {
        assert_eq!(ask("last(range(2000000))", b"{}").await, Said::Nothing("it did not end within 5s".to_owned()));
    }

    #[test]
    fn a_wrong_expression_is_named() {
        assert!(compile(".a |").is_err());
        assert_eq!(compile("nosuch").err().as_deref(), Some("`nosuch` is not defined"));
        assert!(compile(".a | test(\"x\")").is_ok());
    }
}
