//! The message vectors in `crypto/vectors/`: one job of five sites, message by message, with what must be refused.
//!
//! `generate.py` makes the vectors of the primitives without this crate; these here are made by this crate from
//! recorded randomness, and the Python client in `tests/second-client/` makes every message anew from the same bytes.
//! A case of `negative` holds what differs from a positive one, why it is wrong, and the name of the error.
//!
//! After a change of the wire formats: `make vectors`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod contexts;
mod key_setup;
mod rounds;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod verification;

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use scene::Scene;

/// One file: the facts that its cases share, and the cases.
pub(crate) struct Vectors {
    name: &'static str,
    about: &'static str,
    shared: Value,
    positive: Vec<Value>,
    negative: Vec<Value>,
}

impl Vectors {
    pub(crate) fn new(name: &'static str, about: &'static str, shared: Value) -> Self {
        Self { name, about, shared, positive: Vec::new(), negative: Vec::new() }
    }

    pub(crate) fn accept(&mut self, case: Value) {
        self.positive.push(case);
    }

    /// A case that must be refused; `case` says what differs.
    pub(crate) fn refuse<T, E: Debug>(&mut self, why: &str, mut case: Value, found: Result<T, E>) {
        let Err(error) = found else { panic!("{}: accepted: {why}", self.name) };
        case["why"] = json!(why);
        case["error"] = json!(error_name(&error));
        self.negative.push(case);
    }

    fn document(self) -> (PathBuf, String) {
        let (accepted, refused) = (self.positive.len(), self.negative.len());
        assert!(accepted > 0 && refused * 3 >= accepted + refused, "{}: {accepted} and {refused}", self.name);
        let document = json!({
            "about": self.about, "shared": self.shared, "positive": self.positive, "negative": self.negative,
        });
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{}.json", self.name));
        (path, format!("{}\n", serde_json::to_string_pretty(&document).unwrap()))
    }
}

/// The variant's name, and the name of what is wrong inside it: `AgreedSet`, `Header/Signature`.
pub(crate) fn error_name(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    let word = |text: &str| text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    let outer = word(&text);
    let rest = &text[outer.len()..];
    let inner = match (rest.strip_prefix('('), rest.split_once("fault: ")) {
        (Some(inner), _) => word(inner),
        (None, Some((_, inner))) => word(inner),
        (None, None) => String::new(),
    };
    if inner.is_empty() { outer } else { format!("{outer}/{inner}") }
}

fn all() -> Vec<(PathBuf, String)> {
    let scene = Scene::play();
    let mut files = key_setup::files(&scene);
    files.push(contexts::file(&scene));
    files.extend(rounds::files(&scene));
    files.extend(verification::files(&scene));
    files.into_iter().map(Vectors::document).collect()
}

#[test]
fn the_committed_vectors_are_what_this_code_makes_and_refuses() {
    for (path, made) in all() {
        // As values: the order of fields depends on what else is built.
        let committed: Option<Value> =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let made: Value = serde_json::from_str(&made).unwrap();
        assert!(
            committed.as_ref() == Some(&made),
            "{} differs: after a change of the wire formats run `make vectors`",
            path.display()
        );
    }
}

#[test]
#[ignore = "writes the vectors anew"]
fn write() {
    for (path, made) in all() {
        fs::write(path, made).unwrap();
    }
}
