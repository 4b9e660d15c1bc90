//! One at a time per mark, in this process.
//!
//! In: a mark. Out: a turn; the next call with the same mark gets its own when that is dropped. Never: a wait for anybody
//! else's mark.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Who has a turn or waits for one.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Lock>>);

/// A turn, or the place in its queue.
pub struct Turn<'a> {
    turns: &'a Turns,
    mark: String,
    lock: Lock,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for a turn.
    pub async fn wait(&self, mark: String) -> Turn<'_> {
        let lock = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(mark.clone()).or_default().clone();
        // Made before waiting, so that a caller who gives up cleans up, too.
        let mut turn = Turn { turns: self, mark, lock, held: None };
        turn.held = Some(turn.lock.clone().lock_owned().await);
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut all = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's: nobody else waits, and nobody can begin to while the map is locked.
        if Arc::strong_count(&self.lock) == 2 {
            all.remove(&self.mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_stays() {
        let (turns, inside) = (Arc::new(Turns::default()), Arc::new(AtomicUsize::new(0)));
        let calls = (0..16).map(|n| {
            let (turns, inside) = (turns.clone(), inside.clone());
            tokio::spawn(async move {
                let _turn = turns.wait(format!("{}", n % 2)).await;
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.expect("runs");
        }
        assert!(turns.0.lock().expect("sound").is_empty());
    }

    #[tokio::test]
    async fn a_caller_who_gives_up_leaves_nothing() {
        let turns = Turns::default();
        let first = turns.wait("a".into()).await;
        {
            let second = turns.wait("a".into());
            let mut second = std::pin::pin!(second);
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
            assert!(polled, "the first has the turn");
            drop(first);
        }
        assert!(turns.0.lock().expect("sound").is_empty());
    }
}
