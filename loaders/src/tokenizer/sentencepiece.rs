//! The SentencePiece file format: `tokenizer.model` to checked pieces and a BPE model with merges.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use prost::Message;
use tokenizers::models::bpe::BPE;

use super::read_file;
use crate::error::{Error, Result};

/// `ModelType::BPE` of the format.
const MODEL_BPE: i32 = 2;
/// The longest piece we take, since cutting takes time with the square; SentencePiece allows 16 characters by default.
const PIECE_BYTES_MAX: usize = 128;
/// Most ways, on average, to cut a piece into two others; Llama's pieces have 2.
const MERGES_PER_PIECE_MAX: usize = 16;

/// What a piece is for, by the numbers of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    Control,
    Byte,
}

/// One row of the vocabulary; its id is its index.
pub(super) struct Piece {
    pub text: String,
    pub kind: PieceKind,
    score: f32,
}

/// A checked `tokenizer.model`.
pub(super) struct PieceModel {
    pub pieces: Vec<Piece>,
    pub bpe: BPE,
}

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerProto>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerProto>,
}

#[derive(Clone, PartialEq, Message)]
struct PieceProto {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerProto {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerProto {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

impl PieceModel {
    /// Reads and checks `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let bad = |finding: String| Error::bad_input(path, finding, "download the model's tokenizer.model again");
        let bytes = read_file(path)?;
        let proto = ModelProto::decode(bytes.as_slice())
            .map_err(|error| bad(format!("is not a SentencePiece model: {error}")))?;
        let byte_fallback = check_specs(&proto).map_err(bad)?;
        let pieces = check_pieces(proto.pieces, byte_fallback).map_err(bad)?;
        let bpe = build_bpe(&pieces, byte_fallback).map_err(bad)?;
        Ok(Self { pieces, bpe })
    }
}

/// Refuses settings other than those of the Llama family; answers whether unknown characters become bytes.
fn check_specs(proto: &ModelProto) -> Result<bool, String> {
    let (Some(trainer), Some(normalizer)) = (&proto.trainer, &proto.normalizer) else {
        return Err("ends before its trainer and normalizer settings".to_owned());
    };
    let model_type = trainer.model_type.unwrap_or(1);
    if model_type != MODEL_BPE {
        return Err(format!("has model type {model_type}, we run {MODEL_BPE} (BPE)"));
    }
    let wanted = [
        ("treat_whitespace_as_suffix", trainer.treat_whitespace_as_suffix.unwrap_or(false), false),
        ("add_dummy_prefix", normalizer.add_dummy_prefix.unwrap_or(true), true),
        ("remove_extra_whitespaces", normalizer.remove_extra_whitespaces.unwrap_or(true), false),
        ("escape_whitespaces", normalizer.escape_whitespaces.unwrap_or(true), true),
    ];
    if let Some((name, found, want)) = wanted.iter().find(|(_, found, want)| found != want) {
        return Err(format!("has {name} = {found}, we run {want}"));
    }
    if normalizer.precompiled_charsmap.as_ref().is_some_and(|map| !map.is_empty()) {
        return Err("has a table of character replacements, we run the identity normalizer".to_owned());
    }
    Ok(trainer.byte_fallback.unwrap_or(false))
}

fn check_pieces(protos: Vec<PieceProto>, byte_fallback: bool) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::with_capacity(protos.len());
    let mut seen = HashSet::with_capacity(protos.len());
    for (id, proto) in protos.into_iter().enumerate() {
        let text = proto.piece.unwrap_or_default();
        let score = proto.score.unwrap_or(0.0);
        let kind = match proto.kind.unwrap_or(1) {
            1 => PieceKind::Normal,
            2 => PieceKind::Unknown,
            3 => PieceKind::Control,
            6 => PieceKind::Byte,
            other => return Err(format!("piece {id} {text:?} has type {other}, we run 1, 2, 3 and 6")),
        };
        if text.is_empty() || text.len() > PIECE_BYTES_MAX || !score.is_finite() {
            return Err(format!("piece {id} has {} bytes and score {score}", text.len()));
        }
        if (kind == PieceKind::Byte) != byte_of(&text).is_some() {
            return Err(format!("piece {id} {text:?} has type {kind:?}"));
        }
        if !seen.insert(text.clone()) {
            return Err(format!("holds the piece {text:?} twice"));
        }
        pieces.push(Piece { text, kind, score });
    }
    let unknown = pieces.iter().filter(|piece| piece.kind == PieceKind::Unknown).count();
    let bytes = pieces.iter().filter(|piece| piece.kind == PieceKind::Byte).count();
    if unknown != 1 || (byte_fallback && bytes != 256) {
        return Err(format!("holds {unknown} unknown and {bytes} byte pieces, it needs 1 and 256"));
    }
    Ok(pieces)
}

/// The byte that a piece like `<0x0A>` stands for.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// SentencePiece joins the neighbours whose join has the best score; as ranked merges that is every way to cut a piece
/// into two pieces, best score first.
fn build_bpe(pieces: &[Piece], byte_fallback: bool) -> Result<BPE, String> {
    let normal = |(id, piece): (usize, &'_ Piece)| (piece.kind == PieceKind::Normal).then_some(id);
    let ids: HashMap<&str, usize> =
        pieces.iter().enumerate().filter_map(|row| normal(row).map(|id| (row.1.text.as_str(), id))).collect();
    let mut merges = Vec::new();
    for (&text, &id) in &ids {
        for (cut, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(cut);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                merges.push((id, left, right));
            }
        }
        if merges.len() > MERGES_PER_PIECE_MAX * pieces.len() {
            return Err(format!("has more than {MERGES_PER_PIECE_MAX} ways to make a piece of others, on average"));
        }
    }
    let score = |id: usize| pieces[id].score;
    merges.sort_by(|a, b| score(b.0).total_cmp(&score(a.0)).then(a.cmp(b)));
    let text = |id: usize| pieces[id].text.clone();
    let merges: Vec<_> = merges.into_iter().map(|(_, left, right)| (text(left), text(right))).collect();
    let vocab = (0u32..).zip(pieces).map(|(id, piece)| (piece.text.clone(), id));
    let unknown = pieces.iter().find(|piece| piece.kind == PieceKind::Unknown).map(|piece| piece.text.clone());
    BPE::builder()
        .vocab_and_merges(vocab.collect::<tokenizers::models::bpe::Vocab>(), merges)
        .unk_token(unknown.unwrap_or_default())
        .fuse_unk(true)
        .byte_fallback(byte_fallback)
        .build()
        .map_err(|error| format!("does not make a BPE model: {error}"))
}
