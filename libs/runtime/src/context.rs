//! What travels with a request through every hop: the deadline, the trace, who asks.
//!
//! In: headers, read once by the server's layers. Out: [`Context::current`] anywhere below, and headers on every call out.
//! Never: business data.
use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{caller::Caller, trace::TraceContext};

tokio::task_local! {
    static CURRENT: Context;
}

/// The request that the current task works for.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// When an answer is of no use any more.
    pub deadline: Option<Instant>,
    /// The trace.
    pub trace: TraceContext,
    /// Who asks, verified; none for methods that need no token.
    pub caller: Option<Arc<Caller>>,
    /// The edge's id of the request, for logs.
    pub request_id: Option<Arc<str>>,
}

impl Context {
    /// A context for work that starts here, with this much time.
    pub fn with_timeout(timeout: Duration) -> Self {
        Context { deadline: Some(Instant::now() + timeout), ..Context::default() }
    }

    /// The context of the running task; an empty one outside of any.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Runs a future in this context.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Time left; none if there is no deadline, zero if it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// The same with a deadline that is at most this far away.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        let limit = Instant::now() + timeout;
        self.deadline = Some(self.deadline.map_or(limit, |d| d.min(limit)));
        self
    }
}
