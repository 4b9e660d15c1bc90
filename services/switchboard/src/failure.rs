//! How a command ends badly: one line and an exit code.
use switchboard_runtime::{Fault, Reason, SettingsError, StartError, process};

/// The check that a command makes has failed, or something it needs is missing.
pub(crate) const FAILED: u8 = 1;
/// The command was not understood.
pub(crate) const USAGE: u8 = 2;

/// The last line of a command that did not work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Failure { code: FAILED, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { code: USAGE, message: message.into() }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Failure { code: process::code(&error), message: error.to_string() }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        StartError::from(error).into()
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let code = if fault.reason == Reason::ValidationFailed { USAGE } else { FAILED };
        let named: Vec<_> = fault.fields.iter().map(|f| format!("--{}: {}", f.field, f.detail)).collect();
        let message = if named.is_empty() { fault.detail.into_owned() } else { named.join("; ") };
        Failure { code, message }
    }
}
