//! A bundle that is wrong is refused in one line that names the file, the line, what is wrong, and the nearest right word.
use switchboard_rules::{
    bundle::{Bundle, Files},
    error::Error,
    facts::Turn,
    flow::FlowState,
};

/// The message names the line that was changed, or the line of what no longer fits.
const HERE: bool = true;
const ANY: bool = false;

/// Replaces the first `from` in a file of the demo bundle, and returns the refusal with the line where `to` stands.
fn refusal(file: &str, from: &str, to: &str) -> (String, usize) {
    let mut files = Files::demo();
    let text = files.0.get_mut(file).expect("a file of the demo bundle");
    let at = text.find(from).unwrap_or_else(|| panic!("{file} has no `{from}`"));
    text.replace_range(at..at + from.len(), to);
    let line = text[..at].matches('\n').count() + 1;
    (Bundle::load(&files).err().map(|e| e.to_string()).unwrap_or_else(|| panic!("{file} with `{to}` was taken")), line)
}

#[test]
fn refusals_point_at_the_line_and_suggest() {
    // file, from, to, what the message says, whether it is said of the changed line
    let rows = [
        (
            "rules.yaml",
            "when: anger >= fury_threshold",
            "when: angre >= fury_threshold",
            "`angre` is not a fact; did you mean `anger`?",
            HERE,
        ),
        (
            "rules.yaml",
            "when: anger >= fury_threshold",
            "when: anger >= furie_threshold",
            "did you mean `fury_threshold`?",
            HERE,
        ),
        (
            "rules.yaml",
            "when: anger >= fury_threshold",
            "when: anger >= \"very\"",
            "a text is compared with a number",
            HERE,
        ),
        (
            "rules.yaml",
            "when: anger >= fury_threshold",
            "when: anger",
            "`anger` is a number, a condition has to be true or false",
            HERE,
        ),
        ("rules.yaml", "when: anger >= fury_threshold", "when: anger >= && in_flow", "is no condition", HERE),
        (
            "rules.yaml",
            "when: anger >= fury_threshold",
            "when: text.startWith(\"x\")",
            "did you mean `startsWith`?",
            HERE,
        ),
        (
            "rules.yaml",
            "when: anger >= fury_threshold",
            "when: text.matches(\"(x\")",
            "the pattern `(x` is wrong",
            HERE,
        ),
        (
            "rules.yaml",
            "sentiment_label == \"negative\"",
            "sentiment_label == \"negativ\"",
            "`sentiment_label` is never `negativ`; did you mean `negative`?",
            HERE,
        ),
        ("rules.yaml", "intent == \"thanks\"", "intent == \"thank\"", "did you mean `thanks`?", HERE),
        (
            "rules.yaml",
            "    why: Nobody wants",
            "    wyh: Nobody wants",
            "`wyh` is not a key that may stand here; did you mean `why`?",
            HERE,
        ),
        (
            "rules.yaml",
            "type: routing",
            "type: ruoting",
            "`ruoting` is not a word that may stand here; did you mean `routing`?",
            HERE,
        ),
        (
            "rules.yaml",
            "say: handoff.unsure",
            "say: handoff.unsur",
            "there is no text `handoff.unsur`; did you mean `handoff.unsure`?",
            HERE,
        ),
        (
            "rules.yaml",
            "say: greeting, ",
            "say: flow.closed, ",
            "the text `flow.closed` has a place `{title}` that nothing fills here",
            HERE,
        ),
        ("rules.yaml", "say: thanks}", "say: handoff.reply}", "waits for the result of an action", HERE),
        ("rules.yaml", "category: security,", "category: securty,", "did you mean `security`?", HERE),
        ("rules.yaml", "priority: critical,", "priority: criticl,", "did you mean `critical`?", HERE),
        (
            "rules.yaml",
            "then: {say: thanks}",
            "then: {say: thanks, reason: x}",
            "a rule of this type has no `reason`",
            HERE,
        ),
        (
            "rules.yaml",
            "then: {priority: high}",
            "then: {priority: high, interrupts: true}",
            "a rule of this type has no `interrupts`",
            HERE,
        ),
        ("rules.yaml", "- id: still_angry", "- id: furious", "two rules have the id `furious`", ANY),
        (
            "rules.yaml",
            "when: intent == \"thanks\" &&",
            "when: anger > 0.99 && intent == \"thanks\" &&",
            "example `small talk`: turn 2: disposition is `respond` and not `canned`",
            ANY,
        ),
        ("rules.yaml", "disposition: resolve", "disposition: resolved", "`resolved` is no disposition", HERE),
        ("routing.yaml", "zone: Europe/Amsterdam", "zone: Europe/Amsterdm", "did you mean `Europe/Amsterdam`?", HERE),
        ("routing.yaml", "mon-fri:", "mon-fry:", "`fry` is no day", HERE),
        ("routing.yaml", "08:00-20:00", "20:00-08:00", "`20:00-08:00` is no span of a day", HERE),
        ("routing.yaml", "\"12-25\"", "\"12-32\"", "`12-32` is no date", HERE),
        (
            "routing.yaml",
            "{low: 8h, medium: 4h, high: 1h, critical: 15m}, calendar: business}",
            "{low: 8h, medium: 4h, high: 1h}, calendar: business}",
            "no service level for the priority `critical`",
            HERE,
        ),
        ("routing.yaml", "{low: 8h,", "{low: 2d,", "`2d` is no service level", HERE),
        ("routing.yaml", "calendar: business}", "calendar: busines}", "did you mean `business`?", HERE),
        ("routing.yaml", "tiers: [free]", "tiers: [fre]", "did you mean `free`?", HERE),
        (
            "routing.yaml",
            "{id: default, queue",
            "{id: default, tiers: [standard], queue",
            "a default route is missing",
            ANY,
        ),
        (
            "flows/password_reset.yaml",
            "collect: email",
            "collect: emial",
            "`emial` is no slot of this flow; did you mean `email`?",
            HERE,
        ),
        (
            "flows/password_reset.yaml",
            "act: password_reset",
            "act: pasword_reset",
            "did you mean `password_reset`?",
            HERE,
        ),
        (
            "flows/password_reset.yaml",
            "\"{email}\"",
            "\"{emial}\"",
            "nothing fills `{emial}`; did you mean `email`?",
            HERE,
        ),
        (
            "flows/password_reset.yaml",
            "say: password_reset.sent",
            "say: password_reset.send",
            "did you mean `password_reset.sent`?",
            HERE,
        ),
        (
            "flows/password_reset.yaml",
            "entity: email\n",
            "entity: email\n    text: true\n",
            "exactly one of entity, text and choice",
            ANY,
        ),
        (
            "flows/password_reset.yaml",
            "intents: [password_reset]",
            "intents: [order_status]",
            "starts the flow `order_status` already",
            HERE,
        ),
        ("flows/password_reset.yaml", "id: password_reset", "id: pw", "has to be in the file flows/pw.yaml", HERE),
        ("flows/order_status.yaml", "'(?i)", "'(?i", "slot `order_number`", ANY),
        ("texts/en.yaml", "{email}, we've", "{email, we've", "a `{` is never closed", ANY),
        ("texts/en.yaml", "  goodbye: ", "  thanks: ", "`thanks` stands twice", ANY),
        (
            "texts/en.yaml",
            "  flow.stuck:",
            "  flow.stucked:",
            "there is no text `flow.stuck`; did you mean `flow.stucked`?",
            ANY,
        ),
        (
            "texts/en.yaml",
            "A human agent will take over",
            "Somebody will take over",
            "has to hold the words `human agent`",
            ANY,
        ),
        ("bundle.yaml", "anger: 0.6 ", "anger: 6.0 ", "the threshold `anger` has to be 0 to 1", HERE),
        ("bundle.yaml", "confidence: 0.7 ", "confidenze: 0.7 ", "thresholds has no `confidence`", ANY),
        ("bundle.yaml", "language: en", "language: de", "there is no texts/de.yaml", HERE),
        ("bundle.yaml", "greeting, goodbye", "greting, goodbye", "did you mean `greeting`?", HERE),
    ];
    let mut wrong = vec![];
    for (file, from, to, says, at) in rows {
        let (message, line) = refusal(file, from, to);
        let place = if at == HERE { format!("{file}:{line}: ") } else { format!("{file}:") };
        if !message.starts_with(&place) || !message.contains(says) || message.contains('\n') {
            wrong.push(format!("{file} `{to}` at {line}:\n    {message}\n    wanted {says}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_without_examples_and_a_missing_file_are_refused() {
    let mut files = Files::demo();
    let rules = files.0.get_mut("rules.yaml").expect("there");
    let at = rules.find("examples:").expect("there");
    rules.replace_range(at.., "examples: []\n");
    assert!(Bundle::load(&files).expect_err("refused").message.contains("needs an example"));
    files.0.remove("routing.yaml");
    let error = Bundle::load(&files).expect_err("refused");
    assert_eq!((error.file.as_str(), error.line), ("routing.yaml", 1));
}

#[test]
fn a_rule_that_no_example_shows_is_refused() {
    let mut files = Files::demo();
    let rules = files.0.get_mut("rules.yaml").expect("there");
    let rule =
        "rules:\n  - {id: midnight, type: routing, priority: 1, when: hour == 25, then: {priority: low}, why: never}\n";
    *rules = rules.replacen("rules:\n", rule, 1);
    let error = Bundle::load(&files).expect_err("refused");
    assert!(error.message.contains("the rule `midnight` is in no example"), "{error}");
}

#[test]
fn rules_that_conflict_are_refused() {
    let mut files = Files::demo();
    let rules = files.0.get_mut("rules.yaml").expect("there");
    let rule = |id: &str, to: &str| {
        format!("  - {{id: {id}, type: routing, priority: 7, when: hour == 4, then: {{priority: {to}}}, why: {id}}}\n")
    };
    let rules_of_four =
        format!("rules:\n{}{}", rule("one", "low"), rule("two", "high").replace("hour == 4", "hour < 5"));
    *rules = rules.replacen("rules:\n", &rules_of_four, 1);
    *rules += "  - name: at four\n    turns:\n      - {say: hm, now: \"2026-11-23T04:00:00Z\"}\n";
    let error = Bundle::load(&files).expect_err("refused");
    assert!(error.message.contains("`one` and `two` conflict"), "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Files::read(std::path::Path::new("/nowhere/at/all")).expect_err("refused");
    assert!(error.to_string().starts_with("/nowhere/at/all:1: cannot be read"), "{error}");
}

#[test]
fn every_byte_counts_for_the_version() {
    let mut files = Files::demo();
    let before = files.version();
    files.0.get_mut("rules.yaml").expect("there").push('\n');
    assert_ne!(files.version(), before);
}

/// A demo bundle with one more rule, and an example in which it fires.
fn with_rule(when: &str, turn: &str) -> Bundle {
    let mut files = Files::demo();
    let rules = files.0.get_mut("rules.yaml").expect("there");
    let rule = format!(
        "rules:\n  - id: added\n    type: escalation\n    priority: 999\n    when: '{when}'\n    then: {{reason: added}}\n    why: a test\n"
    );
    *rules = rules.replacen("rules:\n", &rule, 1);
    *rules += &format!("  - name: added\n    turns:\n      - {{{turn}, expect: {{reason: added, fires: [added]}}}}\n");
    Bundle::load(&files).unwrap_or_else(|e| panic!("{when}: {e}"))
}

#[test]
fn conditions_see_every_fact() {
    let rows = [
        ("hour == 3 && weekday == \"sun\"", "say: x, now: \"2026-11-22T03:30:00Z\""),
        ("entities.exists(e, e.type == \"amount\" && e.value.startsWith(\"9\"))", "say: x, entities: {amount: 99 EUR}"),
        (
            "size(entities) == 3 && entities.all(e, e.normalized != \"\")",
            "say: x, entities: {amount: 1 EUR, date: \"2026-01-01\", url: x.example}",
        ),
        ("has(variables.plan) && variables.plan == \"gold\"", "say: x, variables: {plan: gold}"),
        ("\"plan\" in variables && variables[\"plan\"] in [\"gold\"]", "say: x, variables: {plan: gold}"),
        ("user_messages + 1 > 5 && size(text) < 3", "say: x, user_messages: 5"),
        ("sentiment < -0.9 ? true : false", "say: x, sentiment: -0.95"),
        ("channel == \"phone\" || owner == \"human\"", "say: x, channel: phone"),
        ("customer_email.endsWith(\"@vip.example\")", "say: x, customer_email: a@vip.example"),
        (
            "text == \"pay\" && entities.filter(e, e.type == \"amount\").size() > 0",
            "say: pay, entities: {amount: 1 EUR}",
        ),
    ];
    for (when, turn) in rows {
        with_rule(when, turn);
    }
}

#[test]
fn a_rule_that_cannot_be_evaluated_is_named() {
    let bundle = with_rule(
        "channel == \"phone\" && variables.plan == \"gold\"",
        "say: x, channel: phone, variables: {plan: gold}",
    );
    let turn = |channel: &str| Turn { channel: channel.into(), text: "hello there".into(), ..Turn::default() };
    let Err(Error::Evaluation { rule, detail }) = bundle.decide(&turn("phone"), &FlowState::default()) else {
        panic!("it was evaluated")
    };
    assert_eq!((rule.as_str(), detail.as_str()), ("added", "there is no `plan`; ask with has(...) first"));
    bundle.decide(&turn("web"), &FlowState::default()).expect("what stands behind a false clause does not count");
}

#[test]
fn a_near_miss_names_its_clause() {
    let bundle =
        with_rule("anger < 0.1 && text == \"a && b\" && hour > 12", "say: a && b, now: \"2026-11-22T13:30:00Z\"");
    let near = |text: &str| {
        let turn = Turn { text: text.into(), now: "2026-11-22T10:30:00Z".parse().expect("a time"), ..Turn::default() };
        let decision = bundle.decide(&turn, &FlowState::default()).expect("decides");
        decision.near.into_iter().find(|r| r.rule_id == "added").map(|r| r.clause)
    };
    assert_eq!(near("a && b").as_deref(), Some("hour > 12"));
    assert_eq!(near("c"), None, "two clauses are false");
}

/// The demo bundle with a German file.
fn german(texts: &str) -> Result<Bundle, String> {
    let mut files = Files::demo();
    let example = "examples:\n  - name: in the bundle's own language\n    text: button.yes\n    reads: \"Yes\"\n";
    files.0.insert("texts/de.yaml".into(), format!("texts:\n{texts}{example}"));
    Bundle::load(&files).map_err(|e| e.to_string())
}

#[test]
fn another_language_says_what_it_has_and_the_rest_in_the_bundles_own() {
    let bundle = german("  greeting: Guten Tag!\n").expect("loads");
    let reply = |intent: &str, language: &str| {
        let turn = Turn {
            intent: intent.into(),
            intent_confidence: 0.9,
            text: "x".into(),
            language: language.into(),
            ..Turn::default()
        };
        bundle.decide(&turn, &FlowState::default()).expect("decides").reply
    };
    assert_eq!(reply("greeting", "de-AT"), "Guten Tag!");
    assert!(reply("thanks", "de").starts_with("You're welcome"));
    assert!(reply("greeting", "fr").starts_with("Hello"));
}

#[test]
fn another_language_has_no_keys_and_places_of_its_own() {
    let refused = |texts: &str| german(texts).expect_err("refused");
    assert!(
        refused("  gretting: Guten Tag!\n")
            .starts_with("texts/de.yaml:2: texts/en.yaml has no text `gretting`; did you mean `greeting`?")
    );
    assert!(
        refused("  greeting: Guten Tag {name}!\n")
            .starts_with("texts/de.yaml:2: the text `greeting` has a place `{name}`")
    );
}
