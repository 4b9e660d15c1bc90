//! Errors of the domain, and their reasons.
use switchboard_runtime::{Fault, Reason};

/// What can go wrong while deciding.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A condition could not be evaluated.
    #[error("The rule `{rule}` could not be evaluated: {detail}")]
    Evaluation { rule: String, detail: String },
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let Error::Evaluation { rule, .. } = &error;
        let rule = rule.clone();
        Fault::new(Reason::RuleEvaluationFailed, error.to_string()).with_metadata("rule_id", rule)
    }
}
