//! What callers may know of a loaded model without the thread that runs it, and what is checked of a request before
//! anything of it runs, so that only the device can fail after that.
use crate::kv::Sequence;
use crate::llm::Llm;
use crate::prompt::{Conversation, IMAGE_PLACEHOLDER, Prompt, guiding_question};
use crate::request::{STOP_BYTES_MAX, STOPS_MAX};
use crate::text_encoder::TextEncoder;
use crate::tgis::{Aggregation, GuideWeights};
use crate::{Error, Request, Result};
use med2e3_loaders::ModelConfig;
use med2e3_loaders::Tokenizers;
use med2e3_loaders::tokenizer::{BertTokenizer, LlmTokenizer, strip};
use std::sync::Arc;

/// What of a model never changes, on the host.
pub(crate) struct Facts {
    pub config: ModelConfig,
    pub tokenizer: Arc<LlmTokenizer>,
    guide: Guide,
    /// The most tokens of prompts that the short rotary factors serve, and with the long ones.
    limits: [usize; 2],
    /// Pages of the KV cache.
    pages: usize,
}

/// Which text weighs the slices.
enum Guide {
    /// None: they are not weighed, or by a learned vector, or all the same.
    None,
    /// BERT's encoding of it; BERT reads at most `tokens_max` tokens and has embeddings for `vocabulary` ids.
    Bert { tokenizer: Box<BertTokenizer>, tokens_max: usize, vocabulary: usize },
    /// The mean of the LLM's embeddings.
    LlmMean,
}

/// A request that this model can answer, and what it takes.
pub(crate) struct Checked {
    pub prompt: Prompt,
    /// Rows of the prompt, the image's included.
    pub rows: usize,
    /// Whether the long rotary factors serve it.
    pub long: bool,
    /// The most tokens that the answer may get.
    pub new_tokens: usize,
    /// What weighs the slices, as ids of BERT or of the language model; empty where no text does.
    pub guide: Vec<u32>,
}

impl Facts {
    pub fn new(
        config: ModelConfig,
        tokenizers: Tokenizers,
        aggregation: Option<&Aggregation>,
        text_encoder: Option<&TextEncoder>,
        llm: &Llm,
    ) -> Self {
        let guide = match aggregation {
            Some(Aggregation::Scored(scorer)) => match (&scorer.guide, text_encoder, tokenizers.bert) {
                (GuideWeights::BertPooler { .. }, Some(encoder), Some(tokenizer)) => Guide::Bert {
                    tokenizer: Box::new(tokenizer),
                    tokens_max: encoder.tokens_max(),
                    vocabulary: encoder.vocabulary(),
                },
                (GuideWeights::LlmMean { .. }, ..) => Guide::LlmMean,
                _ => Guide::None,
            },
            _ => Guide::None,
        };
        let limits = [llm.limit(false), llm.limit(true)];
        Self { config, tokenizer: Arc::new(tokenizers.llm), guide, limits, pages: llm.pages() }
    }

    /// Slices, height and width of the volumes it takes.
    pub fn img_size(&self) -> [usize; 3] {
        self.config.vision_3d.img_size
    }

    /// LLM tokens that stand for the image.
    pub fn image_tokens(&self) -> usize {
        self.config.rows_3d() + self.config.rows_2d()
    }

    /// Whether an id ends an answer.
    pub fn ends_answer(&self, id: u32) -> bool {
        self.config.llm.eos_token_ids.contains(&id) || self.tokenizer.eos_token_id() == Some(id)
    }

    /// Refuses voxels that are not a prepared volume.
    pub fn check_volume(&self, volume: &[f32]) -> Result<()> {
        let img_size = self.img_size();
        let wanted = img_size.iter().product::<usize>();
        if volume.len() != wanted {
            let found = volume.len();
            return Err(Error::Request(format!(
                "the volume has {found} voxels, but the model takes {img_size:?}, which is {wanted}; prepare it for \
                 that"
            )));
        }
        match volume.iter().find(|voxel| !(0.0..=1.0).contains(*voxel)) {
            Some(voxel) => Err(Error::Request(format!(
                "the volume holds {voxel}, but the model takes intensities scaled to 0..1; prepare the scan first"
            ))),
            None => Ok(()),
        }
    }

    /// What a request takes, if this model can answer it.
    pub fn checked(&self, request: &Request) -> Result<Checked> {
        if let Some(fault) = request.sampling.fault() {
            return Err(Error::Request(format!("the sampling's {fault}")));
        }
        check_stops(&request.stop)?;
        let prompt = Prompt::build(&request.conversation, &self.tokenizer)?;
        let given = request.forced.as_deref().unwrap_or_default();
        let guide = self.guide_ids(request)?;
        let vocabulary = self.config.llm.vocab_size;
        check_ids(prompt.before.iter().chain(&prompt.after), vocabulary, "the tokenizer gives")?;
        check_ids(given.iter(), vocabulary, "the given answer holds")?;
        let rows = prompt.rows(self.image_tokens());
        let most = self.config.llm_max_length;
        if rows > most {
            return Err(Error::Request(format!(
                "the prompt has {rows} tokens with the image's, but the model takes at most {most}; cut it"
            )));
        }
        let long = rows > self.limits[0];
        let limit = self.limits[usize::from(long)];
        let room = limit - rows;
        let forced = request.forced.as_ref().map_or(usize::MAX, Vec::len);
        let wanted = request.max_new_tokens.unwrap_or(usize::MAX).min(forced);
        if wanted > 0 && room == 0 {
            return Err(Error::Request(format!(
                "the prompt has {rows} tokens with the image's, all that the model takes, which leaves no room for an \
                 answer; cut it"
            )));
        }
        if request.forced.is_some() && wanted > room {
            return Err(Error::Request(format!(
                "the given answer has {wanted} tokens, but behind the prompt there is room for {room}; cut it"
            )));
        }
        let new_tokens = wanted.min(room);
        self.check_pages(Sequence::new(long).lacks(rows + new_tokens))?;
        Ok(Checked { prompt, rows, long, new_tokens, guide })
    }

    /// Whether options of at most `longest` tokens fit behind a prompt.
    pub fn check_options(&self, checked: &Checked, longest: usize) -> Result<()> {
        let limit = self.limits[usize::from(checked.long)];
        let wanted = checked.rows + longest;
        // The token that ends an answer is scored but never read.
        if wanted - 1 > limit {
            return Err(Error::Request(format!(
                "the prompt and the longest option take {wanted} tokens, but the model takes at most {limit}; cut them"
            )));
        }
        // Besides the prompt, which stays: a copy of its last page and what follows.
        let more = Sequence::new(false).lacks(wanted) - checked.rows / med2e3_kernels::PAGE_TOKENS;
        self.check_pages(Sequence::new(false).lacks(checked.rows) + more)
    }

    fn check_pages(&self, wanted: usize) -> Result<()> {
        let page = med2e3_kernels::PAGE_TOKENS;
        if wanted <= self.pages {
            return Ok(());
        }
        let wanted = wanted * page;
        let room = self.pages * page;
        Err(Error::Request(format!(
            "the question may take {wanted} tokens of the cache, which has room for {room}; ask for fewer new tokens, \
             or give the cache more room"
        )))
    }

    /// The tokens of an answer, as training joins it to the prompt, and the one that ends it.
    pub fn option_ids(&self, conversation: &Conversation, answer: &str) -> Result<Vec<u32>> {
        let text = conversation.text()?;
        let after = text.split_once(IMAGE_PLACEHOLDER).map_or("", |(_, after)| after);
        let answer = strip(answer);
        let prompt = self.tokenizer.encode_chunk(after)?;
        let joined = self.tokenizer.encode_chunk(&format!("{after} {answer}"))?;
        // Where the text's end and the answer's beginning make one token, the answer is tokenised alone.
        if answer.is_empty() {
            return Err(Error::Request("an option is empty; give each a text".into()));
        }
        let mut ids = match joined.strip_prefix(&prompt[..]) {
            Some(ids) => ids.to_vec(),
            None => self.tokenizer.encode_chunk(answer)?,
        };
        let end = self.tokenizer.eos_token_id().or(self.config.llm.eos_token_ids.first().copied());
        ids.extend(end);
        check_ids(ids.iter(), self.config.llm.vocab_size, "the tokenizer gives")?;
        Ok(ids)
    }

    /// The ids of the text that guides TG-IS, where a text does.
    fn guide_ids(&self, request: &Request) -> Result<Vec<u32>> {
        let question = guiding_question(&request.conversation, request.guide.as_deref());
        match &self.guide {
            Guide::None => Ok(Vec::new()),
            Guide::Bert { tokenizer, tokens_max, vocabulary } => {
                let ids = tokenizer.encode(&question, *tokens_max)?;
                check_ids(ids.iter(), *vocabulary, "BERT's tokenizer gives")?;
                Ok(ids)
            }
            Guide::LlmMean => {
                let mut ids = self.tokenizer.encode_chunk(&question)?;
                ids.truncate(self.config.llm_max_length);
                if ids.is_empty() {
                    return Err(Error::Request(
                        "the question that guides TG-IS is empty; give one with --guide".into(),
                    ));
                }
                check_ids(ids.iter(), self.config.llm.vocab_size, "the tokenizer gives")?;
                Ok(ids)
            }
        }
    }
}

fn check_stops(stops: &[String]) -> Result<()> {
    let found = stops.len();
    if found > STOPS_MAX {
        return Err(Error::Request(format!("{found} texts stop the answer, at most {STOPS_MAX} may")));
    }
    match stops.iter().find(|stop| !(1..=STOP_BYTES_MAX).contains(&stop.len())) {
        Some(stop) => {
            let bytes = stop.len();
            Err(Error::Request(format!(
                "a text that stops the answer has {bytes} bytes, 1 to {STOP_BYTES_MAX} are possible"
            )))
        }
        None => Ok(()),
    }
}

/// A tokenizer of another model could give ids that an embedding table of `rows` rows does not have, and so could a
/// caller; a device gives NaN for them.
fn check_ids<'a>(mut ids: impl Iterator<Item = &'a u32>, rows: usize, who: &str) -> Result<()> {
    match ids.find(|&&id| id as usize >= rows) {
        Some(id) => Err(Error::Request(format!(
            "{who} id {id}, but the model's table has {rows} rows; use the tokenizer of this model"
        ))),
        None => Ok(()),
    }
}
