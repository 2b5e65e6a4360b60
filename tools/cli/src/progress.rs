//! A bar on stderr while the model loads and the volume is encoded; nothing where stderr is not a terminal.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use med2e3::{Progress, ProgressStage};

use crate::output;

/// Shows one stage after another, each with its own bar.
pub struct Bars {
    stage: String,
    bar: ProgressBar,
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self { stage: String::new(), bar: ProgressBar::hidden() }
    }

    /// The stage has come so far.
    pub fn show(&mut self, stage: &str, done: u64, total: u64) {
        if self.stage != stage {
            self.clear();
            self.stage = stage.to_owned();
            // indicatif draws nothing on a stderr that is not a terminal.
            self.bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            self.bar.set_style(style(stage));
            // What was done before does not count for the rate.
            self.bar.set_position(done);
            self.bar.reset_eta();
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// The engine has come so far; never breaks off.
    pub fn follow(&mut self, progress: Progress) -> ControlFlow<()> {
        let stage = match progress.stage {
            ProgressStage::Load => "load",
            ProgressStage::Vision3d => "vision_3d",
            ProgressStage::Vision2d => "vision_2d",
            ProgressStage::Prefill => "prefill",
            _ => "working",
        };
        self.show(stage, progress.done, progress.total);
        ControlFlow::Continue(())
    }

    /// A line on stderr, above the bar.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| output::note(text));
    }

    /// Takes the bar away before something else is printed.
    pub fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.stage.clear();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Bytes for files, counts for everything else.
fn style(stage: &str) -> ProgressStyle {
    let (label, counts) = match stage {
        "load" => ("loading", "{bytes}/{total_bytes}"),
        "weights" => ("reading the weights", "{bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        "write" => ("writing", "{bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        "vision_3d" => ("3D encoder", "{pos}/{len} blocks"),
        "vision_2d" => ("2D encoder", "{pos}/{len} slices"),
        "questions" => ("questions", "{pos}/{len} {rate} {left}"),
        "prefill" => ("reading the prompt", "{pos}/{len} layers"),
        "benchmark" => ("measuring", "{pos}/{len}"),
        "phantoms" => ("phantoms", "{pos}/{len} {per_sec} {eta}"),
        other => (other, "{pos}/{len}"),
    };
    let template = format!("{label:<18} [{{bar:40}}] {counts}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", rate).with_key("left", left).progress_chars("=> ")
}

/// Two figures of the rate; nothing before it is known. Writing to a bar's text cannot fail.
fn rate(state: &ProgressState, text: &mut dyn Write) {
    let _ = match state.per_sec() {
        rate if rate >= 1.0 => write!(text, "{rate:.1}/s"),
        rate if rate > 0.0 => write!(text, "{:.1} s each", 1.0 / rate),
        _ => Ok(()),
    };
}

/// The time left, once there is a rate.
fn left(state: &ProgressState, text: &mut dyn Write) {
    if state.per_sec() > 0.0 {
        let _ = write!(text, "{:#} left", HumanDuration(state.eta()));
    }
}
