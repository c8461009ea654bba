//! Hand-written OpenAPI schemas for newtypes whose wire form is a string or an integer.

/// Implements the schema of a type that travels as a string with a pattern.
macro_rules! string_schema {
    ($name:ident, $pattern:expr, $what:expr) => {
        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .description(Some($what))
                    .into()
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}
    };
}

/// Implements the schema of a type that travels as an integer with a lower bound.
macro_rules! integer_schema {
    ($name:ident, $minimum:expr, $what:expr) => {
        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::Integer)
                    .minimum(Some($minimum))
                    .description(Some($what))
                    .into()
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}
    };
}

pub(crate) use {integer_schema, string_schema};
