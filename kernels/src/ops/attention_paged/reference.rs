//! The definition is [`crate::ops::attention_full::reference::attend`] over the cached rows that a query sees.
pub use crate::ops::attention_full::reference::attend;
