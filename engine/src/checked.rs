//! What is checked of a request before anything of it runs, so that only the device can fail after that.
use crate::generate::Question;
use crate::prompt::{Prompt, guiding_question};
use crate::tgis::{Aggregation, GuideWeights};
use crate::{Engine, Error, Request, Result};

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

impl Engine {
    /// Whether [`Engine::ask`] would take the request, about a volume of this engine.
    ///
    /// # Errors
    /// [`Error::Request`] if not.
    pub fn check(&self, request: &Request) -> Result<()> {
        self.checked(request).map(drop)
    }

    /// A question that can be answered.
    pub(crate) fn checked_question(&self, question: &Question<'_>) -> Result<Checked> {
        if question.volume.engine != self.id {
            return Err(Error::Foreign);
        }
        self.checked(question.request)
    }

    fn checked(&self, request: &Request) -> Result<Checked> {
        if let Some(fault) = request.sampling.fault() {
            return Err(Error::Request(format!("the sampling's {fault}")));
        }
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
        let (long, limit) = self.llm.limit(rows);
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
        Ok(Checked { prompt, rows, long, new_tokens: wanted.min(room), guide })
    }

    /// The ids of the text that guides TG-IS, where a text does.
    fn guide_ids(&self, request: &Request) -> Result<Vec<u32>> {
        let Some(Aggregation::Scored(scorer)) = &self.aggregation else { return Ok(Vec::new()) };
        let question = guiding_question(&request.conversation, request.question.as_deref());
        match &scorer.guide {
            GuideWeights::Linear { .. } => Ok(Vec::new()),
            GuideWeights::BertPooler { .. } => {
                let (Some(encoder), Some(tokenizer)) = (&self.text_encoder, &self.bert_tokenizer) else {
                    unreachable!("a model guided by BERT is loaded with it")
                };
                let ids = tokenizer.encode(&question, encoder.tokens_max())?;
                check_ids(ids.iter(), encoder.vocabulary(), "BERT's tokenizer gives")?;
                Ok(ids)
            }
            GuideWeights::LlmMean { .. } => {
                let mut ids = self.tokenizer.encode_chunk(&question)?;
                ids.truncate(self.config.llm_max_length);
                if ids.is_empty() {
                    return Err(Error::Request(
                        "the question that guides TG-IS is empty; give one with --question".into(),
                    ));
                }
                check_ids(ids.iter(), self.config.llm.vocab_size, "the tokenizer gives")?;
                Ok(ids)
            }
        }
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
