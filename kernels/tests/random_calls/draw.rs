//! Random numbers, and what this test makes of them: sizes, mistakes, values.
use med2e3_kernels::ops::sample::philox::philox;

/// A stream of numbers that a seed decides.
pub struct Draw {
    seed: u64,
    drawn: u32,
    /// Mistakes that the case may still make; none in half of all cases.
    mistakes: usize,
}

/// Sizes that no memory holds and whose products overflow.
const HUGE: [usize; 5] = [1 << 50, (1 << 61) - 1, 1 << 62, usize::MAX / 2 + 1, usize::MAX];

impl Draw {
    pub fn new(seed: u64) -> Self {
        let mut draw = Self { seed, drawn: 0, mistakes: 0 };
        draw.mistakes = if draw.one_in(2) { 0 } else { 1 + draw.below(2) };
        draw
    }

    pub fn word(&mut self) -> u32 {
        self.drawn += 1;
        philox([self.drawn, 0, 0, 0], [self.seed as u32, (self.seed >> 32) as u32])[0]
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.word() as usize % limit
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Whether to make a mistake here, at one place in `places`.
    pub fn errs(&mut self, places: usize) -> bool {
        let errs = self.mistakes > 0 && self.one_in(places);
        self.mistakes -= usize::from(errs);
        errs
    }

    /// `size`, or something else in its place.
    pub fn size(&mut self, size: usize) -> usize {
        if !self.errs(12) {
            return size;
        }
        match self.below(5) {
            0 => 0,
            1 => size + 1,
            2 => size.saturating_sub(1),
            3 => self.pick(&HUGE),
            _ => self.below(40),
        }
    }

    /// A number in [-1, 1) that bf16 holds exactly.
    pub fn value(&mut self) -> f32 {
        self.below(256) as f32 / 128.0 - 1.0
    }

    /// A number that an op should not trust: mostly below `limit`.
    pub fn index(&mut self, limit: usize) -> u32 {
        match self.below(24) {
            0 => limit as u32,
            1 => self.pick(&[u32::MAX, u32::MAX - 63, 1 << 31, (1 << 31) - 1, 1 << 30, 0xffff]),
            2 => (limit + self.below(200)) as u32,
            _ => self.below(limit.max(1)) as u32,
        }
    }
}
