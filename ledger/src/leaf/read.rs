//! Reads an entry in one pass: canonical JSON has one order of fields, so each is expected where it must stand.

use std::borrow::Cow;

use super::{LEAF_VERSION, Leaf};
use crate::canonical::{CanonicalText, Scan, unescaped};
use crate::hash::Hash;
use crate::timestamp::{ClockSource, Timestamp};

/// The entry of this text; `None` if it is none.
pub(super) fn entry(text: &str) -> Option<Leaf> {
    let mut fields = Fields { scan: Scan::new(text), before: "{" };
    let leaf = Leaf {
        action: fields.text("action")?.into_owned(),
        actor: fields.text("actor")?.into_owned(),
        clock: clock(fields.raw_text("clock")?)?,
        commitments: fields.hashes("commitments")?,
        new: fields.optional_hash("new")?,
        object: fields.text("object")?.into_owned(),
        old: fields.optional_hash("old")?,
        origin: fields.text("origin")?.as_ref().try_into().ok()?,
        policy: fields.optional_hash("policy")?,
        prev: fields.hash("prev")?,
        reason: fields.text("reason")?.into_owned(),
        record: CanonicalText::of_scanned(fields.value("record")?),
        request_id: fields.text("request_id")?.into_owned(),
        role: fields.text("role")?.into_owned(),
        seq: fields.value("seq")?.parse().ok()?,
        site: fields.optional_text("site")?,
        software: fields.text("software")?.into_owned(),
        statement: fields.optional_hash("statement")?,
        time: fields.text("time")?.into_owned(),
        v: fields.value("v")?.parse().ok()?,
    };
    fields.scan.take("}")?;
    let sound = fields.scan.is_done() && leaf.v == LEAF_VERSION && Timestamp::parse(&leaf.time).is_ok();
    sound.then_some(leaf)
}

fn clock(name: &str) -> Option<ClockSource> {
    match name {
        "system" => Some(ClockSource::System),
        "synchronised" => Some(ClockSource::Synchronised),
        "simulated" => Some(ClockSource::Simulated),
        _ => None,
    }
}

/// What is left of the entry.
struct Fields<'a> {
    scan: Scan<'a>,
    /// What stands before the next field.
    before: &'static str,
}

impl<'a> Fields<'a> {
    fn name(&mut self, name: &str) -> Option<()> {
        self.scan.take(self.before)?;
        self.before = ",";
        if self.scan.string()? != name {
            return None;
        }
        self.scan.take(":")
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        self.name(name)?;
        // Within the entry itself.
        self.scan.text_of_value(1)
    }

    /// A string as it stands between its quotes.
    fn raw_text(&mut self, name: &str) -> Option<&'a str> {
        self.name(name)?;
        self.scan.string()
    }

    fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        unescaped(self.raw_text(name)?)
    }

    /// Whether the field is null; its name is taken.
    fn is_null(&mut self, name: &str) -> Option<bool> {
        self.name(name)?;
        Some(self.scan.take("null").is_some())
    }

    fn optional_text(&mut self, name: &str) -> Option<Option<String>> {
        if self.is_null(name)? {
            return Some(None);
        }
        unescaped(self.scan.string()?).map(|text| Some(text.into_owned()))
    }

    fn hash(&mut self, name: &str) -> Option<Hash> {
        self.raw_text(name)?.parse().ok()
    }

    fn optional_hash(&mut self, name: &str) -> Option<Option<Hash>> {
        if self.is_null(name)? {
            return Some(None);
        }
        self.scan.string()?.parse().ok().map(Some)
    }

    fn hashes(&mut self, name: &str) -> Option<Vec<Hash>> {
        self.name(name)?;
        self.scan.take("[")?;
        let mut hashes = Vec::new();
        if self.scan.take("]").is_some() {
            return Some(hashes);
        }
        loop {
            hashes.push(self.scan.string()?.parse().ok()?);
            if !self.scan.goes_on("]")? {
                return Some(hashes);
            }
        }
    }
}
