//! One after the other.
use super::Advance;
use crate::Result;

pub(crate) fn run(mut op: Advance<'_>) -> Result<()> {
    op.check()?;
    op.counters.host::<u32>()?.iter_mut().for_each(|counter| *counter = counter.wrapping_add(1));
    Ok(())
}
