//! What the engine does next: pure in what there is to do.

/// A unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A step of running answers.
    Decode,
    /// A pass over rows of a prompt.
    Prompt,
    /// A pass of an encoder.
    Encode,
    /// Nothing: wait for a call.
    Wait,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Whether an answer or an option goes on.
    pub decode: bool,
    /// Whether a prompt is being read or can begin.
    pub prompt: bool,
    /// Whether a volume is being encoded or waits for it.
    pub encode: bool,
}

/// Chooses units; remembers what it must, so that none waits for ever.
#[derive(Debug)]
pub(crate) struct Policy {
    last: Work,
    /// Which of the two comes first where both wait.
    prompt_is_next: bool,
}

impl Policy {
    /// Nothing has run.
    pub fn new() -> Self {
        Self { last: Work::Wait, prompt_is_next: true }
    }

    /// Running answers go on first, with at most one other unit between two of their steps; prompts and encoders take
    /// turns.
    pub fn next(&mut self, state: State) -> Work {
        let other = match (state.prompt, state.encode) {
            (true, true) if self.prompt_is_next => Some(Work::Prompt),
            (true, true) | (false, true) => Some(Work::Encode),
            (true, false) => Some(Work::Prompt),
            (false, false) => None,
        };
        let next = match other {
            Some(other) if !state.decode || self.last == Work::Decode => other,
            _ if state.decode => Work::Decode,
            _ => Work::Wait,
        };
        match next {
            Work::Prompt => self.prompt_is_next = false,
            Work::Encode => self.prompt_is_next = true,
            Work::Decode | Work::Wait => {}
        }
        self.last = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Work::{Decode, Encode, Prompt, Wait};

    fn run(decode: bool, prompt: bool, encode: bool) -> Vec<Work> {
        let mut policy = Policy::new();
        (0..6).map(|_| policy.next(State { decode, prompt, encode })).collect()
    }

    #[test]
    fn every_state_in_a_table() {
        assert_eq!(run(false, false, false), [Wait; 6]);
        assert_eq!(run(true, false, false), [Decode; 6]);
        assert_eq!(run(false, true, false), [Prompt; 6]);
        assert_eq!(run(false, false, true), [Encode; 6]);
        assert_eq!(run(false, true, true), [Prompt, Encode, Prompt, Encode, Prompt, Encode]);
        assert_eq!(run(true, true, false), [Decode, Prompt, Decode, Prompt, Decode, Prompt]);
        assert_eq!(run(true, false, true), [Decode, Encode, Decode, Encode, Decode, Encode]);
        assert_eq!(run(true, true, true), [Decode, Prompt, Decode, Encode, Decode, Prompt]);
    }

    /// An answer that begins while an encoder runs goes on after the unit at hand.
    #[test]
    fn a_new_answer_waits_for_one_unit_at_most() {
        let mut policy = Policy::new();
        assert_eq!(policy.next(State { encode: true, ..State::default() }), Encode);
        assert_eq!(policy.next(State { decode: true, encode: true, ..State::default() }), Decode);
    }
}
