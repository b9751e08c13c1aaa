//! Progress of long work, on stderr, and only when a person is looking at it.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over `total` units (files, layers, images); invisible unless stderr is a terminal.
#[allow(dead_code)]
pub(crate) fn bar(what: &str, total: u64) -> ProgressBar {
    visible(ProgressBar::with_draw_target(Some(total), target()), what, "{msg} {wide_bar} {human_pos}/{human_len} {eta}")
}

/// A bar over `total` bytes; invisible unless stderr is a terminal.
#[allow(dead_code)]
pub(crate) fn bytes(what: &str, total: u64) -> ProgressBar {
    visible(ProgressBar::with_draw_target(Some(total), target()), what, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
}

/// A spinner for work of unknown length; invisible unless stderr is a terminal. It vanishes when dropped.
#[allow(dead_code)]
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = visible(ProgressBar::with_draw_target(None, target()), what, "{spinner} {msg}");
    if !spinner.is_hidden() {
        spinner.enable_steady_tick(Duration::from_millis(120));
    }
    spinner
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn visible(bar: ProgressBar, what: &str, template: &str) -> ProgressBar {
    // A template that does not parse is caught by the test below; the default style is still readable.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(what.to_owned()).with_finish(indicatif::ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        for template in
            ["{msg} {wide_bar} {human_pos}/{human_len} {eta}", "{msg} {wide_bar} {bytes}/{total_bytes} {eta}", "{spinner} {msg}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
