//! The server's log: a JSON object on a line of stderr for each event.

use tracing_subscriber::fmt;

/// Starts it. A fault of ours is logged by its place alone: what it says may quote a request.
pub fn start() {
    // A second start, which nothing asks for, would change nothing.
    let _ = fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .try_init();
    std::panic::set_hook(Box::new(|panic| {
        if med2e3_loaders::guard::is_guarded() {
            return;
        }
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a fault in engine-cli itself; please report it");
    }));
}
