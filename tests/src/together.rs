//! Questions that are asked at the same time.
use med2e3::{Answer, Engine, Request, Result, Volume};

/// The result of each question, all of which come to the engine at once.
pub fn together(engine: &Engine, questions: &[(&Volume, &Request)]) -> Vec<Result<Answer>> {
    let answers = engine.submit_all(questions.iter().map(|&(volume, request)| (volume, request.clone())));
    answers.into_iter().map(|answering| answering?.finish()).collect()
}
