//! Random numbers of a patient: Philox, so that a draw depends on the seed, its purpose and its place alone.

use med2e3_kernels::ops::sample::philox::philox;

/// What numbers are drawn for. Each purpose has its own sequence, so that one more draw for the one does not change
/// the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Plane, phase, lesion, organ, side.
    Case = 0,
    /// Sizes, positions and intensities.
    Body = 1,
    /// Size and place of the lesion.
    Lesion = 2,
    /// The scanner's noise.
    Noise = 3,
    /// Wording and choices of the questions.
    Questions = 4,
}

/// Numbers drawn one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    seed: u64,
    purpose: Purpose,
    drawn: u64,
}

impl Draws {
    /// The sequence of a seed and purpose, from its beginning.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose, drawn: 0 }
    }

    fn next(&mut self) -> u32 {
        let words = block(self.seed, self.purpose, self.drawn / 4);
        let word = words[(self.drawn % 4) as usize];
        self.drawn += 1;
        word
    }

    /// One of `0..count`, each as likely to within `count` in 2^32.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        ((u64::from(self.next()) * count as u64) >> 32) as usize
    }

    /// One of the values.
    pub(crate) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }

    /// In `low..high`, of 2^24 equally likely values.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 8) as f32 / (1u32 << 24) as f32)
    }

    /// In `-amount..amount`.
    pub(crate) fn about(&mut self, amount: f32) -> f32 {
        self.between(-amount, amount)
    }

    /// A point in the unit ball.
    pub(crate) fn in_ball(&mut self) -> [f32; 3] {
        loop {
            let point = [self.about(1.0), self.about(1.0), self.about(1.0)];
            if point.iter().map(|x| x * x).sum::<f32>() <= 1.0 {
                return point;
            }
        }
    }

    /// Puts the values in random order.
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.index(last + 1));
        }
    }
}

/// Four random words.
pub(crate) fn block(seed: u64, purpose: Purpose, index: u64) -> [u32; 4] {
    let counter = [index as u32, (index >> 32) as u32, purpose as u32, 0];
    philox(counter, [seed as u32, (seed >> 32) as u32])
}
