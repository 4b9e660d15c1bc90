//! Compiled conditions: what a clause costs when its facts have fixed types is a comparison.
use regex::Regex;

use crate::facts::{Entity, Fact, View};

/// True or false for a turn.
#[derive(Debug)]
pub enum Node {
    Is(bool),
    Fact(Fact),
    Not(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Compare(Num, Order, Num),
    Same(Str, Str),
    OneOf(Str, Vec<String>),
    EntityType(Str),
    Contains(Str, Str),
    Starts(Str, Str),
    Ends(Str, Str),
    Matches(Str, Regex),
    Exists(Box<Node>),
    All(Box<Node>),
}

/// How two numbers are compared; the other two orders are these with the sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Lt,
    Le,
    Eq,
}

/// A number.
#[derive(Debug)]
pub enum Num {
    Is(f64),
    Fact(Fact),
    /// How many entities.
    Entities,
    /// How many characters.
    Size(Str),
}

/// A text.
#[derive(Debug)]
pub enum Str {
    Is(String),
    Fact(Fact),
    /// Of the entity at hand.
    Field(Field),
}

/// A field of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Kind,
    Value,
    Normalized,
}

impl Node {
    /// `entity` is the one at hand inside `exists` and `all`.
    pub fn test(&self, view: &View<'_>, entity: Option<&Entity>) -> bool {
        match self {
            Node::Is(b) => *b,
            Node::Fact(fact) => view.truth(*fact),
            Node::Not(a) => !a.test(view, entity),
            Node::And(ab) => ab.iter().all(|n| n.test(view, entity)),
            Node::Or(ab) => ab.iter().any(|n| n.test(view, entity)),
            Node::Compare(a, order, b) => {
                let (a, b) = (a.get(view, entity), b.get(view, entity));
                match order {
                    Order::Lt => a < b,
                    Order::Le => a <= b,
                    Order::Eq => a == b,
                }
            }
            Node::Same(a, b) => a.get(view, entity) == b.get(view, entity),
            Node::OneOf(a, words) => {
                let a = a.get(view, entity);
                words.iter().any(|w| w == a)
            }
            Node::EntityType(a) => {
                let a = a.get(view, entity);
                view.turn.entities.iter().any(|e| e.kind == a)
            }
            Node::Contains(a, b) => a.get(view, entity).contains(b.get(view, entity)),
            Node::Starts(a, b) => a.get(view, entity).starts_with(b.get(view, entity)),
            Node::Ends(a, b) => a.get(view, entity).ends_with(b.get(view, entity)),
            Node::Matches(a, regex) => regex.is_match(a.get(view, entity)),
            Node::Exists(body) => view.turn.entities.iter().any(|e| body.test(view, Some(e))),
            Node::All(body) => view.turn.entities.iter().all(|e| body.test(view, Some(e))),
        }
    }
}

impl Num {
    fn get(&self, view: &View<'_>, entity: Option<&Entity>) -> f64 {
        match self {
            Num::Is(n) => *n,
            Num::Fact(fact) => view.number(*fact),
            Num::Entities => view.turn.entities.len() as f64,
            Num::Size(text) => text.get(view, entity).chars().count() as f64,
        }
    }
}

impl Str {
    fn get<'a>(&'a self, view: &'a View<'_>, entity: Option<&'a Entity>) -> &'a str {
        match (self, entity) {
            (Str::Is(s), _) => s,
            (Str::Fact(fact), _) => view.text(*fact),
            (Str::Field(Field::Kind), Some(e)) => &e.kind,
            (Str::Field(Field::Value), Some(e)) => &e.value,
            (Str::Field(Field::Normalized), Some(e)) => &e.normalized,
            (Str::Field(_), None) => "",
        }
    }
}
