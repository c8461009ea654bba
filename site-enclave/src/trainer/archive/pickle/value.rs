//! What is on the pickle machine's stack.

use std::rc::Rc;

use super::super::types::Type;
use super::tensors::Element;

/// A value, as far as the checks need it.
#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    Text(Rc<str>),
    /// A tuple, list or dictionary.
    Items(Rc<Items>),
    /// A list or dictionary that is still empty.
    Open(Kind),
    Tensor,
    /// A module; its attributes were checked.
    Object {
        class: Rc<str>,
        depth: u32,
        reached: u64,
    },
    /// The place of a tensor's elements.
    Storage(usize),
    /// The type of a tensor's elements.
    Element(Element),
    /// The empty dictionary of backward hooks that comes with each tensor.
    Hooks,
    Functor(Functor),
    /// A module without its attributes.
    Unbuilt(Rc<str>),
}

/// What makes a value from its arguments.
#[derive(Debug, Clone)]
pub(super) enum Functor {
    Tensor,
    Hooks,
    List(ListOf),
    TypeTag,
    Class(Rc<str>),
}

/// Lists with a functor of their own.
#[derive(Debug, Clone, Copy)]
pub(super) enum ListOf {
    Int,
    Float,
    Bool,
    Tensor,
}

impl ListOf {
    pub(super) fn element(self) -> Type {
        match self {
            Self::Int => Type::Int,
            Self::Float => Type::Float,
            Self::Bool => Type::Bool,
            Self::Tensor => Type::Tensor,
        }
    }
}

/// What holds several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tuple,
    List,
    /// Keys and values in turn.
    Dict,
}

/// Several values.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) kind: Kind,
    pub(super) values: Vec<Value>,
    /// The type of a list or dictionary, once it is known; its elements were checked against it.
    pub(super) tag: Option<Type>,
    /// Levels of values in this one, itself included.
    pub(super) depth: u32,
    /// Values in this one, each counted as often as it can be reached, itself included.
    pub(super) reached: u64,
}

impl Value {
    /// Depth and number of values, for a value that may be in a tuple, list or dictionary.
    pub(super) fn extent(&self) -> Option<(u32, u64)> {
        match self {
            Self::Items(items) => Some((items.depth, items.reached)),
            Self::Object { depth, reached, .. } => Some((*depth, *reached)),
            Self::Open(_) | Self::Functor(_) | Self::Unbuilt(_) => None,
            Self::None
            | Self::Bool
            | Self::Int(_)
            | Self::Float
            | Self::Text(_)
            | Self::Tensor
            | Self::Storage(_)
            | Self::Element(_)
            | Self::Hooks => Some((0, 1)),
        }
    }

    /// Whether the value is of a type. Calls itself for the parts of the type, which are few.
    pub(super) fn is_of(&self, declared: &Type) -> bool {
        match (declared, self) {
            (Type::Tensor, Self::Tensor)
            | (Type::Int, Self::Int(_))
            | (Type::Float, Self::Float)
            | (Type::Bool, Self::Bool)
            | (Type::Text, Self::Text(_))
            | (Type::None | Type::Optional(_), Self::None) => true,
            (Type::Optional(inner), _) => self.is_of(inner),
            (Type::Class(declared), Self::Object { class, .. }) => **declared == **class,
            (Type::List(_) | Type::Dict(_), Self::Items(items)) => items.tag.as_ref() == Some(declared),
            (Type::Tuple(types), Self::Items(items)) => {
                items.kind == Kind::Tuple
                    && items.values.len() == types.len()
                    && items.values.iter().zip(types).all(|(value, declared)| value.is_of(declared))
            }
            _ => false,
        }
    }
}
