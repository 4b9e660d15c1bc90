//! The service without its wire: articles, their index and their graph kept in step.
//!
//! In: what callers want of articles. Out: articles and passages. Never: a passage of an article that is archived, expired,
//! of another organization, or not for the asker's eyes.
//!
//! What is written here can be found here when the call returns. What another replica writes is found here when
//! [`Knowledge::catch_up`] was called again, which [`crate::keep`] does all the time.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::SignedDuration;
use switchboard_runtime::Clock;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    analysis::{self, TermId},
    article::{Article, NewArticle},
    codes,
    error::Error,
    graph::{Graph, Node, Solution},
    index::{Change, Document, Found, Index, Passage, Query},
    relevance::{self, Hints, Ranked},
    store::{Behind, By, ListQuery, Store, Write},
};

/// Passages looked at per question: some ten articles with all their passages, so that the cost stays flat as articles grow.
const CANDIDATES: usize = 60;
/// Articles linked to the errors of a question; an error that more have is explained by the first.
const MOST_PINNED: usize = 20;
/// A related article is a little more likely to be meant too.
const RELATED: f64 = 0.03;
/// So is one about a feature that the question names.
const TOPIC: f64 = 0.01;
/// Topics are looked up for so many: further down a bonus changes nothing that is shown.
const NEAR_THE_TOP: usize = 10;
/// Articles brought into the index in one commit.
const BATCH: u32 = 500;
/// An index that nobody used for so long is forgotten, since noting what it lacks costs every write. A replica that was away
/// for a night goes on with its own; one that comes later builds it anew, which takes less than a minute.
const UNUSED: SignedDuration = SignedDuration::from_hours(24);

/// Articles, index and graph.
#[derive(Clone)]
pub struct Knowledge {
    store: Arc<dyn Store>,
    index: Arc<dyn Index>,
    graph: Arc<dyn Graph>,
    clock: Clock,
    order: Arc<Mutex<()>>,
    /// Set when the index was compared with the store: before, it may hold anything.
    started: Arc<AtomicBool>,
}

/// A question.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The customer's words.
    pub text: String,
    /// At most so many passages.
    pub limit: usize,
    /// The language to prefer; empty if none.
    pub language: String,
    /// Internal passages too.
    pub internal: bool,
    /// The intent found so far; may be empty.
    pub intent: String,
    /// Error codes found so far.
    pub error_codes: Vec<String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The passage.
    pub passage: Passage,
    /// The part of its text that answers best.
    pub quote: String,
    /// How well it fits, 0 to 1.
    pub score: f64,
    /// Why it was found.
    pub why: String,
}

impl Knowledge {
    /// Puts the parts together. Nothing is written or found before [`Knowledge::start`].
    pub fn new(store: Arc<dyn Store>, index: Arc<dyn Index>, graph: Arc<dyn Graph>, clock: Clock) -> Self {
        Knowledge { store, index, graph, clock, order: Arc::default(), started: Arc::default() }
    }

    /// Compares the index with the store and brings it and the graph up to what the store has. An index of which the store
    /// knows nothing is emptied: it may be of other articles.
    pub async fn start(&self) -> Result<(), Error> {
        let turn = self.order.lock().await;
        if !self.stay().await? {
            self.started.store(false, Ordering::Release);
            let generation = self.clock.new_id();
            self.index.restart(generation).await?;
            self.store.start_generation(generation, self.clock.now()).await?;
        }
        drop(turn);
        let count = self.catch_up().await?;
        if count > 0 {
            tracing::info!(articles = count, "the search index was brought up to the articles");
        }
        let _turn = self.order.lock().await;
        self.build_graph().await?;
        self.started.store(true, Ordering::Release);
        Ok(())
    }

    /// Says that this index is in use, and forgets those that are not. False if this one was forgotten itself: it has to
    /// start again.
    pub async fn stay(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let known = self.store.resume_generation(self.index.generation().await?, now).await?;
        if let Ok(since) = now.checked_sub(UNUSED) {
            self.store.forget_generations(since).await?;
        }
        Ok(known)
    }

    fn ready(&self) -> Result<(), Error> {
        if self.started.load(Ordering::Acquire) { Ok(()) } else { Err(Error::Starting) }
    }

    /// Does all of it, or nothing; it can be found when this returns.
    pub async fn write(&self, org: Uuid, actor: Uuid, writes: Vec<Write>) -> Result<Vec<Article>, Error> {
        if writes.is_empty() {
            return Ok(vec![]);
        }
        self.ready()?;
        self.in_order(async move |this| {
            let articles = this.store.write(org, By { actor, now: this.clock.now() }, writes).await?;
            let current = articles.iter().filter(|a| a.current).map(|a| (org, a.clone())).collect();
            this.publish(current, vec![]).await?;
            Ok(articles)
        })
        .await
    }

    /// Runs a change of store, graph and index. One at a time: two changes of an article must not reach the index in another
    /// order than the store. To its end even if the caller has left: the index should not stay behind.
    async fn in_order<T: Send + 'static, F>(&self, change: impl FnOnce(Knowledge) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let this = self.clone();
        let change = change(self.clone());
        let run = async move {
            let _turn = this.order.lock().await;
            change.await
        };
        // The request's context goes along: its trace is this change's.
        let context = switchboard_runtime::Context::current();
        tokio::spawn(context.scope(run)).await.map_err(|e| Error::Index(e.to_string()))?
    }

    /// Publishes a new article. The same request id gives the first answer again.
    pub async fn create(
        &self,
        org: Uuid,
        actor: Uuid,
        request: Option<Uuid>,
        content: NewArticle,
    ) -> Result<Article, Error> {
        let write = Write::Create { id: self.clock.new_id(), request, content };
        self.write(org, actor, vec![write]).await?.pop().ok_or(Error::NotFound)
    }

    /// Publishes the next version.
    pub async fn update(
        &self,
        org: Uuid,
        actor: Uuid,
        id: Uuid,
        seen: Option<u32>,
        content: NewArticle,
    ) -> Result<Article, Error> {
        self.write(org, actor, vec![Write::Update { id, seen, content }]).await?.pop().ok_or(Error::NotFound)
    }

    /// Archives an article: it is not found any more when this returns. Twice is fine.
    pub async fn delete(&self, org: Uuid, actor: Uuid, id: Uuid) -> Result<(), Error> {
        self.ready()?;
        self.in_order(async move |this| {
            if !this.store.archive(org, By { actor, now: this.clock.now() }, id).await? {
                return Err(Error::NotFound);
            }
            this.publish(vec![], vec![(org, id)]).await
        })
        .await
    }

    /// An article as somebody may see it: staff see all versions of all; customers no internal and no archived ones.
    pub async fn get(&self, org: Uuid, id: Uuid, version: Option<u32>, staff: bool) -> Result<Article, Error> {
        let article = self.store.get(org, id, version).await?.ok_or(Error::NotFound)?;
        // Archived: only whoever asks for a version by number, such as one that was cited, still sees it.
        let gone = article.archived && !(staff && version.is_some());
        if gone || (article.content.internal && !staff) {
            return Err(Error::NotFound);
        }
        Ok(article)
    }

    /// Current articles by id.
    pub async fn list(
        &self,
        org: Uuid,
        after: Option<Uuid>,
        limit: u32,
        category: Option<String>,
        staff: bool,
    ) -> Result<Vec<Article>, Error> {
        let alive_at = (!staff).then(|| self.clock.now());
        self.store.list(org, ListQuery { after, limit, category, internal: staff, alive_at }).await
    }

    /// What is known of an organization's articles, for an import.
    pub async fn known(&self, org: Uuid) -> Result<Vec<crate::store::Known>, Error> {
        self.store.known(org).await
    }

    /// A new id.
    pub fn new_id(&self) -> Uuid {
        self.clock.new_id()
    }

    /// The passages that answer a question best, one per article; none if the question is about something else.
    pub async fn search(&self, org: Uuid, question: &Question) -> Result<Vec<Answer>, Error> {
        self.ready()?;
        let (linked, text) = self.errors(org, question).await?;
        let concepts = analysis::concepts(&text, &question.language);
        if concepts.iter().all(|c| c.filler) && linked.is_empty() {
            return Ok(vec![]);
        }
        let intent = analysis::term_ids(&question.intent.replace('_', " "), "en");
        let query = Query {
            org,
            concepts,
            vector: None,
            internal: question.internal,
            now: self.clock.now(),
            pinned: linked.keys().copied().collect(),
            candidates: CANDIDATES,
        };
        let found = self.index.search(query).await?;
        let hints = Hints { linked, intent, language: question.language.clone() };
        let mut ranked = relevance::rank(&found, &hints);
        let bonus = self.bonus(org, &found, &ranked).await?;
        relevance::favor(&mut ranked, &bonus);
        let weights = relevance::weights(&found);
        let answer = |ranked: relevance::Ranked| {
            let analyzed = &ranked.hit.passage;
            let (quote, passage) = (analyzed.quote(&weights).to_owned(), analyzed.passage.clone());
            Answer { quote, score: ranked.score, why: ranked.why.to_string(), passage }
        };
        Ok(ranked.into_iter().take(question.limit).map(answer).collect())
    }

    /// What the graph adds: for articles related to the best one, and for those about a feature that the question names.
    async fn bonus(&self, org: Uuid, found: &Found, ranked: &[Ranked]) -> Result<HashMap<Uuid, f64>, Error> {
        let mut bonus: HashMap<Uuid, f64> = HashMap::new();
        let Some(best) = ranked.first() else { return Ok(bonus) };
        for related in self.graph.related(org, best.article()).await? {
            *bonus.entry(related.article).or_default() += RELATED * f64::from(related.confidence);
        }
        let asked: Vec<TermId> = found.concepts.iter().map(|c| TermId::of(&c.terms[0].0)).collect();
        for one in ranked.iter().take(NEAR_THE_TOP) {
            let topics = self.graph.topics(org, one.article()).await?;
            if let Some(topic) = topics.iter().find(|topic| topic.terms.iter().all(|term| asked.contains(term))) {
                *bonus.entry(one.article()).or_default() += TOPIC * f64::from(topic.confidence);
            }
        }
        Ok(bonus)
    }

    /// The articles linked to the errors of a question, and the question with their codes spelled out.
    async fn errors(&self, org: Uuid, question: &Question) -> Result<(HashMap<Uuid, f32>, String), Error> {
        let asked = question.error_codes.iter().map(|c| codes::canonical(c));
        let mut known = vec![];
        let mut pinned: Vec<(Uuid, f32)> = vec![];
        for code in asked.chain(codes::in_question(&question.text)) {
            let linked = self.graph.about(org, &Node::Error(code.clone())).await?;
            if linked.is_empty() || known.contains(&code) {
                continue;
            }
            known.push(code);
            pinned.extend(linked.into_iter().map(|l| (l.article, l.confidence)));
        }
        pinned.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut out = HashMap::new();
        for (article, confidence) in pinned {
            if out.len() < MOST_PINNED {
                out.entry(article).or_insert(confidence);
            }
        }
        Ok((out, codes::respell(&question.text, &known)))
    }

    /// Brings graph and index to what the store has.
    async fn publish(&self, current: Vec<(Uuid, Article)>, archived: Vec<(Uuid, Uuid)>) -> Result<(), Error> {
        let mut changes = vec![];
        let mut done = vec![];
        for (org, article) in &current {
            self.graph.put(*org, Solution::of(article)).await?;
            changes.push(Change::Put(Document::of(*org, article)));
            done.push(Behind { org: *org, id: article.id, wanted: Some(article.version) });
        }
        for (org, id) in archived {
            self.graph.remove(org, id).await?;
            changes.push(Change::Remove { org, article: id });
            done.push(Behind { org, id, wanted: None });
        }
        self.index.apply(changes).await?;
        self.store.mark_indexed(self.index.generation().await?, &done).await
    }

    /// Brings index and graph up to the store: what another replica wrote, and what a crash or a failure between store and
    /// index left undone. How many articles it were.
    pub async fn catch_up(&self) -> Result<usize, Error> {
        let generation = self.index.generation().await?;
        let mut count = 0;
        loop {
            // Batch by batch: who writes meanwhile need not wait for all of it.
            let _turn = self.order.lock().await;
            let behind = self.store.behind(generation, BATCH).await?;
            if behind.is_empty() {
                return Ok(count);
            }
            let (mut current, mut gone) = (vec![], vec![]);
            for same in behind.chunk_by(|one, other| one.org == other.org) {
                let (org, ids) = (same[0].org, same.iter().map(|one| one.id).collect::<Vec<_>>());
                let articles = self.store.current(org, &ids).await?;
                gone.extend(ids.into_iter().filter(|id| articles.iter().all(|a| a.id != *id)).map(|id| (org, id)));
                current.extend(articles.into_iter().map(|article| (org, article)));
            }
            self.publish(current, gone).await?;
            count += behind.len();
        }
    }

    async fn build_graph(&self) -> Result<(), Error> {
        for org in self.store.organizations().await? {
            let mut after = None;
            loop {
                let page = self
                    .store
                    .list(org, ListQuery { after, limit: BATCH, internal: true, ..ListQuery::default() })
                    .await?;
                for article in &page {
                    self.graph.put(org, Solution::of(article)).await?;
                }
                match page.last() {
                    Some(last) => after = Some(last.id),
                    None => break,
                }
            }
        }
        Ok(())
    }
}
