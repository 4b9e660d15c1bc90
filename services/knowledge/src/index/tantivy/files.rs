//! The folder of an index: opening it, or making a new one in its place.
use std::{fs, path::Path};

use sha2::{Digest as _, Sha256};
use tantivy::{
    Index, TantivyDocument,
    schema::{FAST, IndexRecordOption, NumericOptions, STORED, STRING, Schema, TextFieldIndexing, TextOptions},
};
use uuid::Uuid;

use super::{Fields, writer};
use crate::{article::hex, error::Error};

/// Counts up when passages or their terms are made in another way: older indexes are then built anew.
const FORMAT: u32 = 1;

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    // Terms are made by `analysis` and handed over ready; the tokenizer's name only stands in the schema.
    let terms = |record| {
        TextOptions::default()
            .set_indexing_options(TextFieldIndexing::default().set_tokenizer("raw").set_index_option(record))
    };
    let scored = || terms(IndexRecordOption::WithFreqs);
    let fields = Fields {
        org: schema.add_text_field("org", STRING),
        key: schema.add_text_field("key", STRING),
        internal: schema.add_text_field("internal", STRING),
        expires: schema.add_i64_field("expires", NumericOptions::from(FAST)),
        title: schema.add_text_field("title", scored()),
        heading: schema.add_text_field("heading", scored()),
        tags: schema.add_text_field("tags", scored()),
        body: schema.add_text_field("body", scored()),
        all: schema.add_text_field("all", terms(IndexRecordOption::Basic)),
        lead: schema.add_text_field("lead", STRING),
        passage: schema.add_text_field("passage", STORED),
    };
    (schema.build(), fields)
}

/// What is noted in the index with every commit: the generation, and what its terms were made with.
pub(super) fn payload(generation: Uuid) -> String {
    format!("{generation} {}", maker())
}

/// What terms are made with.
fn maker() -> String {
    let tables = Sha256::new()
        .chain_update(include_str!("../../synonyms.txt"))
        .chain_update(include_str!("../../stopwords.txt"))
        .finalize();
    format!("{FORMAT} {}", &hex(&tables)[..16])
}

/// The index of the folder, or a new one in its place, and its generation.
pub(super) fn open(folder: &Path, new_generation: Uuid) -> Result<(Index, Fields, Uuid), Error> {
    let shown = folder.display();
    let (schema, fields) = schema();
    if folder.join("meta.json").exists() {
        match existing(folder, &schema) {
            Ok((index, generation)) => return Ok((index, fields, generation)),
            Err(why) => {
                tracing::warn!(folder = %shown, why, "the search index is built anew from the articles");
            }
        }
    }
    let unwritable = |e: std::io::Error| {
        Error::Index(format!("cannot write to the index folder {shown}: {e}; choose another with stores.index"))
    };
    fs::create_dir_all(folder).map_err(unwritable)?;
    clear(folder).map_err(unwritable)?;
    let made = Index::create_in_dir(folder, schema).and_then(|index| {
        // An empty index says whose it is too: the next start then keeps it.
        let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, writer::HEAP)?;
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&payload(new_generation));
        commit.commit()?;
        writer.wait_merging_threads()?;
        Ok(index)
    });
    let index = made.map_err(|e| Error::Index(format!("cannot make an index in {shown}: {e}")))?;
    Ok((index, fields, new_generation))
}

fn existing(folder: &Path, schema: &Schema) -> Result<(Index, Uuid), String> {
    let damaged = |e: tantivy::TantivyError| format!("it is damaged: {e}");
    let index = Index::open_in_dir(folder).map_err(damaged)?;
    if index.schema() != *schema {
        return Err("it was made by another version".to_owned());
    }
    let payload = index.load_metas().map_err(damaged)?.payload.unwrap_or_default();
    let generation = payload.split_once(' ').filter(|(_, by)| *by == maker());
    let generation = generation.and_then(|(generation, _)| Uuid::try_parse(generation).ok());
    let generation = generation.ok_or("it was made by another version")?;
    let broken = index.validate_checksum().map_err(damaged)?;
    if !broken.is_empty() {
        return Err(format!("it is damaged: {} files are not as they were written", broken.len()));
    }
    index.reader().map_err(damaged)?;
    Ok((index, generation))
}

/// Removes the files of an index and nothing else: the folder is the user's choice and may hold other things.
fn clear(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stem = name.split('.').next().unwrap_or_default();
        let segment = stem.len() == 32 && stem.bytes().all(|b| b.is_ascii_hexdigit());
        let ours = segment
            || name == "meta.json"
            || name == ".managed.json"
            || (name.starts_with(".tantivy-") && name.ends_with(".lock"));
        if ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
