//! Which machine this is, and what goes wrong on it: `FAKE_CUDA="devices=1,capability=8.0,…"`.
use crate::Answer;
use crate::modules::is_kernel;
use cudarc::driver::sys::CUresult;

/// The driver's functions.
const FUNCTIONS: &str = include_str!("../../src/gpu/symbols.txt");

/// See the fields. Without the variable: one GPU like an A800, but of 4 GiB, and no fault.
pub struct Settings {
    /// `devices=N`: GPUs.
    pub devices: i32,
    /// `capability=MAJOR.MINOR`.
    pub capability: (i32, i32),
    /// `version=MAJOR.MINOR`: of CUDA.
    pub version: i32,
    /// `memory=BYTES`: of each GPU, shared by all.
    pub memory: usize,
    /// `fails=KERNEL`: it touches what it must not.
    pub fails: Option<String>,
    /// `refuses=FUNCTION` or `refuses=FUNCTION:N`: the driver's function, from its call number N on, counted from 0.
    refuses: Option<(String, u64)>,
    calls: u64,
}

impl Settings {
    /// What the variable says. Ends the process if it is not understood: a test that asks for a fault must not pass
    /// without.
    pub fn of_process() -> Self {
        let mut settings = Self {
            devices: 1,
            capability: (8, 0),
            version: 12_080,
            memory: 4 << 30,
            fails: None,
            refuses: None,
            calls: 0,
        };
        let text = std::env::var("FAKE_CUDA").unwrap_or_default();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            if settings.set(item).is_none() {
                eprintln!("FAKE_CUDA: {item:?} is no setting; kernels/fake-cuda/src/settings.rs has the list");
                std::process::exit(2);
            }
        }
        settings
    }

    fn set(&mut self, item: &str) -> Option<()> {
        let (name, value) = item.split_once('=')?;
        let pair = || {
            let (major, minor) = value.split_once('.')?;
            Some((major.parse::<i32>().ok()?, minor.parse::<i32>().ok()?))
        };
        match name {
            "devices" => self.devices = value.parse().ok()?,
            "capability" => self.capability = pair()?,
            "version" => self.version = pair().map(|(major, minor)| 1000 * major + 10 * minor)?,
            "memory" => self.memory = value.parse().ok()?,
            "fails" if is_kernel(value) => self.fails = Some(value.into()),
            "refuses" => {
                let (function, first) = value.split_once(':').unwrap_or((value, "0"));
                FUNCTIONS.lines().find(|known| *known == function)?;
                self.refuses = Some((function.into(), first.parse().ok()?));
            }
            _ => return None,
        }
        Some(())
    }

    /// Counts a call.
    ///
    /// # Errors
    /// If it is to be refused.
    pub fn admit(&mut self, function: &str) -> Answer {
        let Some((_, first)) = self.refuses.as_ref().filter(|(refused, _)| refused == function) else { return Ok(()) };
        self.calls += 1;
        if self.calls > *first { Err(CUresult::CUDA_ERROR_UNKNOWN) } else { Ok(()) }
    }

    /// Whether a call was refused, after which things may be left that cannot be given back.
    pub fn has_refused(&self) -> bool {
        self.refuses.as_ref().is_some_and(|(_, first)| self.calls > *first)
    }
}
