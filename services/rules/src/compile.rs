//! From the syntax tree of a condition to [`Node`]s, with names and types checked on the way.
use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators as op};
use regex::Regex;

use crate::{
    eval::{Field, Node, Num, Order, Str},
    expr::Thresholds,
    facts::{self, FACTS, Fact, Kind},
    suggest::nearest,
};

/// Functions of CEL that conditions may call, besides its operators and macros.
const FUNCTIONS: &[&str] =
    &["size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "min", "max"];

pub(crate) fn threshold(thresholds: &Thresholds, name: &str) -> Option<f64> {
    thresholds.get(name.strip_suffix("_threshold")?).copied()
}

pub(crate) struct Compiler<'a> {
    pub(crate) thresholds: &'a Thresholds,
    pub(crate) intents: &'a mut BTreeSet<String>,
    pub(crate) names: BTreeSet<String>,
}

type Partial<T> = Result<Option<T>, String>;

impl Compiler<'_> {
    /// Collects the names that are used; refuses those that nobody knows.
    pub(crate) fn names<'e>(&mut self, expr: &'e IdedExpr, bound: &mut Vec<&'e str>) -> Result<(), String> {
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
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                return Err("conditions make no maps or structures".to_owned());
            }
        }
        Ok(())
    }

    /// What is true or false. `var` names the entity inside `entities.exists(e, ...)`.
    pub(crate) fn truth(&mut self, expr: &IdedExpr, var: Option<&str>) -> Partial<Node> {
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
            (op::LOGICAL_AND, None, [a, b]) => {
                self.truth(a, var)?.zip(self.truth(b, var)?).map(|(a, b)| Node::And(Box::new([a, b])))
            }
            (op::LOGICAL_OR, None, [a, b]) => {
                self.truth(a, var)?.zip(self.truth(b, var)?).map(|(a, b)| Node::Or(Box::new([a, b])))
            }
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
                    let regex = Regex::new(&pattern)
                        .map_err(|e| format!("the pattern `{pattern}` is wrong: {}", last_line(&e.to_string())))?;
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
            (Some(Kind::Number), Some(Kind::Number)) => {
                Ok(number(self.thresholds, a).zip(number(self.thresholds, b)).map(|(a, b)| Node::Compare(a, order, b)))
            }
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
        let (Expr::Call(step), Expr::Literal(LiteralValue::Boolean(_))) = (&c.loop_step.expr, &c.accu_init.expr) else {
            return Ok(None);
        };
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
pub(crate) fn last_line(message: &str) -> &str {
    message.lines().last().unwrap_or_default().trim_start_matches("error: ")
}
