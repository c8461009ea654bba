//! What a pickle claims of storages and tensors, held against the records that are there.

use std::collections::BTreeMap;

use super::super::ArchiveError;
use super::value::{Kind, Value};
use super::{FORM, Rule};

/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 16;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Float,
    Double,
    Half,
    BFloat16,
    Long,
    Int,
    Short,
    Char,
    Byte,
    Bool,
}

impl Element {
    /// The type of a storage class's elements.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        Some(match class.strip_suffix("Storage")? {
            "Float" => Self::Float,
            "Double" => Self::Double,
            "Half" => Self::Half,
            "BFloat16" => Self::BFloat16,
            "Long" => Self::Long,
            "Int" => Self::Int,
            "Short" => Self::Short,
            "Char" => Self::Char,
            "Byte" => Self::Byte,
            "Bool" => Self::Bool,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Double | Self::Long => 8,
            Self::Float | Self::Int => 4,
            Self::Half | Self::BFloat16 | Self::Short => 2,
            Self::Char | Self::Byte | Self::Bool => 1,
        }
    }
}

/// The storages and tensors of one pickle.
pub(in super::super) struct Tensors<'a> {
    record: &'static str,
    records: BTreeMap<&'a str, &'a [u8]>,
    /// The number of elements of each storage that was named, and whether a tensor has it.
    storages: Vec<(usize, bool)>,
    count: usize,
}

impl<'a> Tensors<'a> {
    /// Tensors of a pickle, with the records that their storages may name.
    pub(in super::super) fn new(record: &'static str, records: BTreeMap<&'a str, &'a [u8]>) -> Self {
        Self { record, records, storages: Vec::new(), count: 0 }
    }

    pub(super) fn record(&self) -> &'static str {
        self.record
    }

    /// A storage: the word "storage", the type of its elements, its record, its device and the number of elements.
    pub(super) fn storage(&mut self, arguments: &[Value]) -> Result<usize, Rule> {
        let [
            Value::Text(word),
            Value::Element(element),
            Value::Text(key),
            Value::Text(device),
            Value::Int(count),
        ] = arguments
        else {
            return Err(FORM);
        };
        if (&**word, &**device) != ("storage", "cpu") {
            return Err("tensors must be saved on the CPU");
        }
        // Each record is taken once: a second storage of it would be a second claim.
        let bytes =
            self.records.remove(&**key).ok_or("a storage has no record, or shares it with another")?;
        let elements = usize::try_from(*count).ok().filter(|elements| *elements > 0);
        let claimed = elements.and_then(|elements| elements.checked_mul(element.bytes()));
        if claimed != Some(bytes.len()) {
            return Err("a storage is not of its record's size");
        }
        if *element == Element::Bool && bytes.iter().any(|byte| *byte > 1) {
            return Err("a truth value is neither 0 nor 1");
        }
        self.storages.push((elements.unwrap_or(0), false));
        Ok(self.storages.len() - 1)
    }

    /// A tensor: storage, offset, shape, strides, whether it is trained, and no hooks.
    pub(super) fn tensor(&mut self, arguments: &[Value]) -> Result<(), Rule> {
        let [Value::Storage(storage), Value::Int(offset), shape, strides, Value::Bool, Value::Hooks] =
            arguments
        else {
            return Err(FORM);
        };
        let (elements, taken) = self.storages.get_mut(*storage).ok_or(FORM)?;
        if std::mem::replace(taken, true) {
            return Err("two tensors share one storage: give each a copy of its own");
        }
        let (shape, strides) = (lengths(shape)?, lengths(strides)?);
        if shape.len() != strides.len() {
            return Err("a tensor has as many strides as dimensions");
        }
        let mut covered = 1_usize;
        for (length, stride) in shape.iter().zip(strides).rev() {
            if stride != covered {
                return Err("a tensor's elements do not lie row by row: save tensors that are contiguous");
            }
            covered = covered.checked_mul(*length).ok_or("a tensor is larger than its storage")?;
        }
        let end = usize::try_from(*offset).ok().and_then(|offset| offset.checked_add(covered));
        if covered == 0 || end.is_none_or(|end| end > *elements) {
            return Err("a tensor is empty or reaches beyond its storage");
        }
        self.count += 1;
        Ok(())
    }

    /// The number of tensors, once the pickle is at its end.
    pub(in super::super) fn finish(self) -> Result<usize, ArchiveError> {
        match self.records.keys().next() {
            None => Ok(self.count),
            Some(key) => {
                let record = format!("{} beside {}", key, self.record);
                Err(ArchiveError::Record { record, rule: "no tensor uses it" })
            }
        }
    }
}

/// The numbers of a tuple of lengths.
fn lengths(value: &Value) -> Result<Vec<usize>, Rule> {
    let Value::Items(items) = value else { return Err(FORM) };
    if items.kind != Kind::Tuple || items.values.len() > MAX_DIMENSIONS {
        return Err("a tensor's shape is a tuple of at most 16 lengths");
    }
    let lengths = items.values.iter().map(|value| {
        let Value::Int(length) = value else { return None };
        usize::try_from(*length).ok()
    });
    lengths.collect::<Option<_>>().ok_or("a length is negative or no number")
}
