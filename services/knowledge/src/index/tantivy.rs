//! Passages in tantivy, in a folder.
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use moka::sync::Cache;
use tantivy::{
    DocAddress, DocId, IndexReader, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
    collector::{Count, FilterCollector, TopDocs},
    index::SegmentId,
    query::{
        Bm25StatisticsProvider, BooleanQuery, BoostQuery, ConstScoreQuery, EnableScoring, Occur, Query as TantivyQuery,
        TermQuery,
    },
    schema::{Field, IndexRecordOption, Value as _},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Analyzed, Change, Found, Hit, Index, Passage, Query};
use crate::{
    analysis::{Concept, TermId},
    error::Error,
};

use counted::{Counted, View};

mod counted;
mod files;
mod writer;

/// What a match counts by field: a title says what an article is about, a body mentions much in passing. They choose the
/// candidates; `relevance` ranks them.
const BOOSTS: Boosts = Boosts { title: 3.0, heading: 2.0, tags: 1.5, body: 1.0 };
/// What a word counts that is spelled nearly like the one asked for.
const MISSPELLED: f32 = 0.8;
/// Memory for analyzed passages, enough for those of a few hundred articles; analyzing is most of what a search costs.
const CACHE_BYTES: u64 = 12 << 20;
/// Above so many passages a search may take longer than a worker should be held.
const QUICK: u64 = 20_000;

struct Boosts {
    title: f32,
    heading: f32,
    tags: f32,
    body: f32,
}

/// The fields of the schema.
#[derive(Debug, Clone, Copy)]
struct Fields {
    org: Field,
    /// `ORG/ARTICLE`: what a change replaces.
    key: Field,
    internal: Field,
    expires: Field,
    title: Field,
    heading: Field,
    tags: Field,
    body: Field,
    /// All terms of the whole article, only on its lead: counts articles, not passages.
    all: Field,
    /// `1` on leads.
    lead: Field,
    passage: Field,
}

/// An index in a folder.
pub struct TantivyIndex {
    shared: Arc<Shared>,
    generation: Mutex<Uuid>,
    commands: Option<std::sync::mpsc::Sender<writer::Command>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    fields: Fields,
    reader: IndexReader,
    // A document of a segment never changes: its place is its name.
    passages: Cache<(SegmentId, DocId), Arc<Analyzed>>,
    counted: Counted,
}

impl TantivyIndex {
    /// Opens the index of a folder. One that is missing, damaged or made by other code is replaced by an empty one of a new
    /// generation.
    pub fn open(folder: &Path, new_generation: Uuid) -> Result<Self, Error> {
        let (index, fields, generation) = files::open(folder, new_generation)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(failed)?;
        let weigh = |_: &(SegmentId, DocId), a: &Arc<Analyzed>| u32::try_from(a.size()).unwrap_or(u32::MAX);
        let passages = Cache::builder().max_capacity(CACHE_BYTES).weigher(weigh).build();
        let (commands, thread) = writer::start(index, fields, reader.clone(), generation)?;
        let shared = Arc::new(Shared { fields, reader, passages, counted: Counted::default() });
        Ok(TantivyIndex { shared, generation: Mutex::new(generation), commands: Some(commands), thread: Some(thread) })
    }

    async fn write(&self, work: writer::Work) -> Result<(), Error> {
        let gone = || Error::Index("the index writer has ended".to_owned());
        let (done, wait) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(gone)?;
        commands.send(writer::Command { work, done }).map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}

impl Drop for TantivyIndex {
    fn drop(&mut self) {
        // The writer ends when nobody can ask it any more, and gives the folder free.
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the index writer panicked");
        }
    }
}

#[async_trait]
impl Index for TantivyIndex {
    async fn apply(&self, changes: Vec<Change>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(writer::Work::Change(changes)).await
    }

    async fn generation(&self) -> Result<Uuid, Error> {
        Ok(*self.generation.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn restart(&self, generation: Uuid) -> Result<(), Error> {
        self.write(writer::Work::Restart(generation)).await?;
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = generation;
        Ok(())
    }

    async fn search(&self, query: Query) -> Result<Found, Error> {
        let searcher = self.shared.reader.searcher();
        let shared = self.shared.clone();
        let quick = searcher.num_docs() <= QUICK;
        let run = move || shared.search(&searcher, query).map_err(failed);
        if quick {
            return run();
        }
        tokio::task::spawn_blocking(run).await.map_err(|e| Error::Index(e.to_string()))?
    }
}

fn failed(error: TantivyError) -> Error {
    Error::Index(error.to_string())
}

fn key(org: Uuid, article: Uuid) -> String {
    format!("{org}/{article}")
}

impl Shared {
    fn search(&self, searcher: &Searcher, query: Query) -> tantivy::Result<Found> {
        let fields = self.fields;
        let filter = self.filter(&query);
        let known = self.counted.of(searcher.generation().generation_id(), query.org, query.internal);
        let articles = match known.articles() {
            Some(articles) => articles,
            None => known.keep_articles(searcher.search(&and(&filter, [term(fields.lead, "1")]), &Count)? as u64),
        };
        if articles == 0 {
            return Ok(Found {
                frequencies: vec![0; query.concepts.len()],
                concepts: query.concepts,
                ..Found::default()
            });
        }
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut concepts = query.concepts.clone();
        let mut frequencies = Vec::with_capacity(concepts.len());
        for concept in &mut concepts {
            for (text, _) in &concept.terms {
                self.count(searcher, &known, &filter, text, &mut counts)?;
            }
            let nowhere = counts.get(&concept.terms[0].0).is_none_or(|n| *n == 0);
            if nowhere && !concept.filler {
                self.spell(searcher, &known, &filter, concept, &mut counts)?;
            }
            let seen = |(text, _): &(String, f32)| counts.get(text).copied().unwrap_or(0);
            // The word itself tells how rare it is; a near word only if the word is nowhere.
            let frequency = match seen(&concept.terms[0]) {
                0 => concept.terms.iter().map(seen).max().unwrap_or(0),
                n => n,
            };
            frequencies.push(frequency);
        }
        let statistics = Statistics { searcher, articles, counts: &counts };
        let mut places = self.by_words(searcher, &query, &filter, &concepts, &statistics)?;
        for place in self.pinned(searcher, &query, &filter)? {
            if places.iter().all(|(_, known)| *known != place) {
                places.push((0.0, place));
            }
        }
        let hits = places
            .into_iter()
            .map(|(bm25, place)| Ok(Hit { passage: self.passage(searcher, place)?, bm25, cosine: None }));
        Ok(Found { hits: hits.collect::<tantivy::Result<_>>()?, articles, concepts, frequencies })
    }

    /// What every query carries: the organization, and whether internal passages count.
    fn filter(&self, query: &Query) -> Vec<(Occur, Box<dyn TantivyQuery>)> {
        let org = ConstScoreQuery::new(term(self.fields.org, &query.org.to_string()), 0.0);
        let mut filter: Vec<(Occur, Box<dyn TantivyQuery>)> = vec![(Occur::Must, Box::new(org))];
        if !query.internal {
            filter.push((Occur::MustNot, term(self.fields.internal, "1")));
        }
        filter
    }

    fn count(
        &self,
        searcher: &Searcher,
        known: &View<'_>,
        filter: &[(Occur, Box<dyn TantivyQuery>)],
        text: &str,
        counts: &mut HashMap<String, u64>,
    ) -> tantivy::Result<u64> {
        if let Some(count) = counts.get(text) {
            return Ok(*count);
        }
        let id = TermId::of(text);
        let count = match known.count(id) {
            Some(count) => count,
            None => known.keep_count(id, searcher.search(&and(filter, [term(self.fields.all, text)]), &Count)? as u64),
        };
        counts.insert(text.to_owned(), count);
        Ok(count)
    }

    /// Adds the word that an unknown one is a misspelling of.
    fn spell(
        &self,
        searcher: &Searcher,
        known: &View<'_>,
        filter: &[(Occur, Box<dyn TantivyQuery>)],
        concept: &mut Concept,
        counts: &mut HashMap<String, u64>,
    ) -> tantivy::Result<()> {
        let word = &concept.terms[0].0;
        let id = TermId::of(word);
        let meant = match known.meant(id) {
            Some(meant) => meant,
            None => known.keep_meant(id, self.meant(searcher, known, filter, word, counts)?),
        };
        if let Some(meant) = meant {
            self.count(searcher, known, filter, &meant, counts)?;
            concept.terms.push((meant.as_ref().to_owned(), MISSPELLED));
        }
        Ok(())
    }

    /// The word that an unknown one is a misspelling of. Only among words with the same beginning: that is where
    /// people look when they type, and it keeps the walk over the dictionary short.
    fn meant(
        &self,
        searcher: &Searcher,
        known: &View<'_>,
        filter: &[(Occur, Box<dyn TantivyQuery>)],
        word: &str,
        counts: &mut HashMap<String, u64>,
    ) -> tantivy::Result<Option<Arc<str>>> {
        let length = word.chars().count();
        if length < 5 || !word.chars().all(char::is_alphabetic) {
            return Ok(None);
        }
        let allowed = if length >= 8 { 2 } else { 1 };
        let start: String = word.chars().take(2).collect();
        let mut near: Vec<(usize, String)> = vec![];
        for segment in searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.all)?;
            let mut stream = index.terms().range().ge(start.as_bytes()).into_stream()?;
            while stream.advance() {
                let Ok(other) = std::str::from_utf8(stream.key()) else { continue };
                if !other.starts_with(&start) {
                    break;
                }
                let distance = strsim::osa_distance(other, word);
                if distance <= allowed && near.iter().all(|(_, n)| n != other) {
                    near.push((distance, other.to_owned()));
                }
            }
        }
        near.sort();
        for (_, other) in near.into_iter().take(3) {
            if self.count(searcher, known, filter, &other, counts)? > 0 {
                return Ok(Some(other.into()));
            }
        }
        Ok(None)
    }

    fn by_words(
        &self,
        searcher: &Searcher,
        query: &Query,
        filter: &[(Occur, Box<dyn TantivyQuery>)],
        concepts: &[Concept],
        statistics: &Statistics<'_>,
    ) -> tantivy::Result<Vec<(f32, DocAddress)>> {
        let fields = self.fields;
        let by_field = [
            (fields.title, BOOSTS.title),
            (fields.heading, BOOSTS.heading),
            (fields.tags, BOOSTS.tags),
            (fields.body, BOOSTS.body),
        ];
        let mut any: Vec<(Occur, Box<dyn TantivyQuery>)> = vec![];
        for (text, weight) in concepts.iter().flat_map(|c| &c.terms) {
            if statistics.counts.get(text).is_none_or(|n| *n == 0) {
                continue;
            }
            for (field, boost) in by_field {
                let scored = TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::WithFreqs);
                any.push((Occur::Should, Box::new(BoostQuery::new(Box::new(scored), boost * weight))));
            }
        }
        if any.is_empty() {
            return Ok(vec![]);
        }
        let whole = and(filter, [Box::new(BooleanQuery::new(any)) as Box<dyn TantivyQuery>]);
        let now = query.now.as_microsecond();
        let top = FilterCollector::new(
            "expires".to_owned(),
            move |expires: i64| expires > now,
            TopDocs::with_limit(query.candidates.max(1)),
        );
        searcher.search_with_statistics_provider(&whole, &top, statistics)
    }

    fn pinned(
        &self,
        searcher: &Searcher,
        query: &Query,
        filter: &[(Occur, Box<dyn TantivyQuery>)],
    ) -> tantivy::Result<Vec<DocAddress>> {
        if query.pinned.is_empty() {
            return Ok(vec![]);
        }
        let any = query.pinned.iter().map(|id| (Occur::Should, term(self.fields.key, &key(query.org, *id)))).collect();
        let whole = and(filter, [Box::new(BooleanQuery::new(any)) as Box<dyn TantivyQuery>]);
        let now = query.now.as_microsecond();
        // An article has a handful of passages; the lead is among the first.
        let top = TopDocs::with_limit(query.pinned.len() * 12);
        let top = FilterCollector::new("expires".to_owned(), move |expires: i64| expires > now, top);
        let found = searcher.search_with_executor(
            &whole,
            &top,
            searcher.index().search_executor(),
            EnableScoring::disabled_from_searcher(searcher),
        )?;
        Ok(found.into_iter().map(|(_, place)| place).collect())
    }

    fn passage(&self, searcher: &Searcher, place: DocAddress) -> tantivy::Result<Arc<Analyzed>> {
        let name = (searcher.segment_reader(place.segment_ord).segment_id(), place.doc_id);
        if let Some(known) = self.passages.get(&name) {
            return Ok(known);
        }
        let document: TantivyDocument = searcher.doc(place)?;
        let text = document.get_first(self.fields.passage).and_then(|v| v.as_str()).unwrap_or_default();
        let passage: Passage = serde_json::from_str(text)
            .map_err(|e| TantivyError::InternalError(format!("a passage cannot be read: {e}")))?;
        let analyzed = Arc::new(Analyzed::new(passage));
        self.passages.insert(name, analyzed.clone());
        Ok(analyzed)
    }
}

fn term(field: Field, text: &str) -> Box<dyn TantivyQuery> {
    Box::new(TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::Basic))
}

fn and<const N: usize>(filter: &[(Occur, Box<dyn TantivyQuery>)], more: [Box<dyn TantivyQuery>; N]) -> BooleanQuery {
    let mut all: Vec<_> = filter.iter().map(|(occur, query)| (*occur, query.box_clone())).collect();
    all.extend(more.into_iter().map(|query| (Occur::Must, query)));
    BooleanQuery::new(all)
}

/// The numbers of one organization: another's articles must not move its scores.
struct Statistics<'a> {
    searcher: &'a Searcher,
    articles: u64,
    counts: &'a HashMap<String, u64>,
}

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        // Only used as an average length, which is much the same for everybody.
        let passages = Bm25StatisticsProvider::total_num_docs(self.searcher)?.max(1);
        Ok((self.searcher.total_num_tokens(field)? * self.articles).div_ceil(passages))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.articles)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let count = term.value().as_str().and_then(|text| self.counts.get(text)).copied();
        Ok(count.unwrap_or(1).min(self.articles))
    }
}
