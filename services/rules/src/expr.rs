//! Conditions: CEL, checked and compiled once.
//!
//! In: the source of a condition. Out: a [`Condition`] that is true or false for a turn, clause by clause. What rules
//! mostly do (compare facts, look into lists and texts) is compiled to [`Node`]s that cost nanoseconds; the rest of CEL
//! runs in the interpreter. Never: an unknown name, or a text compared with a number: both are refused here.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use cel::{
    Program, Value,
    common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators as op},
};
use regex::Regex;

use crate::{
    eval::{Num, Node, Order, Str, Field},
    facts::{self, FACTS, Fact, Kind, View},
    suggest::nearest,
};

/// Functions of CEL that conditions may call, besides its operators and macros.
const FUNCTIONS: &[&str] = &["size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "min", "max"];

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

fn interpret(program: &Program, facts: &[(&'static str, Fact, Kind)], numbers: &[(String, f64)], view: &View<'_>) -> Result<bool, String> {
    static ENV: std::sync::LazyLock<std::sync::Arc<cel::Env>> = std::sync::LazyLock::new(|| std::sync::Arc::new(cel::Env::stdlib()));
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
        Kind::Map => Value::from(view.turn.variables.iter().map(|(k, v)| (k.clone(), text(v))).collect::<HashMap<_, _>>()),
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

fn threshold(thresholds: &Thresholds, name: &str) -> Option<f64> {
    thresholds.get(name.strip_suffix("_threshold")?).copied()
}

/// The parts between the outermost `&&`. One part if `||` or `?` binds them, for then no single clause decides.
fn split(source: &str) -> Vec<&str> {
    let bytes = source.as_bytes();
    let (mut parts, mut from, mut depth, mut quote, mut at) = (vec![], 0, 0_i32, None, 0);
    while at < bytes.len() {
        let c = bytes[at];
        match quote {
            Some(_) if c == b'\\' => at += 1,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None => match c {
                b'"' | b'\'' => quote = Some(c),
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

struct Compiler<'a> {
    thresholds: &'a Thresholds,
    intents: &'a mut BTreeSet<String>,
    names: BTreeSet<String>,
}

type Partial<T> = Result<Option<T>, String>;

impl Compiler<'_> {
    /// Collects the names that are used; refuses those that nobody knows.
    fn names<'e>(&mut self, expr: &'e IdedExpr, bound: &mut Vec<&'e str>) -> Result<(), String> {
        match &expr.expr {
            Expr::Ident(name) => {
                if name.starts_with('@') || bound.contains(&name.as_str()) {
                    return Ok(());
                }
                if facts::fact(name).is_none() && threshold(self.thresholds, name).is_none() {
                    let known = FACTS.iter().map(|(n, ..)| (*n).to_owned());
                    let known = known.chain(self.thresholds.keys().map(|t| format!("{t}_threshold")));
                    return Err(format!("`{name}` is not a fact{}", nearest(name, known)));
                }
                self.names.insert(name.clone());
            }
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                let operator = name.contains(['_', '@', '!']) || name == "-";
                if !operator && !FUNCTIONS.contains(&name) {
                    let known = FUNCTIONS.iter().chain(&["exists", "all", "filter", "map"]).map(|f| (*f).to_owned());
                    return Err(format!("`{name}` is not a function that conditions may call{}", nearest(name, known)));
                }
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.names(part, bound)?;
                }
            }
            Expr::Comprehension(c) => {
                self.names(&c.iter_range, bound)?;
                bound.push(&c.iter_var);
                for part in [&c.accu_init, &c.loop_cond, &c.loop_step, &c.result] {
                    self.names(part, bound)?;
                }
                bound.pop();
            }
            Expr::List(list) => {
                for part in &list.elements {
                    self.names(part, bound)?;
                }
            }
            Expr::Select(select) => self.names(&select.operand, bound)?,
            Expr::Literal(_) => {}
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => return Err("conditions make no maps or structures".to_owned()),
        }
        Ok(())
    }

    /// What is true or false. `var` names the entity inside `entities.exists(e, ...)`.
    fn truth(&mut self, expr: &IdedExpr, var: Option<&str>) -> Partial<Node> {
        Ok(match &expr.expr {
            Expr::Literal(LiteralValue::Boolean(b)) => Some(Node::Is(*b.inner())),
            Expr::Literal(_) | Expr::List(_) => return Err("the condition is neither true nor false".to_owned()),
            Expr::Ident(name) if var != Some(name) => match facts::fact(name) {
                Some((fact, Kind::Truth)) => Some(Node::Fact(fact)),
                kind => {
                    let kind = kind.map_or(Kind::Number, |(_, k)| k);
                    return Err(format!("`{name}` is {}, a condition has to be true or false", kind.words()));
                }
            },
            Expr::Call(call) => self.call(call, var)?,
            Expr::Comprehension(c) => self.over_entities(c)?,
            _ => None,
        })
    }

    fn call(&mut self, call: &CallExpr, var: Option<&str>) -> Partial<Node> {
        let (target, args) = (call.target.as_deref(), call.args.as_slice());
        Ok(match (call.func_name.as_str(), target, args) {
            (op::LOGICAL_NOT, None, [a]) => self.truth(a, var)?.map(|a| Node::Not(Box::new(a))),
            (op::LOGICAL_AND, None, [a, b]) => self.truth(a, var)?.zip(self.truth(b, var)?).map(|(a, b)| Node::And(Box::new([a, b]))),
            (op::LOGICAL_OR, None, [a, b]) => self.truth(a, var)?.zip(self.truth(b, var)?).map(|(a, b)| Node::Or(Box::new([a, b]))),
            (op::EQUALS, None, [a, b]) => self.compare(Order::Eq, a, b, var)?,
            (op::NOT_EQUALS, None, [a, b]) => self.compare(Order::Eq, a, b, var)?.map(|n| Node::Not(Box::new(n))),
            (op::LESS, None, [a, b]) => self.compare(Order::Lt, a, b, var)?,
            (op::LESS_EQUALS, None, [a, b]) => self.compare(Order::Le, a, b, var)?,
            (op::GREATER, None, [a, b]) => self.compare(Order::Lt, b, a, var)?,
            (op::GREATER_EQUALS, None, [a, b]) => self.compare(Order::Le, b, a, var)?,
            (op::IN, None, [a, list]) => self.within(a, list, var)?,
            ("contains", Some(a), [b]) => self.texts(a, b, var)?.map(|(a, b)| Node::Contains(a, b)),
            ("startsWith", Some(a), [b]) => self.texts(a, b, var)?.map(|(a, b)| Node::Starts(a, b)),
            ("endsWith", Some(a), [b]) => self.texts(a, b, var)?.map(|(a, b)| Node::Ends(a, b)),
            ("matches", Some(a), [b]) => match self.texts(a, b, var)? {
                Some((a, Str::Is(pattern))) => {
                    let regex = Regex::new(&pattern).map_err(|e| format!("the pattern `{pattern}` is wrong: {}", last_line(&e.to_string())))?;
                    Some(Node::Matches(a, regex))
                }
                _ => return Err("matches(...) takes a pattern that is written out".to_owned()),
            },
            _ => None,
        })
    }

    fn compare(&mut self, order: Order, a: &IdedExpr, b: &IdedExpr, var: Option<&str>) -> Partial<Node> {
        let (left, right) = (self.kind(a, var), self.kind(b, var));
        match (left, right) {
            (Some(Kind::Number), Some(Kind::Number)) => Ok(number(self.thresholds, a).zip(number(self.thresholds, b)).map(|(a, b)| Node::Compare(a, order, b))),
            (Some(Kind::Text), Some(Kind::Text)) if order == Order::Eq => {
                let pair = self.texts(a, b, var)?;
                if let Some((Str::Fact(fact), Str::Is(word)) | (Str::Is(word), Str::Fact(fact))) = &pair {
                    self.word(*fact, word)?;
                }
                Ok(pair.map(|(a, b)| Node::Same(a, b)))
            }
            (Some(l), Some(r)) if l != r => Err(format!("{} is compared with {}", l.words(), r.words())),
            _ => Ok(None),
        }
    }

    fn within(&mut self, a: &IdedExpr, list: &IdedExpr, var: Option<&str>) -> Partial<Node> {
        let Some(left) = text(a, var) else { return Ok(None) };
        match &list.expr {
            Expr::Ident(name) if name == "entity_types" => Ok(Some(Node::EntityType(left))),
            Expr::List(list) => {
                let words: Option<Vec<String>> = list.elements.iter().map(literal).collect();
                let Some(words) = words else { return Ok(None) };
                if let Str::Fact(fact) = left {
                    for word in &words {
                        self.word(fact, word)?;
                    }
                }
                Ok(Some(Node::OneOf(left, words)))
            }
            _ => Ok(None),
        }
    }

    /// `entities.exists(e, ...)` and `entities.all(e, ...)`; anything else is left to the interpreter.
    fn over_entities(&mut self, c: &ComprehensionExpr) -> Partial<Node> {
        let Expr::Ident(range) = &c.iter_range.expr else { return Ok(None) };
        let (Expr::Call(step), Expr::Literal(LiteralValue::Boolean(_))) = (&c.loop_step.expr, &c.accu_init.expr) else { return Ok(None) };
        if range != "entities" || c.iter_var2.is_some() {
            return Ok(None);
        }
        let [_, body] = step.args.as_slice() else { return Ok(None) };
        let body = self.truth(body, Some(&c.iter_var))?.map(Box::new);
        Ok(match step.func_name.as_str() {
            op::LOGICAL_OR => body.map(Node::Exists),
            op::LOGICAL_AND => body.map(Node::All),
            _ => None,
        })
    }

    fn texts(&mut self, a: &IdedExpr, b: &IdedExpr, var: Option<&str>) -> Partial<(Str, Str)> {
        for part in [a, b] {
            if let Some(kind) = self.kind(part, var).filter(|k| *k != Kind::Text) {
                return Err(format!("{} stands where a text has to be", kind.words()));
            }
        }
        Ok(text(a, var).zip(text(b, var)))
    }

    /// The type of what is simple enough to know it.
    fn kind(&self, expr: &IdedExpr, var: Option<&str>) -> Option<Kind> {
        if number(self.thresholds, expr).is_some() {
            return Some(Kind::Number);
        }
        match &expr.expr {
            Expr::Literal(LiteralValue::String(_)) => Some(Kind::Text),
            Expr::Literal(LiteralValue::Boolean(_)) => Some(Kind::Truth),
            Expr::Select(s) if matches!(&s.operand.expr, Expr::Ident(n) if Some(n.as_str()) == var) => Some(Kind::Text),
            Expr::Ident(name) => facts::fact(name).map(|(_, kind)| kind),
            _ => None,
        }
    }

    /// A word that a fact is compared with: it has to be one that the fact can be.
    fn word(&mut self, fact: Fact, word: &str) -> Result<(), String> {
        if fact == Fact::Intent {
            self.intents.insert(word.to_owned());
        }
        match facts::domain(fact) {
            Some(words) if !words.contains(&word) => {
                let name = FACTS.iter().find(|(_, f, _)| *f == fact).map_or("", |(n, ..)| n);
                Err(format!("`{name}` is never `{word}`{}", nearest(word, words.iter().map(|w| (*w).to_owned()))))
            }
            _ => Ok(()),
        }
    }
}

fn number(thresholds: &Thresholds, expr: &IdedExpr) -> Option<Num> {
    match &expr.expr {
        Expr::Literal(LiteralValue::Double(d)) => Some(Num::Is(*d.inner())),
        Expr::Literal(LiteralValue::Int(i)) => Some(Num::Is(*i.inner() as f64)),
        Expr::Ident(name) => match facts::fact(name) {
            Some((fact, Kind::Number | Kind::Whole)) => Some(Num::Fact(fact)),
            Some(_) => None,
            None => threshold(thresholds, name).map(Num::Is),
        },
        Expr::Call(call) if call.func_name == "size" => {
            let arg = call.target.as_deref().or(call.args.first())?;
            match &arg.expr {
                Expr::Ident(name) if name == "entities" || name == "entity_types" => Some(Num::Entities),
                _ => text(arg, None).map(Num::Size),
            }
        }
        _ => None,
    }
}

fn text(expr: &IdedExpr, var: Option<&str>) -> Option<Str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(s)) => Some(Str::Is(s.inner().to_owned())),
        Expr::Ident(name) => facts::fact(name).filter(|(_, k)| *k == Kind::Text).map(|(f, _)| Str::Fact(f)),
        Expr::Select(s) if !s.test && matches!(&s.operand.expr, Expr::Ident(n) if Some(n.as_str()) == var) => {
            let fields = [("type", Field::Kind), ("value", Field::Value), ("normalized", Field::Normalized)];
            facts::named(&fields, &s.field).map(Str::Field)
        }
        _ => None,
    }
}

fn literal(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(s)) => Some(s.inner().to_owned()),
        _ => None,
    }
}

/// The line of a regex error that says what is wrong; the others draw an arrow.
pub fn last_line(message: &str) -> &str {
    message.lines().last().unwrap_or_default().trim_start_matches("error: ")
}
