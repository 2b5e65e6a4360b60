//! What the tokenizer tests share: the data folder, a scratch folder, and a writer of the SentencePiece format.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

/// The shared tokenizers, or `None` after saying so.
pub fn shared_tokenizers() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let data = std::env::var_os("MED2E3_SHARED_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let folder = data.join("tokenizers");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("not run: shared data folder absent (set MED2E3_SHARED_DATA)");
    None
}

/// A folder that is removed when the test ends.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// `name` is unique among the tests.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("med2e3-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    pub fn copy(&self, from: &Path) {
        self.write(from.file_name().unwrap().to_str().unwrap(), std::fs::read(from).unwrap());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A generator of repeatable numbers (xorshift64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A `tokenizer.model` in Llama's manner: `<unk>`, `<s>`, `</s>`, 256 bytes, then `pieces`, better ones first.
pub fn sentencepiece_model(pieces: &[&str]) -> Vec<u8> {
    let mut model = Vec::new();
    let mut row = |text: &str, score: f32, kind: u64| {
        let mut piece = Vec::new();
        put_bytes(&mut piece, 1, text.as_bytes());
        piece.push((2 << 3) | 5);
        piece.extend(score.to_le_bytes());
        put_number(&mut piece, 3, kind);
        put_bytes(&mut model, 1, &piece);
    };
    row("<unk>", 0.0, 2);
    row("<s>", 0.0, 3);
    row("</s>", 0.0, 3);
    (0..=255u8).for_each(|byte| row(&format!("<0x{byte:02X}>"), 0.0, 6));
    pieces.iter().enumerate().for_each(|(rank, text)| row(text, -(rank as f32), 1));
    let mut trainer = Vec::new();
    put_number(&mut trainer, 3, 2);
    put_number(&mut trainer, 35, 1);
    put_bytes(&mut model, 2, &trainer);
    let mut normalizer = Vec::new();
    put_bytes(&mut normalizer, 1, b"identity");
    put_number(&mut normalizer, 3, 1);
    put_number(&mut normalizer, 4, 0);
    put_number(&mut normalizer, 5, 1);
    put_bytes(&mut model, 3, &normalizer);
    model
}

fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, (field << 3) | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
