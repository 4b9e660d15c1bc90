//! One error for everything that leaves a service.
//!
//! In: a [`Reason`] of the table in `error/v1/reason.proto` with words for the caller, or a `Status` that came back from
//! another service. Out: a `google.rpc.Status` with `ErrorInfo`, or an RFC 9457 [`Problem`] for the edge.
//! Never: internal text on the wire — the source stays in the span that handles the error.
#![deny(missing_docs)]

use std::{borrow::Cow, collections::HashMap, error::Error as StdError, fmt, time::Duration};

use serde::Serialize;
pub use switchboard_proto::error::v1::Reason;
use switchboard_proto::{REASONS, ReasonRow};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "switchboard";

/// The row of a reason.
pub fn row(reason: Reason) -> &'static ReasonRow {
    // The table is generated from the same enum, in its order; a test walks it.
    &REASONS[reason as usize]
}

/// A field that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Path of the field in the request, such as `content` or `attachments[0].name`.
    pub field: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Why something was refused or failed.
///
/// `detail` is for the caller; `source` is for the log and never leaves the process.
pub struct Fault {
    /// The row of the table.
    pub reason: Reason,
    /// What happened and what to do, for the caller.
    pub detail: Cow<'static, str>,
    /// Fields that are wrong.
    pub fields: Vec<FieldError>,
    /// When to try again, if that is known.
    pub retry_after: Option<Duration>,
    /// Further facts for programs, such as an id.
    pub metadata: HashMap<String, String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Fault {
    /// A fault with words for the caller.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Fault {
            reason,
            detail: detail.into(),
            fields: vec![],
            retry_after: None,
            metadata: HashMap::new(),
            source: None,
        }
    }

    /// A request that is not valid because of one field.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Fault::new(Reason::ValidationFailed, detail.clone()).with_field(field, detail)
    }

    /// A bug or an outside failure that the caller can do nothing about.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Fault::new(Reason::Internal, "Something went wrong on our side. The trace id finds it in the log.")
            .with_source(source)
    }

    /// Adds a wrong field.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.fields.push(FieldError { field: field.into(), detail: detail.into() });
        self
    }

    /// Adds what caused it, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// HTTP status at the edge.
    pub fn http(&self) -> u16 {
        row(self.reason).http
    }

    /// The reason's name as clients see it.
    pub fn name(&self) -> &'static str {
        row(self.reason).name
    }

    /// True if the same request may succeed later.
    pub fn retryable(&self) -> bool {
        row(self.reason).retry
    }

    /// Reads what another service answered. A status without our `ErrorInfo` (from a proxy, or tonic itself) gets the
    /// reason that fits its code.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let known = details.error_info().filter(|info| info.domain == DOMAIN).and_then(|info| {
            Reason::from_str_name(&format!("REASON_{}", info.reason)).map(|r| (r, info.metadata.clone()))
        });
        let Some((reason, metadata)) = known else {
            let reason = match status.code() {
                Code::Cancelled => Reason::Cancelled,
                Code::InvalidArgument | Code::OutOfRange => Reason::ValidationFailed,
                Code::DeadlineExceeded => Reason::DeadlineExceeded,
                Code::PermissionDenied => Reason::PermissionDenied,
                Code::Unauthenticated => Reason::Unauthenticated,
                Code::ResourceExhausted => Reason::Overloaded,
                Code::Unavailable => Reason::Unavailable,
                Code::Unimplemented => Reason::NotImplemented,
                _ => Reason::Internal,
            };
            return Fault::new(reason, row(reason).title).with_source(status.clone());
        };
        let mut fault = Fault::new(reason, status.message().to_owned());
        fault.metadata = metadata;
        fault.retry_after = details.retry_info().and_then(|r| r.retry_delay);
        if let Some(bad) = details.bad_request() {
            fault.fields = bad
                .field_violations
                .iter()
                .map(|v| FieldError { field: v.field.clone(), detail: v.description.clone() })
                .collect();
        }
        fault
    }

    /// The problem document for the edge.
    pub fn problem(&self, instance: &str, trace_id: &str) -> Problem {
        let row = row(self.reason);
        Problem {
            kind: format!("urn:switchboard:problem:{}", row.name.to_ascii_lowercase().replace('_', "-")),
            title: row.title.to_owned(),
            status: row.http,
            detail: self.detail.to_string(),
            instance: instance.to_owned(),
            reason: row.name.to_owned(),
            trace_id: trace_id.to_owned(),
            errors: self.fields.clone(),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("reason", &self.name())
            .field("detail", &self.detail)
            .field("fields", &self.fields)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.detail)
    }
}

impl StdError for Fault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let row = row(fault.reason);
        let mut details = ErrorDetails::new();
        details.set_error_info(row.name, DOMAIN, fault.metadata.clone());
        if !fault.fields.is_empty() {
            let fields =
                fault.fields.iter().map(|f| tonic_types::FieldViolation::new(f.field.clone(), f.detail.clone()));
            details.set_bad_request(fields.collect::<Vec<_>>());
        }
        if let Some(after) = fault.retry_after {
            details.set_retry_info(Some(after));
        }
        let mut status = Status::with_error_details(Code::from_i32(row.code), fault.detail.clone(), details);
        if let Some(source) = fault.source {
            status.set_source(source.into());
        }
        status
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Fault::from_status(&status)
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable URN of the reason.
    #[serde(rename = "type")]
    pub kind: String,
    /// The reason in words; the same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// The reason's name.
    pub reason: String,
    /// Finds the request in traces and logs.
    pub trace_id: String,
    /// Fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in REASONS.iter().enumerate() {
            assert_eq!(row.number as usize, index);
            assert!(Reason::try_from(row.number).is_ok());
            assert!(!row.title.is_empty());
            assert_eq!(
                row.retry,
                matches!(row.code, 1 | 4 | 8 | 14)
                    || matches!(row.name, "IDEMPOTENCY_IN_FLIGHT" | "AI_PROCESSING_FAILED" | "PROCESSING_FAILED"),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn a_fault_survives_the_wire() {
        let fault = Fault::field("content", "1 to 5000 characters")
            .with_retry_after(Duration::from_secs(3))
            .with_metadata("id", "7");
        let back = Fault::from_status(&Status::from(fault));
        assert_eq!(back.name(), "VALIDATION_FAILED");
        assert_eq!(back.fields, [FieldError { field: "content".into(), detail: "1 to 5000 characters".into() }]);
        assert_eq!(back.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(back.metadata["id"], "7");
        assert_eq!(back.http(), 400);
    }

    #[test]
    fn the_source_never_leaves() {
        let status = Status::from(Fault::internal("password=hunter2"));
        assert!(!status.message().contains("hunter2"));
        assert!(!String::from_utf8_lossy(status.details()).contains("hunter2"));
    }

    #[test]
    fn a_foreign_status_gets_a_fitting_reason() {
        #[expect(clippy::disallowed_methods, reason = "plays a proxy's answer")]
        let status = Status::unavailable("upstream connect error");
        assert_eq!(Fault::from_status(&status).reason, Reason::Unavailable);
    }
}
