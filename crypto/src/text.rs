//! Text forms of bytes: lower-case hexadecimal and standard base64, both parsed strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ids::IdError;

/// Writes bytes as lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads exactly `N` bytes of lower-case hexadecimal.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let refused = IdError::Hex { bytes: N };
    let nibble = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0_u8; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(refused);
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high).zip(nibble(*low)).map(|(h, l)| h << 4 | l).ok_or(refused.clone())?;
    }
    Ok(bytes)
}

/// Writes bytes as standard base64 with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads standard base64 with padding; refuses stray trailing bits.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, IdError> {
    STANDARD.decode(text).map_err(|_| IdError::Base64 { bytes: None })
}

/// Reads base64 of exactly `N` bytes.
pub(crate) fn array_from_base64<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    from_base64(text)?.try_into().map_err(|_| IdError::Base64 { bytes: Some(N) })
}

/// Serde form of a byte string: base64 with padding.
pub(crate) mod base64_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_base64(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::from_base64(&text).map_err(D::Error::custom)
    }
}

/// A newtype over `[u8; N]` that travels as text: Display, FromStr, TryFrom<String> and serde.
macro_rules! text_array {
    ($name:ident, $n:expr, $write:path, $read:path, $pattern:expr, $what:expr) => {
        impl std::str::FromStr for $name {
            type Err = crate::ids::IdError;

            fn from_str(text: &str) -> Result<Self, crate::ids::IdError> {
                $read(text).map(|bytes: [u8; $n]| Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::ids::IdError;

            fn try_from(text: String) -> Result<Self, crate::ids::IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                $write(&value.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$write(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl From<[u8; $n]> for $name {
            fn from(bytes: [u8; $n]) -> Self {
                Self(bytes)
            }
        }

        impl $name {
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $n] {
                &self.0
            }
        }

        crate::schema::string_schema!($name, $pattern, $what);
    };
}
pub(crate) use text_array;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_other_spellings() {
        assert_eq!(to_hex(&[0, 0x0f, 0xf0, 0xab]), "000ff0ab");
        assert_eq!(from_hex::<2>("0fa0").unwrap(), [0x0f, 0xa0]);
        for bad in ["", "0f", "0fa", "0fa00", "0FA0", "0g00", "0fa0 "] {
            assert_eq!(from_hex::<2>(bad), Err(IdError::Hex { bytes: 2 }), "{bad:?}");
        }
    }

    #[test]
    fn base64_is_canonical() {
        assert_eq!(array_from_base64::<1>("/w==").unwrap(), [255]);
        for bad in ["/w", "/x==", "_w==", "/w==\n", "//8="] {
            assert!(array_from_base64::<1>(bad).is_err(), "{bad:?}");
        }
    }
}
