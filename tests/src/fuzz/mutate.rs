//! Deterministic mutations: case `index` of a set of seeds is the same on every machine.
use super::Seed;

/// Seeds longer than this are not cut and flipped at every place, only at random ones.
const EXHAUSTIVE_BYTES_MAX: usize = 4096;
/// Numbers at which sizes overflow, wrap or turn negative.
const NUMBERS: [u64; 12] =
    [0, 1, 2, 127, 255, 32767, 65535, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];
/// What may stand in a text where something else was.
const TEXTS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "0.5",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "[[[[[[[[",
];

/// Case `index`: every second case cuts or flips one place of a seed until all places are done, all others combine up
/// to four random mutations.
pub fn mutate(seeds: &[Seed], index: u64) -> Vec<u8> {
    let exhaustive = index.is_multiple_of(2).then(|| cut_or_flip(seeds, index / 2)).flatten();
    exhaustive.unwrap_or_else(|| {
        let mut random = Random { state: index.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        let seed = &seeds[random.below(seeds.len())];
        let mut bytes = seed.bytes.clone();
        for _ in 0..=random.below(4) {
            let other = &seeds[random.below(seeds.len())].bytes;
            random.change(&mut bytes, other);
        }
        seed.wrap(bytes)
    })
}

/// The `index`-th of: each seed cut at each length, then each seed with each bit flipped.
fn cut_or_flip(seeds: &[Seed], index: u64) -> Option<Vec<u8>> {
    let mut left = usize::try_from(index).ok()?;
    let small = || seeds.iter().filter(|seed| seed.bytes.len() <= EXHAUSTIVE_BYTES_MAX);
    for seed in small() {
        if left < seed.bytes.len() {
            return Some(seed.wrap(seed.bytes[..left].to_vec()));
        }
        left -= seed.bytes.len();
    }
    for seed in small() {
        if left < seed.bytes.len() * 8 {
            let mut bytes = seed.bytes.clone();
            bytes[left / 8] ^= 1 << (left % 8);
            return Some(seed.wrap(bytes));
        }
        left -= seed.bytes.len() * 8;
    }
    None
}

/// SplitMix64.
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0..limit`; 0 where there is nothing to choose.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A block of at most 64 bytes within `0..len`.
    fn block(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len);
        let end = start + self.below((len - start).min(64) + 1);
        start..end
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        if bytes.is_empty() {
            bytes.push(self.next() as u8);
        }
        let at = self.below(bytes.len());
        match self.below(9) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => bytes.truncate(at),
            3 => self.write_number(bytes, at),
            4 => self.write_text(bytes, at),
            5 => drop(bytes.drain(self.block(bytes.len()))),
            6 => {
                let copy = bytes[self.block(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
            7 => {
                let copy = other[self.block(other.len())].to_vec();
                let end = (at + copy.len()).min(bytes.len());
                bytes.splice(at..end, copy);
            }
            _ => {
                let noise: Vec<u8> = (0..self.below(16)).map(|_| self.next() as u8).collect();
                bytes.splice(at..at, noise);
            }
        }
    }

    /// Overwrites 2, 4 or 8 bytes with a number at which sizes go wrong, in either byte order.
    fn write_number(&mut self, bytes: &mut [u8], at: usize) {
        let number = NUMBERS[self.below(NUMBERS.len())].wrapping_sub(self.below(2) as u64);
        let width = [2, 4, 8][self.below(3)];
        let mut digits = number.to_le_bytes()[..width].to_vec();
        if self.below(2) == 0 {
            digits.reverse();
        }
        for (byte, digit) in bytes[at..].iter_mut().zip(digits) {
            *byte = digit;
        }
    }

    /// Replaces the number or word that stands at or after `at`.
    fn write_text(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
        let Some(skipped) = bytes[at..].iter().position(is_word) else { return };
        let start = at + skipped;
        let end = bytes[start..].iter().position(|byte| !is_word(byte)).map_or(bytes.len(), |length| start + length);
        bytes.splice(start..end, TEXTS[self.below(TEXTS.len())].bytes());
    }
}
