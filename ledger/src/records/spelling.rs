//! Whether a record is spelled as it would be written, without writing it: every entry of a log is asked this.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::Record;
use crate::canonical::{Items as Texts, Members as Named, unescaped, unquoted};

/// Whether the canonical text `record` is the value that `parsed` is written as.
pub(super) fn is_written_as(parsed: &Record, record: &str) -> bool {
    parsed.serialize(Same { text: record, is_tagged: true }).is_ok()
}

/// It is written otherwise.
#[derive(Debug)]
struct Differs;

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is written otherwise")
    }
}

impl std::error::Error for Differs {}

impl ser::Error for Differs {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// A serializer that writes nothing and compares with a value's canonical text.
#[derive(Clone, Copy)]
struct Same<'a> {
    text: &'a str,
    /// Outermost stands the object of action and record, of which `text` is the record only.
    is_tagged: bool,
}

const fn same(text: &str) -> Same<'_> {
    Same { text, is_tagged: false }
}

const fn holds(condition: bool) -> Result<(), Differs> {
    if condition { Ok(()) } else { Err(Differs) }
}

/// What is left of an array.
struct Items<'a>(Texts<'a>);

/// An object and how many of its members were met.
struct Members<'a> {
    members: Vec<(&'a str, &'a str)>,
    met: usize,
    key: Option<String>,
    tagged: Option<&'a str>,
}

impl<'a> Same<'a> {
    fn items(self) -> Result<Items<'a>, Differs> {
        Texts::of(self.text).map(Items).ok_or(Differs)
    }

    fn members(self) -> Result<Members<'a>, Differs> {
        let tagged = self.is_tagged.then_some(self.text);
        // Of the outermost object only the record is compared, as a whole.
        let members = match tagged {
            None => Named::of(self.text).ok_or(Differs)?.collect(),
            Some(_) => Vec::new(),
        };
        Ok(Members { members, met: 0, key: None, tagged })
    }

    /// The value of an object with one member of this name.
    fn only(self, name: &str) -> Result<Same<'a>, Differs> {
        let mut members = Named::of(self.text).ok_or(Differs)?;
        let (known, value) = members.next().ok_or(Differs)?;
        holds(known == name && members.next().is_none())?;
        Ok(same(value))
    }
}

impl Items<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Differs> {
        item.serialize(same(self.0.next().ok_or(Differs)?))
    }

    fn all(mut self) -> Result<(), Differs> {
        holds(self.0.next().is_none())
    }
}

impl Members<'_> {
    fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Differs> {
        if let Some(record) = self.tagged {
            return if name == "record" { value.serialize(same(record)) } else { Ok(()) };
        }
        self.met += 1;
        let named = |(known, _): &&(&str, &str)| {
            *known == name || unescaped(known).is_some_and(|known| known == name)
        };
        let (_, text) = self.members.iter().find(named).ok_or(Differs)?;
        value.serialize(same(text))
    }

    fn all(self) -> Result<(), Differs> {
        holds(self.tagged.is_some() || self.met == self.members.len())
    }
}

impl<'a> Serializer for Same<'a> {
    type Ok = ();
    type Error = Differs;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Differs> {
        holds(self.text == if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), Differs> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Differs> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Differs> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Differs> {
        holds(self.text.parse() == Ok(value))
    }

    fn serialize_u8(self, value: u8) -> Result<(), Differs> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Differs> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Differs> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Differs> {
        holds(self.text.parse() == Ok(value))
    }

    /// There are no floats in records.
    fn serialize_f32(self, _: f32) -> Result<(), Differs> {
        Err(Differs)
    }

    fn serialize_f64(self, _: f64) -> Result<(), Differs> {
        Err(Differs)
    }

    fn serialize_char(self, value: char) -> Result<(), Differs> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Differs> {
        holds(unquoted(self.text).is_some_and(|text| text == value))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Differs> {
        Err(Differs)
    }

    fn serialize_none(self) -> Result<(), Differs> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Differs> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Differs> {
        holds(self.text == "null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Differs> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Differs> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Differs> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Differs> {
        value.serialize(self.only(variant)?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Differs> {
        self.items()
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'a>, Differs> {
        self.items()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'a>, Differs> {
        self.items()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'a>, Differs> {
        self.only(variant)?.items()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Differs> {
        self.members()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Differs> {
        self.members()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>, Differs> {
        self.only(variant)?.members()
    }
}

impl ser::SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Differs> {
        self.item(value)
    }

    fn end(self) -> Result<(), Differs> {
        self.all()
    }
}

impl ser::SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Differs> {
        self.item(value)
    }

    fn end(self) -> Result<(), Differs> {
        self.all()
    }
}

impl ser::SerializeTupleStruct for Items<'_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Differs> {
        self.item(value)
    }

    fn end(self) -> Result<(), Differs> {
        self.all()
    }
}

impl ser::SerializeTupleVariant for Items<'_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Differs> {
        self.item(value)
    }

    fn end(self) -> Result<(), Differs> {
        self.all()
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Differs> {
        let key = serde_json::to_value(key).map_err(|_| Differs)?;
        self.key = Some(key.as_str().ok_or(Differs)?.to_owned());
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Differs> {
        let key = self.key.take().ok_or(Differs)?;
        self.member(&key, value)
    }

    fn end(self) -> Result<(), Differs> {
        self.all()
    }
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Differs> {
        self.member(name, value)
    }

    fn end(self) -> Result<(), Differs> {
        self.all()
    }
}

impl ser::SerializeStructVariant for Members<'_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Differs> {
        self.member(name, value)
    }

    fn end(self) -> Result<(), Differs> {
        self.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::CanonicalText;
    use crate::hash::Hash;
    use crate::records::{OpenedBatch, OpenedTotal};
    use serde_json::{Map, Value, json};

    fn is_written_as(parsed: &Record, record: &Value) -> bool {
        super::is_written_as(parsed, CanonicalText::try_from(record).unwrap().as_str())
    }

    fn opened() -> Record {
        let sum = Hash::of(b"sum");
        Record::RoundOpened {
            job: "job-1".into(),
            round: 3,
            context: sum,
            batches: vec![OpenedBatch { sites: vec!["a".into(), "b".into()], sum, weight: 7 }],
            total: OpenedTotal { sum, weight: 7 },
            announcement: sum,
            tag_deadline: 1,
            parameters_before: sum,
            parameters_after: sum,
            coalitions: None,
            evaluation_deadline: 2,
        }
    }

    #[test]
    fn takes_what_is_written_and_no_other_spelling() {
        let requested =
            Record::GatewayCertified { gateway: json!({"a": [1, {"b": null}, -2, "x", true], "c": {}}) };
        for record in [opened(), requested] {
            let written = record.to_value().unwrap();
            assert!(is_written_as(&record, &written));
            // A member more, a member less, another value: anywhere.
            let mut wrong = vec![json!(null), json!([]), json!({})];
            for name in written.as_object().unwrap().keys() {
                let without = |change: &dyn Fn(&mut Map<String, Value>)| {
                    let mut changed = written.clone();
                    change(changed.as_object_mut().unwrap());
                    changed
                };
                wrong.push(without(&|object| drop(object.remove(name))));
                wrong.push(without(&|object| drop(object.insert(name.clone(), json!(null)))));
                wrong.push(without(&|object| drop(object.insert(name.clone(), json!([1])))));
                wrong.push(without(&|object| drop(object.insert("another".into(), json!(1)))));
            }
            for value in wrong {
                assert!(!is_written_as(&record, &value), "{value}");
            }
        }
        let mut listed = opened().to_value().unwrap();
        listed["total"] = json!([Hash::of(b"sum"), 7]);
        assert!(!is_written_as(&opened(), &listed), "fields as a list");
        let mut absent = opened().to_value().unwrap();
        absent["coalitions"] = json!(null);
        assert!(!is_written_as(&opened(), &absent), "an absent field as null");
        let mut longer = opened().to_value().unwrap();
        longer["batches"][0]["sites"] = json!(["a", "b", "c"]);
        assert!(!is_written_as(&opened(), &longer));
    }
}
