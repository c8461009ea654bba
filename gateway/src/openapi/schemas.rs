//! The schemas of the document, as those need them who generate a client from it.

use serde_json::Value;
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::{Components, OpenApi, Ref, RefOr, Schema};

use super::DocumentError;

/// How the schema of a page is named: this, and the name of its items' schema.
const PAGE: &str = "Page_";

/// Makes pages refer to the schema of their items. As they are derived each holds a copy, and a generated client has one
/// type for a job and another for a job in a list.
pub(super) fn refer_to_items(components: &mut Components) {
    let items = components.schemas.keys().filter_map(|name| name.strip_prefix(PAGE));
    let known = items.filter(|item| components.schemas.contains_key(*item)).map(str::to_owned);
    for item in known.collect::<Vec<_>>() {
        let page = components.schemas.get_mut(&format!("{PAGE}{item}"));
        let Some(RefOr::T(Schema::Object(page))) = page else { continue };
        if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
            items.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(item))));
        }
    }
}

/// Names each case of a union that is told by its `kind`: generators number cases without a title.
pub(super) fn name_cases(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        let RefOr::T(Schema::OneOf(union)) = schema else { continue };
        for case in &mut union.items {
            let RefOr::T(Schema::Object(case)) = case else { continue };
            let Some(RefOr::T(Schema::Object(kind))) = case.properties.get("kind") else { continue };
            if let Some([Value::String(kind)]) = kind.enum_values.as_deref() {
                case.title = Some(format!("{name}{}", in_camel_case(kind)));
            }
        }
    }
}

/// `AdvertiseKeys` of `advertise-keys`.
fn in_camel_case(words: &str) -> String {
    let capitalised = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    words.split('-').map(capitalised).collect()
}

/// Takes out schemas that nothing refers to.
pub(super) fn drop_unused(document: &mut OpenApi) -> Result<(), DocumentError> {
    loop {
        let text = serde_json::to_string(document)?;
        let Some(components) = &mut document.components else { return Ok(()) };
        let before = components.schemas.len();
        components.schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if components.schemas.len() == before {
            return Ok(());
        }
    }
}
