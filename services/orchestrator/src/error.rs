//! What can go wrong here, and by which reason callers learn of it.
use switchboard_runtime::{Fault, Reason};

/// Failures of the domain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Rules could not decide.
    #[error("the policy could not decide: {0}")]
    Policy(Fault),
    /// Knowledge could not be asked for a reply that needs it.
    #[error("knowledge could not be searched: {0}")]
    Knowledge(Fault),
    /// Nothing known fits.
    #[error("no passage supports a reply")]
    NothingGrounded,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            // How long it took is the caller's business whatever failed under it.
            Error::Policy(fault) | Error::Knowledge(fault) if fault.reason == Reason::DeadlineExceeded => fault,
            Error::Policy(fault) => {
                Fault::new(Reason::AiProcessingFailed, "The policy could not decide on this message. Try again.")
                    .with_source(fault)
            }
            Error::Knowledge(fault) => {
                Fault::new(Reason::GenerationFailed, "The knowledge base could not be asked.").with_source(fault)
            }
            Error::NothingGrounded => {
                Fault::new(Reason::GenerationFailed, "Nothing in the knowledge base supports a reply to this.")
            }
        }
    }
}
