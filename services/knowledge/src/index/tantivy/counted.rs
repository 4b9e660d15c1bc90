//! What was counted in one state of the index.
//!
//! In: counts, as they are made. Out: the same counts, as long as the index stays as it is: how many articles an organization
//! has and how many of them have a word changes only with a commit, and counting is most of what a search would cost. Never: a
//! count of another state of the index, or of what another organization or another audience sees.
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::analysis::TermId;

/// Terms and misspellings remembered, some 60 bytes each; beyond that all are forgotten. A help centre has a few thousand.
const MOST: usize = 10_000;

/// An organization, and whether internal articles count.
type Audience = (Uuid, bool);

/// The counts of the newest state that was asked for.
#[derive(Debug, Default)]
pub(super) struct Counted {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    articles: HashMap<Audience, u64>,
    terms: HashMap<(Audience, TermId), u64>,
    meant: HashMap<(Audience, TermId), Option<Arc<str>>>,
}

impl Counted {
    /// The counts for an audience, in a state of the index.
    pub(super) fn of(&self, generation: u64, org: Uuid, internal: bool) -> View<'_> {
        View { counted: self, generation, audience: (org, internal) }
    }
}

/// The counts for one audience in one state of the index.
pub(super) struct View<'a> {
    counted: &'a Counted,
    generation: u64,
    audience: Audience,
}

impl View<'_> {
    /// How many articles there are.
    pub(super) fn articles(&self) -> Option<u64> {
        self.state()?.articles.get(&self.audience).copied()
    }

    pub(super) fn keep_articles(&self, count: u64) -> u64 {
        self.keep(|state| &mut state.articles, self.audience, count)
    }

    /// In how many articles a term occurs.
    pub(super) fn count(&self, term: TermId) -> Option<u64> {
        self.state()?.terms.get(&(self.audience, term)).copied()
    }

    pub(super) fn keep_count(&self, term: TermId, count: u64) -> u64 {
        self.keep(|state| &mut state.terms, (self.audience, term), count)
    }

    /// The word that an unknown one is a misspelling of, or that there is none.
    pub(super) fn meant(&self, term: TermId) -> Option<Option<Arc<str>>> {
        self.state()?.meant.get(&(self.audience, term)).cloned()
    }

    pub(super) fn keep_meant(&self, term: TermId, word: Option<Arc<str>>) -> Option<Arc<str>> {
        self.keep(|state| &mut state.meant, (self.audience, term), word)
    }

    /// None if another state of the index is remembered by now.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.counted.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation < self.generation {
            *state = State { generation: self.generation, ..State::default() };
        }
        Some(state).filter(|state| state.generation == self.generation)
    }

    fn keep<K: Eq + Hash, V: Clone>(&self, table: impl Fn(&mut State) -> &mut HashMap<K, V>, key: K, value: V) -> V {
        if let Some(mut state) = self.state() {
            let table = table(&mut state);
            if table.len() >= MOST {
                table.clear();
            }
            table.insert(key, value.clone());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_holds_for_its_state_and_audience_only() {
        let counted = Counted::default();
        let (org, other, term) = (Uuid::from_u128(1), Uuid::from_u128(2), TermId::of("refund"));
        let old = counted.of(1, org, false);
        assert_eq!((old.articles(), old.count(term), old.meant(term)), (None, None, None));
        assert_eq!((old.keep_articles(9), old.keep_count(term, 3)), (9, 3));
        old.keep_meant(term, Some("refund".into()));
        assert_eq!((old.articles(), old.count(term)), (Some(9), Some(3)));
        assert_eq!(old.meant(term), Some(Some("refund".into())));
        for view in [counted.of(1, other, false), counted.of(1, org, true)] {
            assert_eq!((view.articles(), view.count(term), view.meant(term)), (None, None, None));
        }
        let new = counted.of(2, org, false);
        assert_eq!((new.articles(), new.count(term)), (None, None));
        new.keep_count(term, 4);
        // A search that began before the commit neither reads nor leaves anything.
        old.keep_count(term, 3);
        assert_eq!((old.count(term), new.count(term)), (None, Some(4)));
    }

    #[test]
    fn it_stays_small() {
        let counted = Counted::default();
        let view = counted.of(1, Uuid::from_u128(1), false);
        for n in 0..MOST + 5 {
            view.keep_count(TermId::of(&n.to_string()), 1);
        }
        assert_eq!(counted.state.lock().expect("not poisoned").terms.len(), 5);
    }
}
