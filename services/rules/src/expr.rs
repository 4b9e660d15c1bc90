//! Conditions: CEL, checked and compiled once.
//!
//! In: the source of a condition. Out: a [`Condition`] that is true or false for a turn, clause by clause. What rules
//! mostly do (compare facts, look into lists and texts) is compiled to [`Node`]s that cost nanoseconds; the rest of CEL
//! runs in the interpreter. Never: an unknown name, or a text compared with a number: both are refused here.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use cel::{Program, Value};

use crate::{
    compile::{Compiler, threshold},
    eval::Node,
    facts::{self, FACTS, Fact, Kind, View},
};

/// Numbers that the bundle names; `anger: 0.6` is `anger_threshold` in conditions.
pub type Thresholds = BTreeMap<String, f64>;

/// A compiled condition: clauses that all have to be true.
#[derive(Debug)]
pub struct Condition {
    /// As written, on one line.
    pub source: String,
    clauses: Vec<Clause>,
    /// Intents that it names.
    pub intents: BTreeSet<String>,
}

#[derive(Debug)]
struct Clause {
    source: String,
    code: Code,
    /// True if it only asks which intent it is: a rule about another intent is not a near miss.
    about_intent: bool,
}

#[derive(Debug)]
enum Code {
    Native(Node),
    Cel { program: Program, facts: Vec<(&'static str, Fact, Kind)>, numbers: Vec<(String, f64)> },
}

/// What a condition says of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    True,
    /// Exactly one of several clauses is false: this one.
    Near(&'a str),
    False,
}

impl Condition {
    /// Compiles; the error says what is wrong and names the nearest right word.
    pub fn compile(source: &str, thresholds: &Thresholds) -> Result<Self, String> {
        let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
        // The whole first: a clause cut out of a broken condition would be blamed for it.
        parse(&source)?;
        let mut intents = BTreeSet::new();
        let mut clauses = Vec::new();
        for text in split(&source) {
            let program = parse(text)?;
            let mut compiler = Compiler { thresholds, intents: &mut intents, names: BTreeSet::new() };
            compiler.names(program.expression(), &mut vec![])?;
            let names = std::mem::take(&mut compiler.names);
            let node = compiler.truth(program.expression(), None)?;
            let about_intent = names.iter().all(|n| n == "intent") && !names.is_empty();
            let code = match node {
                Some(node) => Code::Native(node),
                None => Code::Cel {
                    facts: FACTS.iter().copied().filter(|(n, ..)| names.contains(*n)).collect(),
                    numbers: names.iter().filter_map(|n| Some((n.clone(), threshold(thresholds, n)?))).collect(),
                    program,
                },
            };
            clauses.push(Clause { source: text.to_owned(), code, about_intent });
        }
        Ok(Condition { source, clauses, intents })
    }

    /// True, nearly true, or false.
    pub fn test(&self, view: &View<'_>) -> Result<Verdict<'_>, String> {
        let mut missed = None;
        for clause in &self.clauses {
            let holds = match clause.test(view) {
                Ok(holds) => holds,
                // `has(x) && x.y`: what stands behind a false clause does not count.
                Err(_) if missed.is_some() => false,
                Err(e) => return Err(e),
            };
            if !holds {
                if missed.is_some() || clause.about_intent {
                    return Ok(Verdict::False);
                }
                missed = Some(clause.source.as_str());
            }
        }
        Ok(match missed {
            None => Verdict::True,
            Some(clause) if self.clauses.len() > 1 => Verdict::Near(clause),
            Some(_) => Verdict::False,
        })
    }
}

impl Clause {
    fn test(&self, view: &View<'_>) -> Result<bool, String> {
        match &self.code {
            Code::Native(node) => Ok(node.test(view, None)),
            Code::Cel { program, facts, numbers } => interpret(program, facts, numbers, view),
        }
    }
}

fn interpret(
    program: &Program,
    facts: &[(&'static str, Fact, Kind)],
    numbers: &[(String, f64)],
    view: &View<'_>,
) -> Result<bool, String> {
    static ENV: std::sync::LazyLock<std::sync::Arc<cel::Env>> =
        std::sync::LazyLock::new(|| std::sync::Arc::new(cel::Env::stdlib()));
    let mut context = cel::Context::with_env(ENV.clone());
    for (name, fact, kind) in facts {
        context.add_variable_from_value(*name, value(view, *fact, *kind));
    }
    for (name, number) in numbers {
        context.add_variable_from_value(name.as_str(), Value::Float(*number));
    }
    match program.execute(&context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(_) => Err("the condition is neither true nor false".to_owned()),
        // Other messages of the interpreter hold values, and with them the customer's words.
        Err(cel::ExecutionError::NoSuchKey(key)) => Err(format!("there is no `{key}`; ask with has(...) first")),
        Err(_) => Err("an operation does not fit its values".to_owned()),
    }
}

fn value(view: &View<'_>, fact: Fact, kind: Kind) -> Value {
    let text = |s: &str| Value::from(s);
    match kind {
        Kind::Text => text(view.text(fact)),
        Kind::Number => Value::Float(view.number(fact)),
        Kind::Whole => Value::Int(view.number(fact) as i64),
        Kind::Truth => Value::Bool(view.truth(fact)),
        Kind::Texts => Value::from(view.turn.entities.iter().map(|e| text(&e.kind)).collect::<Vec<_>>()),
        Kind::Map => {
            Value::from(view.turn.variables.iter().map(|(k, v)| (k.clone(), text(v))).collect::<HashMap<_, _>>())
        }
        Kind::Entities => {
            let fields = |e: &facts::Entity| {
                let pairs = [("type", &e.kind), ("value", &e.value), ("normalized", &e.normalized)];
                Value::from(pairs.map(|(k, v)| (k.to_owned(), text(v))).into_iter().collect::<HashMap<_, _>>())
            };
            Value::from(view.turn.entities.iter().map(fields).collect::<Vec<_>>())
        }
    }
}

fn parse(source: &str) -> Result<Program, String> {
    Program::compile(source).map_err(|e| {
        let first = e.errors.first().map(|e| e.msg.clone()).unwrap_or_default();
        let first = first.split("expecting").next().unwrap_or_default().trim_end_matches([' ', ',']).to_owned();
        format!("`{source}` is no condition: {first}")
    })
}

/// The parts between the outermost `&&`. One part if `||` or `?` binds them, for then no single clause decides.
fn split(source: &str) -> Vec<&str> {
    let bytes = source.as_bytes();
    let (mut parts, mut from, mut depth, mut quote, mut at) = (vec![], 0, 0_i32, None, 0);
    let mut raw = false;
    while at < bytes.len() {
        let c = bytes[at];
        match quote {
            Some(_) if c == b'\\' && !raw => at += 1,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None => match c {
                b'"' | b'\'' => {
                    quote = Some(c);
                    raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
                }
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth -= 1,
                b'|' | b'?' if depth == 0 => return vec![source],
                b'&' if depth == 0 => {
                    parts.push(source[from..at].trim());
                    at += 1;
                    from = at + 1;
                }
                _ => {}
            },
        }
        at += 1;
    }
    parts.push(source[from..].trim());
    parts
}
