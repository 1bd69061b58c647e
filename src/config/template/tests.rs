use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::SecretId;

fn scope() -> Scope {
    let scope = json!({
        "path": "/srv/my app", "n": 3, "list": ["a b", "c"], "table": { "key": "v" }, "later": null, "off": false,
        "secret": SecretId::new("db").placeholder(),
    });
    scope.as_object().expect("a table").clone()
}

fn shell(text: &str) -> String {
    render(TemplateKind::Shell, text, &scope()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn problems(kind: TemplateKind, text: &str) -> Vec<(String, String)> {
    check(kind, text, &scope()).into_iter().map(|problem| (text[problem.range].to_owned(), problem.message)).collect()
}

#[test]
fn a_value_in_a_command_is_one_quoted_word_and_raw_is_not() {
    assert_eq!(shell("cd {{path}} && x {{n}}"), "cd '/srv/my app' && x 3");
    assert_eq!(shell("{{raw path}}"), "/srv/my app");
    assert_eq!(shell("for f in {{#each list}}{{this}} {{/each}}; do"), "for f in 'a b' c ; do");
    assert_eq!(shell("{{#if off}}no{{else}}{{path}}{{/if}}"), "'/srv/my app'");
    assert_eq!(shell("docker ps --format '\\{{.ID}}'"), "docker ps --format '{{.ID}}'");
    assert_eq!(shell("{{{{raw}}}}{{.ID}}{{{{/raw}}}}"), "{{.ID}}");
    assert_eq!(shell("x {{lookup table \"key\"}}"), "x v");
}

#[test]
fn text_is_not_escaped() {
    let scope = json!({ "x": "<a & 'b'>" }).as_object().cloned().expect("a table");
    assert_eq!(
        render(TemplateKind::Text, "{{x}} {{{x}}} {{raw x}}", &scope).expect("text"),
        "<a & 'b'> <a & 'b'> <a & 'b'>"
    );
}

#[test]
fn a_snippet_is_put_in_with_the_values_of_the_place_and_is_judged_there() {
    let mut scope = scope();
    let snippets = json!({
        "compose": "docker compose {{#each list}}-f {{this}} {{/each}}", "odd": "x {{paht}}", "again": "{{> compose}}",
        "secret": "x {{raw secret}}",
    });
    scope.insert(SNIPPETS.to_owned(), snippets);
    let rendered = |text| render(TemplateKind::Shell, text, &scope);
    assert_eq!(
        rendered("cd {{path}} && {{> compose}} up").expect("text"),
        "cd '/srv/my app' && docker compose -f 'a b' -f c  up"
    );
    assert_eq!(rendered("ids=$({{> compose}}ps)").expect("text"), "ids=$(docker compose -f 'a b' -f c ps)");
    for (text, said) in [
        ("{{> odd}}", "in the snippet `odd`: the variable `paht` is not declared"),
        ("{{> again}}", "in the snippet `again`: a snippet cannot put in another"),
        ("{{> compos}}", "no snippet `compos`"),
        ("'{{> compose}}'", "would end the single quotes"),
        ("{{> compose list}}", "templates cannot do this"),
    ] {
        let found = check(TemplateKind::Shell, text, &scope);
        assert!(found.iter().any(|problem| problem.message.contains(said)), "{text}: {found:?}");
        assert!(rendered(text).is_err(), "{text}");
    }
    assert!(matches!(rendered("{{> secret}}"), Err(TemplateError::RawSecret { .. })));
}

#[test]
fn a_secret_stays_out_of_the_command() {
    assert_eq!(shell("PASSWORD={{secret}} run"), "PASSWORD=\"$LONGSHORE_SECRET_db\" run");
    let error = render(TemplateKind::Shell, "run {{raw secret}}", &scope()).expect_err("refused");
    assert!(matches!(error, TemplateError::RawSecret { .. }), "{error}");
    assert_eq!(
        render(TemplateKind::Text, "p={{secret}}", &scope()).expect("text"),
        format!("p={}", SecretId::new("db").placeholder())
    );
}

#[test]
fn what_is_wrong_is_found_before_rendering() {
    let table: &[(&str, &str, &str)] = &[
        ("cd {{paht}}", "paht", "not declared"),
        ("cd {{#if paht}}x{{/if}}", "paht", "not declared"),
        ("cd {{#unless (eq n paht)}}x{{/unless}}", "paht", "not declared"),
        ("cd {{table.kye}}", "table.kye", "has no `kye`"),
        ("cd '{{path}}'", "{{path}}", "single quotes"),
        ("cd \"{{path}}/x\"", "{{path}}", "double quotes"),
        ("cat <<EOF\n{{path}}\nEOF", "{{path}}", "here-document"),
        ("cd {{{path}}}", "{{{path}}}", "does not quote"),
        ("cd {{list}}", "list", "is a list"),
        ("cd {{table}}", "table", "is a table"),
        ("cd {{path.x}}", "path.x", "no parts"),
        ("cd {{shout path}}", "{{shout path}}", "nothing that templates can do"),
        ("{{> other}}", "{{> other}}", "no snippet `other`"),
        ("{{#each list}}{{../paht}}{{/each}}", "../paht", "not declared"),
        ("{{#each list}}{{@root/paht}}{{/each}}", "@root/paht", "not declared"),
    ];
    for (text, underlined, message) in table {
        let found = problems(TemplateKind::Shell, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].0, *underlined, "{text}: {found:?}");
        assert!(found[0].1.contains(message), "{text}: {found:?}");
    }
    for broken in ["cd {{path", "{{#if path}}", "{{#if path}}{{/each}}", "{{path x y", "a\nb {{}}"] {
        assert_eq!(problems(TemplateKind::Shell, broken).len(), 1, "{broken}");
        assert!(render(TemplateKind::Text, broken, &scope()).is_err(), "{broken}");
    }
}

#[test]
fn what_is_right_is_left_alone() {
    for text in [
        "cd {{path}}/x && echo \"$(cat {{path}})\" # don't {{path}}",
        "{{#each list as |item|}}{{item}}{{@index}}{{/each}}",
        "{{#with table}}{{key}}{{/with}}",
        "{{#if (and off (not later))}}{{path}}{{else if n}}x{{else}}{{n}}{{/if}}",
        "\"{{raw path}}\"",
        "{{!-- a comment --}}{{list.[0]}}",
        "{{ path }} {{~path~}}",
        "{{len list}}",
    ] {
        assert_eq!(problems(TemplateKind::Shell, text), [], "{text}");
    }
    assert_eq!(problems(TemplateKind::Text, "'{{path}}' {{{path}}}"), []);
}

#[test]
fn a_value_known_later_may_be_asked_for_but_not_written() {
    assert_eq!(shell("{{#if later}}x{{else}}y{{/if}}"), "y");
    assert_eq!(shell("{{#if later}}{{later}}{{else}}y{{/if}}"), "y");
    assert!(render(TemplateKind::Text, "{{#if later}}x{{else}}{{later}}{{/if}}", &scope()).is_err());
    assert!(render(TemplateKind::Text, "{{later}}", &scope()).is_err());
    assert_eq!(problems(TemplateKind::Text, "{{later}} {{later.part}}"), []);
}

proptest! {
    #[test]
    fn no_template_makes_the_check_or_the_rendering_panic(text in "[a-z{}#/ '\"\\\\~@.\n<$()é]{0,40}") {
        let _ = check(TemplateKind::Shell, &text, &scope());
        let _ = render(TemplateKind::Shell, &text, &scope());
    }
}
