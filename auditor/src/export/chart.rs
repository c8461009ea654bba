//! Entries over time as an inline drawing: bars for equal spans of days, stacked by action.

use std::collections::BTreeMap;
use std::fmt::Write;

use konclave_ledger::Timestamp;

use crate::text::html;

/// Most bars, and most actions with a colour of their own.
const MAX_BARS: u64 = 60;
const COLOURS: [&str; 7] = ["#2f6f9f", "#d9822b", "#4c9a5b", "#9c5fa8", "#c9403a", "#7d7345", "#9aa3ab"];
const DAY: u64 = 24 * 60 * 60 * 1000;
/// Days and actions that are counted; a log with more gets its rest in the last.
const MAX_COUNTED: usize = 20_000;

/// What is drawn: how many entries of each action on each day.
#[derive(Debug, Default)]
pub(super) struct Chart {
    days: BTreeMap<(u64, String), u64>,
    pub(super) actions: BTreeMap<String, u64>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

impl Chart {
    pub(super) fn count(&mut self, time: Timestamp, action: &str) {
        let known = self.actions.contains_key(action) || self.actions.len() < 200;
        let action = if known { action } else { "other actions" }.to_owned();
        *self.actions.entry(action.clone()).or_default() += 1;
        let day = (time.unix_millis() / DAY, action);
        if self.days.len() < MAX_COUNTED || self.days.contains_key(&day) {
            *self.days.entry(day).or_default() += 1;
        }
        if self.first.is_none_or(|first| time.unix_millis() < first.unix_millis()) {
            self.first = Some(time);
        }
        if self.last.is_none_or(|last| time.unix_millis() > last.unix_millis()) {
            self.last = Some(time);
        }
    }

    /// The actions with a colour of their own, the most frequent first.
    fn coloured(&self) -> Vec<&str> {
        let mut actions: Vec<_> = self.actions.iter().collect();
        actions.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        actions.into_iter().take(COLOURS.len() - 1).map(|(action, _)| action.as_str()).collect()
    }

    /// The drawing; empty without entries.
    pub(super) fn svg(&self) -> String {
        let days = self.days.keys().map(|(day, _)| *day);
        let (Some(first), Some(last)) = (days.clone().min(), days.max()) else { return String::new() };
        let span = (last - first) / MAX_BARS + 1;
        let coloured = self.coloured();
        let mut bars: BTreeMap<u64, [u64; COLOURS.len()]> = BTreeMap::new();
        for ((day, action), count) in &self.days {
            let colour = coloured.iter().position(|known| known == action).unwrap_or(COLOURS.len() - 1);
            if let Some(cell) = bars.entry((day - first) / span).or_default().get_mut(colour) {
                *cell += count;
            }
        }
        let highest = bars.values().map(|bar| bar.iter().sum::<u64>()).max().unwrap_or(1).max(1);
        let number = (last - first) / span + 1;
        let mut out = String::new();
        let label = format!("Entries from {} to {}", date(first), date(last));
        let _ = write!(out, "<svg viewBox=\"0 0 960 220\" role=\"img\" aria-label=\"{}\">", html(&label));
        let _ = write!(out, "<title>{}</title>", html(&label));
        for (at, bar) in &bars {
            let (x, width) = (40 + at * 900 / number, (900 / number).max(3) - 1);
            let mut below = 0;
            for (count, colour) in bar.iter().zip(COLOURS).filter(|(count, _)| **count > 0) {
                // In tenths of a unit, so that integers do.
                let (top, bottom) = ((below + count) * 1700 / highest, below * 1700 / highest);
                below += count;
                let (y, height) = (1800 - top, (top - bottom).max(5));
                let _ = write!(
                    out,
                    "<rect x=\"{x}\" y=\"{}.{}\" width=\"{width}\" height=\"{}.{}\" fill=\"{colour}\"/>",
                    y / 10,
                    y % 10,
                    height / 10,
                    height % 10
                );
            }
        }
        let _ = write!(out, "<path d=\"M40 8V180H944\" fill=\"none\" stroke=\"#555\"/>");
        let _ = write!(out, "<text x=\"36\" y=\"18\" text-anchor=\"end\">{highest}</text>");
        let _ = write!(out, "<text x=\"36\" y=\"182\" text-anchor=\"end\">0</text>");
        let _ = write!(out, "<text x=\"40\" y=\"198\">{}</text>", date(first));
        let _ = write!(out, "<text x=\"944\" y=\"198\" text-anchor=\"end\">{}</text>", date(last));
        let days = if span == 1 { "one day a bar".to_owned() } else { format!("{span} days a bar") };
        let _ = write!(out, "<text x=\"492\" y=\"214\" text-anchor=\"middle\">{days}</text></svg>");
        out + &self.legend(&coloured)
    }

    fn legend(&self, coloured: &[&str]) -> String {
        let mut out = String::from("<ul class=\"legend\">");
        for (action, colour) in coloured.iter().zip(COLOURS) {
            let count = self.actions.get(*action).copied().unwrap_or(0);
            let _ = write!(out, "<li><i style=\"background:{colour}\"></i>{} ({count})</li>", html(action));
        }
        if self.actions.len() > coloured.len() {
            let rest = self.actions.len() - coloured.len();
            let colour = COLOURS.last().unwrap_or(&"#999");
            let _ = write!(out, "<li><i style=\"background:{colour}\"></i>{rest} more actions</li>");
        }
        out + "</ul>"
    }
}

fn date(day: u64) -> String {
    let time = Timestamp::from_unix_millis(day.saturating_mul(DAY)).map(|time| time.to_string());
    time.map(|time| time.chars().take(10).collect()).unwrap_or_default()
}
