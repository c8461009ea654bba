//! A JSON value kept as its canonical text, and read where it stands.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{CanonicalError, Scan, canonical_json};

/// A value as its RFC 8785 text: one allocation, where a [`Value`] has one for each string and object within.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalText(Box<str>);

impl CanonicalText {
    /// Text that was scanned.
    pub(crate) fn of_scanned(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // Canonical text is JSON; the scan refuses what is nested deeper than serde reads.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The string that is this member of an object.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        unquoted(self.member(name)?)
    }

    /// The non-negative integer that is this member of an object.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<u64> {
        self.member(name)?.parse().ok()
    }

    fn member(&self, name: &str) -> Option<&str> {
        Members::of(&self.0)?.find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl TryFrom<&Value> for CanonicalText {
    type Error = CanonicalError;

    fn try_from(value: &Value) -> Result<Self, Self::Error> {
        // What serde wrote is UTF-8.
        Ok(Self(String::from_utf8_lossy(&canonical_json(value)?).into()))
    }
}

impl fmt::Display for CanonicalText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CanonicalText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for CanonicalText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CanonicalText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The members of a canonical object, or what is left of them: names as they stand between their quotes, and the texts of
/// their values.
pub(crate) struct Members<'a>(Option<Scan<'a>>);

impl<'a> Members<'a> {
    /// `None` if the text is no object's.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let mut scan = Scan::new(text);
        scan.take("{")?;
        Some(Self(scan.take("}").is_none().then_some(scan)))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let scan = self.0.as_mut()?;
        let name = scan.string()?;
        scan.take(":")?;
        let value = scan.text_of_value(0)?;
        if !scan.goes_on("}")? {
            self.0 = None;
        }
        Some((name, value))
    }
}

/// The texts of the items of a canonical array, or what is left of them.
pub(crate) struct Items<'a>(Option<Scan<'a>>);

impl<'a> Items<'a> {
    /// `None` if the text is no array's.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let mut scan = Scan::new(text);
        scan.take("[")?;
        Some(Self(scan.take("]").is_none().then_some(scan)))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let scan = self.0.as_mut()?;
        let item = scan.text_of_value(0)?;
        if !scan.goes_on("]")? {
            self.0 = None;
        }
        Some(item)
    }
}

/// The string that a canonical text stands for, if it is a string's.
pub(crate) fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let raw = text.strip_prefix('"')?.strip_suffix('"')?;
    unescaped(raw)
}

/// The string whose canonical text is this between its quotes.
pub(crate) fn unescaped(raw: &str) -> Option<Cow<'_, str>> {
    if raw.contains('\\') {
        serde_json::from_str(&format!("\"{raw}\"")).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_read_where_they_stand() {
        let value =
            json!({"job": "a\"b", "round": 7, "deep": {"job": "no", "list": [1, {"x": []}]}, "less": -1});
        let text = CanonicalText::try_from(&value).unwrap();
        assert_eq!(text.text("job").unwrap(), "a\"b");
        assert_eq!((text.integer("round"), text.integer("less"), text.integer("job")), (Some(7), None, None));
        assert_eq!((text.text("round"), text.text("list")), (None, None));
        assert_eq!(text.to_value(), value);
        assert_eq!(
            serde_json::from_str::<CanonicalText>(&serde_json::to_string(&text).unwrap()).unwrap(),
            text
        );
        for other in [json!([]), json!("job"), json!(null), json!({})] {
            assert_eq!(CanonicalText::try_from(&other).unwrap().text("job"), None, "{other}");
        }
        assert!(CanonicalText::try_from(&json!({"a": 0.5})).is_err());
    }

    #[test]
    fn items_are_read_in_order() {
        let read = |text| Items::of(text).map(Iterator::collect::<Vec<_>>);
        assert_eq!(read("[1,[2,3],\"]\",{}]").unwrap(), ["1", "[2,3]", "\"]\"", "{}"]);
        assert_eq!((read("[]"), read("{}")), (Some(Vec::new()), None));
    }
}
