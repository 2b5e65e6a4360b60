//! Who may ask: named keys, of which the server keeps hashes alone.
use sha2::{Digest, Sha256};

/// Fewer characters are guessed too soon.
const KEY_CHARS_MIN: usize = 16;
/// The longest name of a key.
const NAME_CHARS_MAX: usize = 64;

/// Named keys. Files, and turns in the queue, are a key's own.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    name: String,
    hash: [u8; 32],
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner(pub usize);

/// Whose request it is, and which.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub owner: Owner,
    /// The request's id.
    pub request: String,
}

impl Keys {
    /// Reads lines of a name, blanks, and a key; empty ones and those that begin with `#` do not count.
    ///
    /// # Errors
    /// A sentence that names the line, and never a key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(key), None) = (words.next(), words.next(), words.next()) else {
                return Err(format!("line {number} is not a name and a key; write both, with a blank between them"));
            };
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            if name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
                let wanted = format!("use at most {NAME_CHARS_MAX} letters, digits, -, _ and .");
                return Err(format!("line {number} has a name that no log should hold; {wanted}"));
            }
            if key.len() < KEY_CHARS_MIN {
                return Err(format!(
                    "the key in line {number} is too short; make it {KEY_CHARS_MIN} characters or more"
                ));
            }
            let hash: [u8; 32] = Sha256::digest(key).into();
            if keys.iter().any(|known| known.name == name || known.hash == hash) {
                return Err(format!("line {number} has a name or a key that an earlier line has; give each its own"));
            }
            keys.push(Key { name: name.to_owned(), hash });
        }
        if keys.is_empty() { Err("it holds no key; write a name and a key on a line".into()) } else { Ok(Self(keys)) }
    }

    /// Whether there are none, so that everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key it is. Every key's hash is compared whole, so that time tells nothing of a key.
    pub(crate) fn owner(&self, key: &str) -> Option<Owner> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let differs = |known: &Key| known.hash.iter().zip(&hash).fold(0, |found, (a, b)| found | (a ^ b)) != 0;
        let mut owner = None;
        for (index, known) in self.0.iter().enumerate() {
            if !differs(known) {
                owner = Some(Owner(index));
            }
        }
        owner
    }

    /// What an owner is called in the log.
    pub(crate) fn name(&self, owner: Owner) -> &str {
        self.0.get(owner.0).map_or("-", |key| &key.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names_and_open_what_is_theirs() {
        let keys = Keys::parse("# ours\nward-3 0123456789abcdef\n\n  lab\tfedcba9876543210 \n").unwrap();
        assert_eq!(keys.owner("0123456789abcdef"), Some(Owner(0)));
        assert_eq!(keys.owner("fedcba9876543210").map(|owner| keys.name(owner)), Some("lab"));
        assert_eq!(keys.owner("0123456789abcdeF"), None);
        assert!(!format!("{keys:?}").contains("0123456789abcdef"), "keys are not shown");
    }

    #[test]
    fn a_refusal_names_the_line_and_not_the_key() {
        let lines = [
            "",
            "# nothing",
            "lab",
            "lab secret-secret-secret more",
            "lab short-secret",
            "l\u{e4}b secret-secret-secret",
            "a secret-secret-secret\na other-secret-secret",
            "a secret-secret-secret\nb secret-secret-secret",
        ];
        for text in lines {
            let error = Keys::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
