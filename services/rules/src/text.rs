//! Texts with places: `{slot}` is filled here, `{action.NAME}` is left for whoever carries the action out.
use std::borrow::Cow;

/// A text, taken apart once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Words(String),
    Place(String),
}

impl Template {
    /// Takes a text apart; says what is wrong with its braces.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or("a `{` is never closed")? + open;
            let name = &rest[open + 1..close];
            let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
            if name.is_empty() || !name.chars().all(known) {
                return Err(format!("`{{{name}}}` is no place: use small letters, digits and `_`"));
            }
            if open > 0 {
                parts.push(Part::Words(rest[..open].to_owned()));
            }
            parts.push(Part::Place(name.to_owned()));
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Words(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// The places to be filled here, in order.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|p| match p {
            Part::Place(name) if !name.starts_with("action.") => Some(name.as_str()),
            _ => None,
        })
    }

    /// True if a place waits for an action's result.
    pub fn waits(&self) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Place(name) if name.starts_with("action.")))
    }

    /// Fills the places; what is not known becomes nothing.
    pub fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> String {
        let mut out = String::with_capacity(160);
        for part in &self.0 {
            match part {
                Part::Words(words) => out.push_str(words),
                Part::Place(name) if name.starts_with("action.") => {
                    out.push('{');
                    out.push_str(name);
                    out.push('}');
                }
                Part::Place(name) => out.push_str(&inert(value(name).unwrap_or_default())),
            }
        }
        out
    }
}

/// A customer's words never become a place of ours.
fn inert(value: &str) -> Cow<'_, str> {
    if value.contains("{action.") { Cow::Owned(value.replace("{action.", "{ action.")) } else { Cow::Borrowed(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_those_of_actions_are_left() {
        let t = Template::parse("To {email}: case {action.case_number}.").expect("parses");
        assert_eq!(t.fill(|_| Some("x@y.z")), "To x@y.z: case {action.case_number}.");
        assert_eq!(t.places().collect::<Vec<_>>(), ["email"]);
        assert!(t.waits());
    }

    #[test]
    fn a_customers_braces_stay_words() {
        let t = Template::parse("You said {what}.").expect("parses");
        assert_eq!(t.fill(|_| Some("{action.case_number}")), "You said { action.case_number}.");
    }

    #[test]
    fn broken_braces_are_named() {
        assert_eq!(Template::parse("Hello {name").expect_err("refused"), "a `{` is never closed");
        assert!(Template::parse("Hello {Na me}").expect_err("refused").contains("{Na me}"));
    }
}
