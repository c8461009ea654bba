//! Tells what happens, in sentences: with a progress bar on a terminal, line by line elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The one voice of the demonstration.
pub(super) struct Narrator {
    started: Instant,
    screen: Option<(MultiProgress, ProgressBar)>,
}

impl Narrator {
    pub(super) fn new() -> Self {
        let screen = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // The template is a literal; if indicatif refused it, its own default would do.
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {elapsed} [{bar:30}] {pos} of {len} {prefix}  {msg}")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            let screen = MultiProgress::new();
            let bar = screen.add(bar);
            (screen, bar)
        });
        Self { started: Instant::now(), screen }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// A sentence that stays.
    pub(super) fn say(&self, sentence: impl AsRef<str>) {
        let line = format!("[{:5.1} s] {}", self.seconds(), sentence.as_ref());
        match &self.screen {
            // A terminal that is gone is no reason to stop.
            Some((screen, _)) => drop(screen.println(line)),
            None => println!("{line}"),
        }
    }

    /// What is going on right now; on a terminal only.
    pub(super) fn now(&self, words: impl AsRef<str>) {
        if let Some((_, bar)) = &self.screen {
            bar.set_message(words.as_ref().to_owned());
        }
    }

    /// How far it is: so many of so many rounds, models, files.
    pub(super) fn progress(&self, done: u64, of: u64, what: &'static str) {
        if let Some((_, bar)) = &self.screen {
            bar.set_prefix(what);
            bar.set_length(of);
            bar.set_position(done);
        }
    }

    /// Takes the bar away, so that plain output can follow.
    pub(super) fn finish(&self) {
        if let Some((_, bar)) = &self.screen {
            bar.finish_and_clear();
        }
    }
}
