//! A progress bar where somebody is watching.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; it draws nothing unless that is a terminal.
pub(crate) fn bar(quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} entries, {per_sec}, {eta} left");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A bar that counts files.
#[cfg(feature = "mirror")]
pub(crate) fn files(quiet: bool) -> ProgressBar {
    match ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} files, {per_sec}, {eta} left") {
        Ok(style) => bar(quiet).with_style(style),
        Err(_) => bar(quiet),
    }
}
