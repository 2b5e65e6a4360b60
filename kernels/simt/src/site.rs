//! Places in kernel source: where the compiler called a hook, or where a primitive was called.
use crate::shadow::SITES_MAX;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;

/// A place in kernel source; static text of the compiler. The same layout as `SimtSite`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct Site {
    pub file: *const c_char,
    pub line: i32,
}

/// What is known of where an access was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The address that a hook returns to.
    Code(usize),
    /// The line that called a primitive.
    Source(Site),
}

/// Entries of the first look-up; a power of two.
const CACHED: usize = 1 << 10;

/// Numbers places, so that a mark of shadow memory can hold one.
pub(crate) struct Sites {
    numbers: HashMap<Place, u32>,
    places: Vec<Place>,
    cache: Vec<(Place, u32)>,
}

impl Sites {
    pub fn new() -> Self {
        let nowhere = (Place::Code(0), 0);
        Self { numbers: HashMap::new(), places: vec![nowhere.0], cache: vec![nowhere; CACHED] }
    }

    /// The number of `place`.
    #[inline]
    pub fn number(&mut self, place: Place) -> u32 {
        let mixed = match place {
            Place::Code(pc) => pc ^ pc >> 10,
            Place::Source(site) => site.line as usize * 7,
        };
        let slot = mixed & (CACHED - 1);
        if self.cache[slot].0 == place {
            return self.cache[slot].1;
        }
        let number = self.slow(place);
        self.cache[slot] = (place, number);
        number
    }

    #[cold]
    fn slow(&mut self, place: Place) -> u32 {
        // Past the most, which no kernels of one program reach, places have no name.
        let next = if self.places.len() < SITES_MAX { self.places.len() } else { 0 };
        let places = &mut self.places;
        *self.numbers.entry(place).or_insert_with(|| {
            if next > 0 {
                places.push(place);
            }
            next as u32
        })
    }

    /// The place of a number.
    pub fn place(&self, number: u32) -> Place {
        self.places[number as usize]
    }
}

/// The last two parts of a path: the op's folder and file.
fn short(path: &str) -> &str {
    path.rmatch_indices('/').nth(1).map_or(path, |(at, _)| &path[at + 1..])
}

impl Site {
    /// Whether this is line `line` of the file that ends in `file`.
    pub fn is(self, file: &str, line: i32) -> bool {
        // SAFETY: `__builtin_FILE` gives static, terminated text.
        self.line == line
            && !self.file.is_null()
            && unsafe { CStr::from_ptr(self.file) }.to_bytes().ends_with(file.as_bytes())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_null() {
            return f.write_str("an unknown line");
        }
        // SAFETY: `__builtin_FILE` gives static, terminated text.
        let path = unsafe { CStr::from_ptr(self.file) }.to_string_lossy();
        write!(f, "{}:{}", short(&path), self.line)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pc = match self {
            Place::Source(site) => return site.fmt(f),
            Place::Code(pc) => *pc,
        };
        let mut found = None;
        // The hook returns to the instruction after its call; the byte before belongs to the line.
        backtrace::resolve(pc.wrapping_sub(1) as *mut c_void, |symbol| {
            if found.is_none()
                && let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno())
            {
                found = Some(format!("{}:{line}", short(&file.to_string_lossy())));
            }
        });
        f.write_str(found.as_deref().unwrap_or("an unknown line"))
    }
}
