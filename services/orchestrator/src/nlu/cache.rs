//! The trained model as a file, so that a warm start takes milliseconds.
//!
//! In: a folder and the examples. Out: the model, read if the file for these very examples is whole, else trained and
//! written. Never: a half-written file under the final name; a damaged one is trained anew.
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use sha2::{Digest as _, Sha256};

use super::intent::{Example, IntentModel, Vocabulary};

/// First bytes of a file; the number is raised whenever features, training or layout change.
const MAGIC: &[u8; 8] = b"SBINT\x00\x00\x01";
const CHECKSUM: usize = 32;

impl IntentModel {
    /// The model for these examples, from the folder if it is there.
    pub fn load_or_train(folder: &Path, examples: &[Example]) -> IntentModel {
        let path = file(folder, examples);
        match std::fs::read(&path) {
            Ok(bytes) => match IntentModel::from_bytes(&bytes) {
                Ok(model) => return model,
                Err(why) => {
                    tracing::warn!(file = %path.display(), why, "the intent model is damaged and is trained anew")
                }
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                tracing::warn!(file = %path.display(), error = %e, "the intent model cannot be read and is trained anew")
            }
        }
        let model = IntentModel::train(examples);
        if let Err(e) = write(&path, &model.to_bytes()) {
            tracing::warn!(file = %path.display(), error = %e, "the intent model cannot be kept; the next start trains again");
        }
        model
    }

    /// The model's name: the start of its checksum.
    pub fn version(&self) -> String {
        let bytes = self.to_bytes();
        hex(&bytes[bytes.len() - CHECKSUM..][..8])
    }

    /// The model as bytes; the same model gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let number = |out: &mut Vec<u8>, n: usize| out.extend((n as u32).to_le_bytes());
        let floats = |out: &mut Vec<u8>, all: &[f32]| all.iter().for_each(|f| out.extend(f.to_le_bytes()));
        number(&mut out, self.labels.len());
        number(&mut out, self.vocabulary.hashes.len());
        floats(&mut out, &[self.temperature, self.floor]);
        for label in &self.labels {
            number(&mut out, label.len());
            out.extend(label.as_bytes());
        }
        floats(&mut out, &self.bias);
        self.vocabulary.hashes.iter().for_each(|h| out.extend(h.to_le_bytes()));
        floats(&mut out, &self.vocabulary.rarity);
        floats(&mut out, &self.scales);
        out.extend(self.weights.iter().map(|w| w.to_le_bytes()[0]));
        let checksum = Sha256::digest(&out);
        out.extend(checksum);
        out
    }

    /// The model back from its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<IntentModel, &'static str> {
        let body = bytes.len().checked_sub(CHECKSUM).ok_or("too short")?;
        let (body, checksum) = bytes.split_at(body);
        if Sha256::digest(body)[..] != *checksum {
            return Err("the checksum is wrong");
        }
        let mut rest = Reader(body);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err("it is of another version");
        }
        let (classes, features) = (rest.number()?, rest.number()?);
        let (temperature, floor) = (rest.float()?, rest.float()?);
        let mut labels = Vec::new();
        for _ in 0..classes {
            let length = rest.number()?;
            labels.push(String::from_utf8(rest.take(length)?.to_vec()).map_err(|_| "a label is not UTF-8")?);
        }
        let bias = rest.floats(classes)?;
        let hashes = rest.take(features * 8)?.chunks_exact(8);
        let hashes = hashes.map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default())).collect();
        let vocabulary = Vocabulary::new(hashes, rest.floats(features)?);
        let scales = rest.floats(features)?;
        let weights = rest.take(features * classes)?.iter().map(|b| i8::from_le_bytes([*b])).collect();
        Ok(IntentModel { labels, temperature, floor, bias, vocabulary, scales, weights })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, &'static str> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default()) as usize)
    }

    fn float(&mut self) -> Result<f32, &'static str> {
        Ok(f32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default()))
    }

    fn floats(&mut self, n: usize) -> Result<Vec<f32>, &'static str> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// The file's name says what it was trained on, and by which version of the training.
pub fn file(folder: &Path, examples: &[Example]) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(MAGIC);
    for example in examples {
        for part in [&example.text, &example.intent] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    folder.join("models").join(format!("intent-{}.bin", hex(&hash.finalize()[..8])))
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Two that train at once, in one process or in two, write apart; the rename is atomic, and both write the same.
    static WRITES: AtomicU32 = AtomicU32::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let partial = path.with_extension(format!("{}-{write}.partial", std::process::id()));
    let mut out = std::fs::File::create(&partial)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(&partial, path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
