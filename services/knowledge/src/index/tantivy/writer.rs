//! The one thread that writes an index.
//!
//! Tantivy's writer blocks and takes 15 MB at least: it lives on a thread of its own and only while there is work.
use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use tantivy::{
    Index, IndexReader, IndexWriter, TantivyDocument, Term,
    query::AllQuery,
    tokenizer::{PreTokenizedString, Token},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Fields, failed, files::payload, key};
use crate::{
    analysis,
    error::Error,
    index::{Change, Document, Passage},
};

/// The least that tantivy takes: articles are small, and memory at rest counts more than the speed of a bulk load.
pub(super) const HEAP: usize = 15_000_000;
/// After so long without work the writer's memory is given back.
const IDLE: Duration = Duration::from_secs(3);

/// What is to be written.
pub(super) enum Work {
    Change(Vec<Change>),
    /// Nothing stays, and what comes is of this generation.
    Restart(Uuid),
}

/// Work, and who waits for it.
pub(super) struct Command {
    pub(super) work: Work,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
}

pub(super) fn start(
    index: Index,
    fields: Fields,
    reader: IndexReader,
    generation: Uuid,
) -> Result<(Sender<Command>, JoinHandle<()>), Error> {
    let (commands, inbox) = channel();
    let writer = Writer { index, fields, reader, generation, writer: None };
    let thread = std::thread::Builder::new().name("index-writer".to_owned()).spawn(move || writer.run(&inbox));
    Ok((commands, thread.map_err(|e| Error::Index(format!("cannot start the index writer: {e}")))?))
}

struct Writer {
    index: Index,
    fields: Fields,
    reader: IndexReader,
    generation: Uuid,
    writer: Option<IndexWriter>,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Command>) {
        loop {
            let first = if self.writer.is_some() {
                inbox.recv_timeout(IDLE)
            } else {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(first) => {
                    // Whoever came meanwhile shares the commit.
                    let all: Vec<Command> = std::iter::once(first).chain(inbox.try_iter()).collect();
                    self.serve(all);
                }
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.rest();
                    return;
                }
            }
        }
    }

    fn serve(&mut self, commands: Vec<Command>) {
        let (work, waiting): (Vec<Work>, Vec<_>) = commands.into_iter().map(|c| (c.work, c.done)).unzip();
        let before = self.generation;
        let result = self.apply(work).map_err(|e| failed(e).to_string());
        if result.is_err() {
            // Its state is unknown: the next one starts from what was committed.
            self.writer = None;
            self.generation = before;
        }
        for done in waiting {
            // Nobody waits any more: their deadline passed. The change is made all the same.
            let _ = done.send(result.clone().map_err(Error::Index));
        }
    }

    fn apply(&mut self, work: Vec<Work>) -> tantivy::Result<()> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.index.writer_with_num_threads(1, HEAP)?,
        };
        for work in work {
            match work {
                Work::Change(changes) => changes.iter().try_for_each(|change| self.change(&writer, change))?,
                Work::Restart(generation) => {
                    writer.delete_query(Box::new(AllQuery))?;
                    self.generation = generation;
                }
            }
        }
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&payload(self.generation));
        commit.commit()?;
        self.reader.reload()?;
        self.writer = Some(writer);
        Ok(())
    }

    fn change(&self, writer: &IndexWriter, change: &Change) -> tantivy::Result<()> {
        let (org, article) = match change {
            Change::Put(document) => (document.org, document.article),
            Change::Remove { org, article } => (*org, *article),
        };
        writer.delete_term(Term::from_field_text(self.fields.key, &key(org, article)));
        if let Change::Put(document) = change {
            for passage in documents(self.fields, document) {
                writer.add_document(passage)?;
            }
        }
        Ok(())
    }

    fn rest(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let ended = writer.wait_merging_threads().and_then(|()| self.reader.reload());
        if let Err(e) = ended {
            tracing::warn!(error = %e, "merging the search index failed; it stays as it was");
        }
    }
}

fn documents(fields: Fields, document: &Document) -> Vec<TantivyDocument> {
    let passages = document.passages.iter().map(|passage| {
        let mut out = TantivyDocument::new();
        out.add_text(fields.org, document.org.to_string());
        out.add_text(fields.key, key(document.org, document.article));
        out.add_text(fields.internal, if document.internal { "1" } else { "0" });
        out.add_i64(fields.expires, document.expires.map_or(i64::MAX, jiff::Timestamp::as_microsecond));
        let language = passage.language.as_str();
        for (field, text) in [
            (fields.title, &passage.title),
            (fields.heading, &passage.heading),
            (fields.tags, &passage.tags.join("; ")),
            (fields.body, &passage.text),
        ] {
            out.add_pre_tokenized_text(field, ready(analysis::tokens(text, language).into_iter().map(|t| t.term)));
        }
        if passage.is_lead() {
            out.add_text(fields.lead, "1");
            out.add_pre_tokenized_text(fields.all, ready(all_terms(&document.passages).into_iter()));
        }
        out.add_text(fields.passage, serde_json::to_string(passage).unwrap_or_default());
        out
    });
    passages.collect()
}

fn all_terms(passages: &[Passage]) -> BTreeSet<String> {
    let texts = passages
        .iter()
        .flat_map(|p| [&p.title, &p.heading, &p.text].into_iter().chain(&p.tags).map(|text| (text, &p.language)));
    texts.flat_map(|(text, language)| analysis::tokens(text, language)).map(|t| t.term).collect()
}

fn ready(terms: impl Iterator<Item = String>) -> PreTokenizedString {
    let tokens = terms.enumerate().map(|(position, text)| Token {
        offset_from: 0,
        offset_to: 0,
        position,
        text,
        position_length: 1,
    });
    PreTokenizedString { text: String::new(), tokens: tokens.collect() }
}
