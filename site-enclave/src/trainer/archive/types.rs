//! The types that attributes of a module may have.

/// Deepest nesting of a type.
const MAX_DEPTH: usize = 8;

/// A TorchScript type, as far as attributes of models that can be averaged need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Tensor,
    Int,
    Float,
    Bool,
    Text,
    None,
    Optional(Box<Type>),
    List(Box<Type>),
    Dict(Box<(Type, Type)>),
    Tuple(Vec<Type>),
    /// A class by its qualified name.
    Class(String),
}

impl Type {
    /// Reads a type as `torch.jit.save` writes it; none for types that no attribute may have.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::parse_nested(text, MAX_DEPTH)
    }

    fn parse_nested(text: &str, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let Some((outer, inner)) = text.split_once('[') else {
            return match text {
                "Tensor" => Some(Self::Tensor),
                "int" => Some(Self::Int),
                "float" => Some(Self::Float),
                "bool" => Some(Self::Bool),
                "str" => Some(Self::Text),
                "NoneType" => Some(Self::None),
                class => is_qualified_class(class).then(|| Self::Class(class.to_owned())),
            };
        };
        let parts = arguments(inner.strip_suffix(']')?)?;
        let mut types = Vec::with_capacity(parts.len());
        for part in parts {
            types.push(Self::parse_nested(part, depth)?);
        }
        let mut types = types.into_iter();
        let read = match outer {
            "Optional" => Self::Optional(Box::new(types.next()?)),
            "List" => Self::List(Box::new(types.next()?)),
            "Dict" => Self::Dict(Box::new((types.next()?, types.next()?))),
            "Tuple" => Self::Tuple(types.by_ref().collect()),
            _ => return None,
        };
        types.next().is_none().then_some(read)
    }
}

/// The parts between the commas that lie in no bracket.
fn arguments(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (index, character) in text.char_indices() {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(text.get(start..index)?.trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?.trim());
    (depth == 0).then_some(parts)
}

/// A class of the file's own code: `__torch__.` and identifiers.
pub(super) fn is_qualified_class(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("__torch__.") else { return false };
    // libtorch reads the classes of quantised layers in a way of its own.
    rest.split('.').all(|part| is_identifier(part) && part != "quantized")
}

/// A letter or underscore, then letters, digits and underscores.
pub(super) fn is_identifier(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_attributes_are_read() {
        assert_eq!(Type::parse("Optional[Tensor]"), Some(Type::Optional(Box::new(Type::Tensor))));
        assert_eq!(
            Type::parse("Dict[str, Tuple[int, List[float]]]"),
            Some(Type::Dict(Box::new((
                Type::Text,
                Type::Tuple(vec![Type::Int, Type::List(Box::new(Type::Float))])
            ))))
        );
        assert_eq!(
            Type::parse("__torch__.a.___torch_mangle_0.B"),
            Some(Type::Class("__torch__.a.___torch_mangle_0.B".to_owned()))
        );
    }

    #[test]
    fn other_types_are_not() {
        for text in [
            "",
            "Any",
            "Device",
            "List",
            "List[]",
            "List[int",
            "List[int]]",
            "List[int, int]",
            "Dict[int]",
            "__torch__.torch.ao.nn.quantized.Linear",
            "__torch__..A",
            "torch.A",
            "Optional[int] = 3",
        ] {
            assert_eq!(Type::parse(text), None, "{text}");
        }
        let deep = format!("{}int{}", "List[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Type::parse(&deep), None);
    }
}
