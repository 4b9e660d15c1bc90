//! Checks of what comes in, collected so that a caller learns of all wrong fields at once.
//!
//! In: fields. Out: one [`Fault`] that names each wrong field, or nothing. Never: a changed value.
use switchboard_errors::{Fault, FieldError, Reason};
use uuid::Uuid;

/// Collects wrong fields.
#[derive(Debug, Default)]
pub struct Check {
    errors: Vec<FieldError>,
}

impl Check {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Check::default()
    }

    /// Notes a wrong field.
    pub fn fail(&mut self, field: &str, detail: impl Into<String>) -> &mut Self {
        self.errors.push(FieldError { field: field.to_owned(), detail: detail.into() });
        self
    }

    /// Text between two lengths, counted in Unicode scalar values, and without U+0000.
    pub fn text(&mut self, field: &str, value: &str, min: usize, max: usize) -> &mut Self {
        let length = value.chars().count();
        if length < min {
            let what = if length == 0 {
                "must not be empty".to_owned()
            } else {
                format!("must have at least {min} characters")
            };
            self.fail(field, what);
        } else if length > max {
            self.fail(field, format!("must have at most {max} characters; it has {length}"));
        }
        if value.contains('\0') {
            self.fail(field, "must not contain U+0000");
        }
        self
    }

    /// A UUID. Returns the nil one if it is wrong: [`Check::done`] refuses then.
    pub fn uuid(&mut self, field: &str, value: &str) -> Uuid {
        Uuid::try_parse(value).unwrap_or_else(|_| {
            self.fail(field, if value.is_empty() { "is required" } else { "must be a UUID" });
            Uuid::nil()
        })
    }

    /// A number between two bounds.
    pub fn range(&mut self, field: &str, value: u64, min: u64, max: u64) -> &mut Self {
        if !(min..=max).contains(&value) {
            self.fail(field, format!("must be {min} to {max}"));
        }
        self
    }

    /// Something that has to be there.
    pub fn required<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.fail(field, "is required");
        }
        value
    }

    /// VALIDATION_FAILED if anything is wrong.
    pub fn done(&mut self) -> Result<(), Fault> {
        let errors = std::mem::take(&mut self.errors);
        let Some(first) = errors.first() else { return Ok(()) };
        let more = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
        let mut fault = Fault::new(Reason::ValidationFailed, format!("{} {}{more}", first.field, first.detail));
        fault.fields = errors;
        Err(fault)
    }
}
