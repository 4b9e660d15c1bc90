//! How a service is: what it says of itself to health checks.
//!
//! In: what its stores and links report. Out: well, or why not in one line that an operator can act on. Never: a secret, a
//! customer's word.
use tokio::sync::watch;

/// The header of a health answer that says why a service is not well.
pub const HEADER: &str = "switchboard-condition";

/// What a service waits for; any of it can come and go while it runs.
#[derive(Debug, Clone, Default)]
pub struct Condition(Vec<watch::Receiver<Option<String>>>);

/// Where one part of a service reports.
#[derive(Debug)]
pub struct Reporter(watch::Sender<Option<String>>);

impl Condition {
    /// Needs nothing: always well.
    pub fn well() -> Self {
        Condition::default()
    }

    /// One part and where it reports; not well until it says so.
    pub fn new(starting: impl Into<String>) -> (Reporter, Self) {
        let (sender, receiver) = watch::channel(Some(starting.into()));
        (Reporter(sender), Condition(vec![receiver]))
    }

    /// Well if both are.
    #[must_use]
    pub fn and(mut self, other: Condition) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Why it is not well; none if it is.
    pub fn why(&self) -> Option<String> {
        let parts: Vec<String> = self.0.iter().filter_map(|part| part.borrow().clone()).collect();
        if parts.is_empty() { None } else { Some(parts.join("; ")) }
    }

    /// Ends at the next report; never if there is nothing to report.
    pub async fn changed(&mut self) {
        let changes = self.0.iter_mut().map(|part| {
            Box::pin(async move {
                if part.changed().await.is_err() {
                    // Whoever reported is gone, and with it all news.
                    std::future::pending::<()>().await;
                }
            })
        });
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(changes).await;
    }

    /// Ends when it is well.
    pub async fn until_well(&mut self) {
        while self.why().is_some() {
            self.changed().await;
        }
    }
}

impl Reporter {
    /// All is well.
    pub fn well(&self) {
        self.report(None);
    }

    /// It is not, for this reason.
    pub fn ill(&self, why: impl Into<String>) {
        self.report(Some(why.into()));
    }

    fn report(&self, news: Option<String>) {
        self.0.send_if_modified(|old| {
            let new = *old != news;
            if new {
                *old = news;
            }
            new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_is_well_when_all_its_parts_are() {
        let (store, one) = Condition::new("the store is not there");
        let (bus, other) = Condition::new("the bus is not there");
        let mut both = one.and(other);
        assert_eq!(both.why().as_deref(), Some("the store is not there; the bus is not there"));
        store.well();
        both.changed().await;
        assert_eq!(both.why().as_deref(), Some("the bus is not there"));
        bus.well();
        both.until_well().await;
        store.ill("gone again");
        both.changed().await;
        assert_eq!(both.why().as_deref(), Some("gone again"));
        assert_eq!(Condition::well().why(), None);
    }
}
