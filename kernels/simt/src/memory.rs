//! Which memory kernels may use: the buffers that the device announced, and those that are gone.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

/// Freed buffers that are remembered, so that a report can name one.
const FREED_MAX: usize = 256;

/// Bytes around a buffer in which a stray access is blamed on it.
const NEAR: usize = 1 << 20;

/// Where buffers are, by address.
struct Registry {
    live: BTreeMap<usize, usize>,
    freed: VecDeque<(usize, usize)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { live: BTreeMap::new(), freed: VecDeque::new() });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Kernels may use `bytes` at `address` from now on; they count as written.
pub fn announce_buffer(address: usize, bytes: usize) {
    let mut registry = registry();
    registry.freed.retain(|&(start, len)| start + len <= address || address + bytes <= start);
    registry.live.insert(address, bytes);
}

/// The buffer at `address` is gone.
pub fn forget_buffer(address: usize) {
    let mut registry = registry();
    if let Some(bytes) = registry.live.remove(&address) {
        registry.freed.push_back((address, bytes));
        if registry.freed.len() > FREED_MAX {
            registry.freed.pop_front();
        }
    }
}

/// The buffer that `address` lies in: its start and its bytes.
pub(crate) fn find(address: usize) -> Option<(usize, usize)> {
    let registry = registry();
    let (&start, &bytes) = registry.live.range(..=address).next_back()?;
    (address - start < bytes).then_some((start, bytes))
}

/// Says where an access of `bytes` at `address` went that lies in no buffer, or not wholly.
pub(crate) fn describe_stray(address: usize, bytes: usize) -> String {
    let registry = registry();
    if let Some(&(start, len)) = registry.freed.iter().rev().find(|&&(start, len)| address.wrapping_sub(start) < len) {
        return format!("byte {} of a buffer of {len} bytes that was freed", address - start);
    }
    let before = registry.live.range(..=address).next_back().map(|(&start, &len)| (start, len));
    let after = registry.live.range(address..).next().map(|(&start, &len)| (start, len));
    let past = before.map(|(start, len)| (address + bytes).saturating_sub(start + len));
    let ahead = after.map(|(start, _)| start - address);
    match (before, past, after, ahead) {
        (Some((start, len)), Some(past), _, ahead) if past <= NEAR && ahead.is_none_or(|ahead| past <= ahead) => {
            // Counted from the end to the first byte that is outside.
            let gap = address.saturating_sub(start + len);
            format!("{gap} bytes past the end of a buffer of {len} bytes (offset {})", address - start)
        }
        (_, _, Some((_, len)), Some(ahead)) if ahead <= NEAR => {
            format!("{ahead} bytes before a buffer of {len} bytes")
        }
        _ => format!("{address:#x}, near no buffer"),
    }
}
