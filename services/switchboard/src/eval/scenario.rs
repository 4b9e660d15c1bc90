//! Scenario files: a dialogue and what has to come of it.
//!
//! In: YAML. Out: a [`Scenario`], or one line that names the file and the place. Never: a key that is not known passed over.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

/// One dialogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it shows, in a few words.
    pub(crate) name: String,
    /// The conversation's language, such as `en`.
    pub(crate) language: Option<String>,
    /// The customer by an id of yours; without it a new customer.
    pub(crate) user: Option<String>,
    /// What the agent under test has to have first; needs a stack of its own.
    #[serde(default)]
    pub(crate) setup: Setup,
    /// Sockets that watch from beside.
    #[serde(default)]
    pub(crate) tabs: usize,
    pub(crate) turns: Vec<Turn>,
    #[serde(default)]
    pub(crate) finally: Finally,
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Setup {
    /// Settings of the stack.
    pub(crate) settings: BTreeMap<String, String>,
    /// Knowledge articles, as `POST /v1/knowledge` takes them.
    pub(crate) articles: Vec<Map<String, Value>>,
}

impl Setup {
    pub(crate) fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.articles.is_empty()
    }
}

/// Who does something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    #[default]
    Customer,
    Agent,
}

/// What is done with the conversation beside talking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Deed {
    Assign,
    Release,
    Resolve,
    Reopen,
    Escalate,
    Rate,
}

impl Deed {
    /// The last part of the route.
    pub(crate) fn route(self) -> &'static str {
        match self {
            Deed::Assign => "assign",
            Deed::Release => "release",
            Deed::Resolve => "resolve",
            Deed::Reopen => "reopen",
            Deed::Escalate => "escalate",
            Deed::Rate => "rating",
        }
    }
}

/// One step.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Turn {
    pub(crate) who: Who,
    pub(crate) what: What,
    pub(crate) reconnect: bool,
    pub(crate) restart: bool,
    pub(crate) expect: Expect,
}

#[derive(Debug)]
pub(crate) enum What {
    Say(String),
    /// The message before once more, with the same client message id.
    Again,
    Do(Deed, Map<String, Value>),
}

/// A step as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    say: Option<String>,
    #[serde(rename = "as", default)]
    who: Who,
    #[serde(rename = "do")]
    deed: Option<Deed>,
    reason: Option<String>,
    priority: Option<String>,
    summary: Option<String>,
    score: Option<u8>,
    comment: Option<String>,
    #[serde(default)]
    same_as_previous: bool,
    #[serde(default)]
    reconnect: bool,
    #[serde(default)]
    restart: bool,
    #[serde(default)]
    expect: Expect,
}

impl TryFrom<Written> for Turn {
    type Error = &'static str;

    fn try_from(turn: Written) -> Result<Self, Self::Error> {
        let mut with = Map::new();
        let texts = [
            ("reason", turn.reason),
            ("priority", turn.priority),
            ("summary", turn.summary),
            ("comment", turn.comment),
        ];
        with.extend(texts.into_iter().filter_map(|(k, v)| Some((k.to_owned(), Value::from(v?)))));
        with.extend(turn.score.map(|s| ("score".to_owned(), s.into())));
        let what = match (turn.say, turn.deed, turn.same_as_previous) {
            (Some(text), None, false) => What::Say(text),
            (None, Some(deed), false) => What::Do(deed, std::mem::take(&mut with)),
            (None, None, true) => What::Again,
            _ => return Err("a turn has exactly one of `say`, `do` and `same_as_previous: true`"),
        };
        if !with.is_empty() {
            return Err("`reason`, `priority`, `summary`, `score` and `comment` belong to a `do`");
        }
        Ok(Turn { who: turn.who, what, reconnect: turn.reconnect, restart: turn.restart, expect: turn.expect })
    }
}

/// What has to come of a step. What is not said may be anything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) intent: Option<String>,
    pub(crate) reply_matches: Option<Pattern>,
    pub(crate) reply_not: Option<Pattern>,
    /// A cited article, by its title.
    pub(crate) cites: Option<Pattern>,
    pub(crate) no_citations: bool,
    pub(crate) status: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) escalation: Option<Escalation>,
    /// An action beside the reply, by its type.
    pub(crate) action: Option<String>,
    pub(crate) rung: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) within_ms: Option<u64>,
    /// No reply at all.
    pub(crate) silent: bool,
    /// A refusal, by its reason, such as `NOT_OWNER`.
    pub(crate) error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Escalation {
    pub(crate) reason: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<String>,
    /// There is a case number.
    pub(crate) case_number: bool,
    /// There is a deadline that lies ahead.
    pub(crate) sla: bool,
}

/// What has to hold at the end.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Finally {
    pub(crate) status: Option<String>,
    pub(crate) owner: Option<String>,
    /// The score that the customer gave.
    pub(crate) rating: Option<u8>,
    /// Texts that stand in the conversation in this order, whoever wrote them.
    pub(crate) messages: Vec<Pattern>,
    pub(crate) salesforce: Option<Salesforce>,
}

/// What the conversation's case in the embedded org has to be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Salesforce {
    pub(crate) status: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) subject_matches: Option<Pattern>,
}

/// A regular expression that takes no notice of case; the dot takes line ends.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(pub(crate) Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let regex = RegexBuilder::new(&text).case_insensitive(true).dot_matches_new_line(true).build();
        regex.map(Pattern).map_err(|_| D::Error::custom(format!("`{text}` is not a regular expression")))
    }
}

/// All scenarios of a folder, by file name; or the one in a file.
pub(crate) fn load(path: &Path) -> Result<Vec<Scenario>, String> {
    let unreadable = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    if files.is_empty() {
        return Err(format!("{} has no .yaml files", path.display()));
    }
    files.into_iter().map(read).collect()
}

fn read(file: PathBuf) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    parse(&text, file)
}

fn parse(text: &str, file: PathBuf) -> Result<Scenario, String> {
    let scenario: Scenario = serde_yaml_ng::from_str(text).map_err(|e| {
        let place = e.location().map(|l| format!(":{}:{}", l.line(), l.column())).unwrap_or_default();
        let said = e.to_string();
        format!("{}{place}: {}", file.display(), said.split(" at line ").next().unwrap_or(&said))
    })?;
    if scenario.turns.is_empty() {
        return Err(format!("{}: `turns` is empty", file.display()));
    }
    Ok(Scenario { file, ..scenario })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Scenario, String> {
        parse(text, "s.yaml".into())
    }

    #[test]
    fn every_key_of_the_format_is_read() {
        let scenario = parsed(
            "name: All\nlanguage: en\nuser: kim\ntabs: 2\nsetup: {settings: {edge.guests: 'off'}, articles: [{title: T, body: B}]}\n\
             turns:\n- say: Hello\n  expect: {intent: greeting, reply_matches: hi, reply_not: bye, cites: T, status: active, owner: ai,\n    \
             escalation: {reason: anger, queue: q, priority: high, case_number: true, sla: true}, action: a, rung: flow,\n    \
             language: en, within_ms: 500}\n- same_as_previous: true\n  reconnect: true\n- say: On it\n  as: agent\n  expect: {error: NOT_OWNER}\n\
             - do: rate\n  score: 5\n  comment: Good\n- say: Still there?\n  restart: true\n  expect: {silent: true, no_citations: true}\n\
             finally: {status: resolved, owner: ai, rating: 5, messages: [hello], salesforce: {status: New, priority: High, queue: q, subject_matches: x}}\n",
        );
        let scenario = scenario.expect("reads");
        assert_eq!((scenario.turns.len(), scenario.tabs), (5, 2));
        assert!(
            matches!(&scenario.turns[3].what, What::Do(Deed::Rate, with) if with["score"] == 5 && with["comment"] == "Good")
        );
        assert!(scenario.turns[0].expect.reply_matches.as_ref().expect("there").0.is_match("HI there"));
        assert!(!scenario.setup.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, words) in [
            ("name: A\nturns:\n- say: Hi\n  expects: {}\n", &["s.yaml:4:", "expects"][..]),
            ("name: A\nturns:\n- say: Hi\n  expect:\n    replymatches: x\n", &["s.yaml:", "replymatches"]),
            ("name: A\nturns:\n- say: Hi\n  do: assign\n", &["s.yaml:3:", "exactly one of"]),
            ("name: A\nturns:\n- say: Hi\n  score: 3\n", &["s.yaml:3:", "belong to a `do`"]),
            ("name: A\nturns:\n- do: dance\n", &["s.yaml:", "dance"]),
            ("name: A\nturns:\n- say: Hi\n  expect: {reply_matches: '('}\n", &["s.yaml:", "not a regular expression"]),
            ("name: A\nturns: []\n", &["s.yaml", "`turns` is empty"]),
            ("name: [\n", &["s.yaml:"]),
        ] {
            let error = parsed(text).expect_err("refused");
            for word in words {
                assert!(error.contains(word), "{error} lacks {word}");
            }
        }
    }
}
