//! Builds HTML in which every value is escaped.
//!
//! Literals must be `&'static str`; whatever comes from a run can only enter through [`Markup::text`] or as an
//! attribute's value, and both escape. So a site id or a reason from the ledger cannot become markup.

use std::fmt::{Display, Write as _};

/// A piece of HTML.
#[derive(Debug, Default, Clone)]
pub(super) struct Markup(String);

/// An attribute: its name and its value.
pub(super) type Attribute<'a> = (&'static str, &'a dyn Display);

impl Markup {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a literal as it is.
    pub(super) fn raw(&mut self, literal: &'static str) -> &mut Self {
        self.0.push_str(literal);
        self
    }

    /// Adds a value as text.
    pub(super) fn text(&mut self, value: impl Display) -> &mut Self {
        for character in value.to_string().chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Control characters have no place in HTML; a broken name shall not break the page.
                control if control.is_control() && control != '\n' => self.0.push('\u{fffd}'),
                plain => self.0.push(plain),
            }
        }
        self
    }

    /// Adds another piece.
    pub(super) fn add(&mut self, piece: &Self) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// Opens an element.
    pub(super) fn open(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) -> &mut Self {
        self.raw("<").raw(tag);
        for (name, value) in attributes {
            self.raw(" ").raw(name).raw("=\"").text(value).raw("\"");
        }
        self.raw(">")
    }

    /// Closes an element.
    pub(super) fn close(&mut self, tag: &'static str) -> &mut Self {
        self.raw("</").raw(tag).raw(">")
    }

    /// Adds an element with text in it.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: &[Attribute<'_>],
        value: impl Display,
    ) -> &mut Self {
        self.open(tag, attributes).text(value).close(tag)
    }

    /// The HTML.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A coordinate of a drawing: short, and the same on every machine.
pub(super) fn coordinate(value: f64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{value:.1}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_become_markup() {
        let hostile = "<script>alert('x')</script>\" onload=\"y\u{0}";
        let mut markup = Markup::new();
        markup.element("b", &[("title", &hostile)], hostile);
        let html = markup.into_string();
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches('"').count(), 2, "only the attribute's own quotes: {html}");
        assert!(!html.contains('\u{0}'));
    }
}
