//! Strict JSON: one meaning only, capped in size and depth; and the one canonical form (RFC 8785).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// Why a JSON document is refused.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// More bytes than the cap for this kind of document.
    #[error("document has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// Largest size allowed, in bytes.
        limit: usize,
    },
    /// Not JSON, nested too deeply, an object with the same key twice, or not of the expected shape.
    #[error("{source}")]
    Parse {
        /// What the parser says, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A value that RFC 8785 cannot represent.
    #[error("cannot be written as canonical JSON: {source}")]
    Canonicalize {
        /// What the serializer says.
        #[source]
        source: serde_json::Error,
    },
}

/// Parses `bytes` into `T` after checking that no object repeats a key and nothing nests deeper than [`limits::JSON_DEPTH`].
///
/// # Errors
/// [`JsonError::TooLarge`] over `limit` bytes, [`JsonError::Parse`] for everything else that is wrong.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    check(bytes, limit)?;
    serde_json::from_slice(bytes).map_err(|source| JsonError::Parse { source })
}

/// Checks what [`parse`] checks before it looks at the shape.
///
/// # Errors
/// As [`parse`].
pub fn check(bytes: &[u8], limit: usize) -> Result<(), JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { found: bytes.len(), limit });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|source| JsonError::Parse { source })
}

/// RFC 8785 bytes of `value`, without a newline at the end.
///
/// # Errors
/// [`JsonError::Canonicalize`] if the value has no canonical form.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    serde_json_canonicalizer::to_vec(value).map_err(|source| JsonError::Canonicalize { source })
}

/// Walks a document without building it, and refuses repeated keys and deep nesting on the way.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= limits::JSON_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {} levels", limits::JSON_DEPTH)));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// An object key, borrowed from the input where it holds no escape.
#[derive(PartialEq, Eq, Hash)]
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object key")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            if items.next_element_seed(self.deeper()?)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!("object has the key {:?} twice", key.0)));
            }
            seen.insert(key);
            entries.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse::<serde_json::Value>(text.as_bytes(), 1 << 20).unwrap_err().to_string()
    }

    #[test]
    fn repeated_keys_are_refused_however_they_are_spelled() {
        assert!(refused(r#"{"a":1,"a":2}"#).contains("twice"));
        assert!(refused(r#"{"a":1,"\u0061":2}"#).contains("twice"));
        assert!(refused(r#"[{"b":{"a":1,"c":0,"a":2}}]"#).contains("twice"));
        assert!(parse::<serde_json::Value>(br#"[{"a":1},{"a":2}]"#, 100).is_ok());
    }

    #[test]
    fn depth_and_size_are_capped() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(parse::<serde_json::Value>(deep(64).as_bytes(), 1 << 20).is_ok());
        assert!(refused(&deep(65)).contains("64 levels"));
        assert!(matches!(parse::<serde_json::Value>(b"[1,2]", 4), Err(JsonError::TooLarge { found: 5, limit: 4 })));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(refused("{} {}").contains("trailing"));
        assert!(refused("").contains("EOF"));
    }

    #[test]
    fn canonical_form_sorts_keys_and_has_no_space() {
        let value: serde_json::Value = serde_json::from_str(r#"{"b": 1.0, "a": ["\u00e9", "<"]}"#).unwrap();
        assert_eq!(String::from_utf8(canonical(&value).unwrap()).unwrap(), r#"{"a":["é","<"],"b":1}"#);
    }
}
