//! One question at a time: whoever asks while it is being answered gets that answer.
//!
//! In: a key, and how to answer. Out: the answer. Never: an answer kept for those who ask later.
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

type Flight<V> = Arc<OnceCell<V>>;

/// The questions of this moment.
pub(super) struct Flights<K, V>(Mutex<HashMap<K, Flight<V>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Flights(Mutex::default())
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Flights<K, V> {
    /// Asks, or waits for who asks already. If that one fails or gives up, the next asks.
    pub async fn join<E, F: Future<Output = Result<V, E>>>(&self, key: K, ask: impl FnOnce() -> F) -> Result<V, E> {
        let flight = self.map().entry(key).or_default().clone();
        let landing = Landing { flights: self, key, flight };
        landing.flight.get_or_try_init(ask).await.cloned()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight for those who come later, however it ended.
struct Landing<'a, K: Hash + Eq + Copy, V: Clone> {
    flights: &'a Flights<K, V>,
    key: K,
    flight: Flight<V>,
}

impl<K: Hash + Eq + Copy, V: Clone> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        let mut map = self.flights.map();
        // Unanswered, it is left to those who wait; the last one to go is alone with the map.
        let over = self.flight.initialized() || Arc::strong_count(&self.flight) <= 2;
        if over && map.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            map.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU32, Ordering},
    };

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_ask_once() {
        let (flights, asked, gate) = (Flights::default(), AtomicU32::new(0), Semaphore::new(0));
        let ask = async || {
            asked.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.expect("open").forget();
            Ok::<_, Infallible>(asked.load(Ordering::SeqCst))
        };
        let many = futures::future::join_all((0..100).map(|_| flights.join(7, ask)));
        let (answers, other) = tokio::join!(many, async {
            let other = flights.join(8, || async { Ok::<_, Infallible>(80) }).await;
            gate.add_permits(1);
            other
        });
        assert!(answers.into_iter().all(|answer| answer == Ok(1)));
        assert_eq!(other, Ok(80), "another key does not wait");
        assert!(flights.map().is_empty());
        gate.add_permits(1);
        assert_eq!(flights.join(7, ask).await, Ok(2), "who comes later asks again");
    }

    #[tokio::test]
    async fn when_one_fails_or_gives_up_the_next_asks() {
        let flights: Flights<u8, u8> = Flights::default();
        assert_eq!(flights.join(1, || async { Err("no") }).await, Err("no"));
        assert!(flights.map().is_empty());
        let gate = Semaphore::new(0);
        let mut gives_up = Box::pin(flights.join(1, || async {
            gate.acquire().await.expect("open").forget();
            Ok::<_, &str>(1)
        }));
        assert!(futures::poll!(&mut gives_up).is_pending());
        let mut waits = Box::pin(flights.join(1, || async { Ok::<_, &str>(2) }));
        assert!(futures::poll!(&mut waits).is_pending());
        drop(gives_up);
        assert_eq!(waits.await, Ok(2));
        assert!(flights.map().is_empty());
    }
}
