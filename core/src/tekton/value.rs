//! JSON read into the shapes of Tekton's types, as strictly as Tekton reads it, and a little more so.
//!
//! Names are case-sensitive and unknown ones are refused, as in Tekton. Repeated keys are refused everywhere, and so are strings that are
//! not Unicode, which Go would mend silently.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::schema::{self, Field, Shape};
use super::{TektonError, duration, go_json, quantity};

/// A value of some shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Go's nil, or "not given" where that is the same.
    Nil,
    Bool(bool),
    Number(i64),
    /// A string; quantities, durations and times in canonical form too.
    Text(String),
    Param(Param),
    /// JSON kept as it came, compacted.
    Raw(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
    Struct(Object),
}

/// A struct: one value for each member of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Index of the type.
    pub(super) of: usize,
    values: Vec<Value>,
}

/// Tekton's `ParamValue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Param {
    Text(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

impl Object {
    /// A struct with nothing in it.
    pub(super) fn empty(of: usize) -> Self {
        Self { of, values: schema::fields(of).iter().map(zero).collect() }
    }

    /// Each member with its value, in the order of the type.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'static Field, &Value)> {
        schema::fields(self.of).iter().zip(&self.values)
    }

    /// A member. A name that the type does not have is nil.
    pub(super) fn get(&self, name: &str) -> &Value {
        self.members().find(|(field, _)| field.name == name).map_or(&Value::Nil, |(_, value)| value)
    }

    /// A member, to be changed; `None` if the type does not have it.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let index = schema::fields(self.of).iter().position(|field| field.name == name)?;
        self.values.get_mut(index)
    }

    /// Sets a member that the type has.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        if let Some(slot) = self.get_mut(name) {
            *slot = value;
        }
    }

    /// A string member, or an empty string.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).text()
    }

    /// Structs of a list member.
    pub(super) fn objects(&self, name: &str) -> impl Iterator<Item = &Self> {
        let items = if let Value::List(items) = self.get(name) { items.as_slice() } else { &[] };
        items.iter().filter_map(Value::object)
    }

    /// Structs of a list member, to be changed.
    pub(super) fn objects_mut(&mut self, name: &str) -> impl Iterator<Item = &mut Self> {
        let items = if let Some(Value::List(items)) = self.get_mut(name) { items.as_mut_slice() } else { &mut [] };
        items.iter_mut().filter_map(Value::object_mut)
    }

    /// A struct member.
    pub(super) fn object(&self, name: &str) -> Option<&Self> {
        self.get(name).object()
    }

    /// A struct member, to be changed.
    pub(super) fn object_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.get_mut(name)?.object_mut()
    }
}

impl Value {
    /// The string, or an empty one.
    pub(super) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    pub(super) fn object(&self) -> Option<&Object> {
        if let Self::Struct(object) = self { Some(object) } else { None }
    }

    fn object_mut(&mut self) -> Option<&mut Object> {
        if let Self::Struct(object) = self { Some(object) } else { None }
    }

    /// Whether Go's `omitempty` leaves it out.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Bool(value) => !value,
            Self::Number(value) => *value == 0,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            Self::Param(_) | Self::Raw(_) | Self::Struct(_) => false,
        }
    }
}

/// What a member is when it is not given. Structs within structs are always there, unless behind a pointer.
fn zero(field: &Field) -> Value {
    if field.pointer { Value::Nil } else { zero_of(&field.shape) }
}

fn zero_of(shape: &Shape) -> Value {
    match shape {
        Shape::Struct(of) => Value::Struct(Object::empty(*of)),
        Shape::Quantity => Value::Text("0".to_owned()),
        Shape::Duration => Value::Text("0s".to_owned()),
        Shape::IntOrString => Value::Number(0),
        Shape::Text => Value::Text(String::new()),
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 => Value::Number(0),
        Shape::Time | Shape::Param | Shape::Raw | Shape::List(_) | Shape::Map(_) => Value::Nil,
    }
}

/// Reads `json`, which has been checked for repeated keys and depth, as the n-th struct.
pub(super) fn decode(json: &str, of: usize, path: &str) -> Result<Object, TektonError> {
    let raw: &RawValue = serde_json::from_str(json)
        .map_err(|source| TektonError::ParseJson { source: crate::json::JsonError::Parse { source } })?;
    object(raw.get(), of, path)
}

fn object(json: &str, of: usize, path: &str) -> Result<Object, TektonError> {
    let mut found = Object::empty(of);
    if json == "null" {
        return Ok(found);
    }
    for (key, value) in entries(json, path)? {
        let path = format!("{path}.{key}");
        let fields = schema::fields(of);
        let Some(index) = fields.iter().position(|field| field.name == key) else {
            return Err(TektonError::UnknownField { path, kind: schema::name(of), field: key });
        };
        let (Some(field), Some(slot)) = (fields.get(index), found.values.get_mut(index)) else { continue };
        // A null leaves the member as it is, except that Go asks some types themselves.
        if value == "null" && (field.pointer || !matches!(field.shape, Shape::Param | Shape::Duration)) {
            continue;
        }
        *slot = one(value, &field.shape, &path)?;
    }
    Ok(found)
}

fn one(json: &str, shape: &Shape, path: &str) -> Result<Value, TektonError> {
    if json == "null" && !matches!(shape, Shape::Param | Shape::Duration) {
        return Ok(zero_of(shape));
    }
    let wrong = |expected| wrong(path, expected, json);
    match shape {
        Shape::Text => Ok(Value::Text(string(json).ok_or_else(|| wrong("a string"))?)),
        Shape::Bool => match json {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(wrong("true or false")),
        },
        Shape::Int32 => Ok(Value::Number(int32(json).ok_or_else(|| wrong("a whole number of 32 bits"))?)),
        Shape::Int64 => Ok(Value::Number(json.parse().map_err(|_| wrong("a whole number of 64 bits"))?)),
        Shape::IntOrString if json.starts_with('"') => Ok(Value::Text(string(json).ok_or_else(|| wrong("a string"))?)),
        Shape::IntOrString => Ok(Value::Number(int32(json).ok_or_else(|| wrong("a string or a whole number of 32 bits"))?)),
        Shape::Quantity => {
            // Kubernetes takes what stands between the quotes as it is, without looking for escapes.
            let text = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
            Ok(Value::Text(quantity::canonical(text).ok_or_else(|| wrong("a quantity"))?))
        }
        Shape::Duration => {
            let text = string(json).and_then(|text| duration::canonical(&text));
            Ok(Value::Text(text.ok_or_else(|| wrong("a duration such as 1h0m0s"))?))
        }
        Shape::Time => {
            let time = string(json).filter(|text| is_rfc_3339(text)).and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let time = time.ok_or_else(|| wrong("a time (RFC 3339)"))?;
            Ok(Value::Text(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
        }
        Shape::Raw => Ok(Value::Raw(go_json::compact(json))),
        Shape::Param => Ok(Value::Param(param(json))),
        Shape::Struct(of) => Ok(Value::Struct(object(json, *of, path)?)),
        Shape::List(of) => {
            let mut items = Vec::new();
            for (index, item) in self::items(json, path)?.into_iter().enumerate() {
                items.push(one(item, of, &format!("{path}[{index}]"))?);
            }
            Ok(Value::List(items))
        }
        Shape::Map(of) => {
            let mut map = BTreeMap::new();
            for (key, value) in entries(json, path)? {
                let value = one(value, of, &format!("{path}.{key}"))?;
                map.insert(key, value);
            }
            Ok(Value::Map(map))
        }
    }
}

/// A string, a list or map of strings, or the text of anything else. A null among strings is an empty one.
fn param(json: &str) -> Param {
    fn texts<T: Into<String>>(items: impl Iterator<Item = T>) -> Option<Vec<String>> {
        items.map(|item| text_or_null(&item.into())).collect()
    }
    if json.starts_with('[')
        && let Some(list) = items(json, "").ok().and_then(|items| texts(items.into_iter()))
    {
        return Param::List(list);
    }
    if json.starts_with('{') {
        let map = entries(json, "").ok().and_then(|entries| {
            entries.into_iter().map(|(key, value)| Some((key, text_or_null(value)?))).collect::<Option<BTreeMap<_, _>>>()
        });
        if let Some(map) = map {
            return Param::Map(map);
        }
    }
    Param::Text(text_or_null(json).unwrap_or_else(|| json.to_owned()))
}

fn text_or_null(json: &str) -> Option<String> {
    if json == "null" { Some(String::new()) } else { string(json) }
}

fn string(json: &str) -> Option<String> {
    json.starts_with('"').then(|| serde_json::from_str(json).ok()).flatten()
}

/// `2026-11-22T09:59:33Z`, with a fraction or an offset at the end; jiff takes more.
fn is_rfc_3339(text: &str) -> bool {
    let pattern = |text: &str, pattern: &str| {
        text.len() == pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(found, expected)| match expected {
                b'0' => found.is_ascii_digit(),
                _ => found == expected,
            })
    };
    let Some((time, rest)) = text.split_at_checked(19) else { return false };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|digit: char| digit.is_ascii_digit()),
        None => rest,
    };
    pattern(time, "0000-00-00T00:00:00") && (zone == "Z" || pattern(zone, "+00:00") || pattern(zone, "-00:00"))
}

fn int32(json: &str) -> Option<i64> {
    json.parse::<i32>().ok().map(i64::from)
}

fn wrong(path: &str, expected: &'static str, json: &str) -> TektonError {
    const SHOWN: usize = 60;
    let mut found: String = json.chars().take(SHOWN).collect();
    if found.len() < json.len() {
        found.push('…');
    }
    TektonError::Shape { path: path.to_owned(), expected, found }
}

/// Texts of the items of a list.
fn items<'a>(json: &'a str, path: &str) -> Result<Vec<&'a str>, TektonError> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = access.next_element::<&'de RawValue>()? {
                items.push(item.get());
            }
            Ok(items)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_seq(Items).map_err(|_| wrong(path, "a list", json))
}

/// Keys of an object with the texts of their values.
fn entries<'a>(json: &'a str, path: &str) -> Result<Vec<(String, &'a str)>, TektonError> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, &'de str)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some((key, value)) = access.next_entry::<String, &'de RawValue>()? {
                entries.push((key, value.get()));
            }
            Ok(entries)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Entries).map_err(|_| wrong(path, "an object", json))
}

/// `apiVersion` and `kind`, before it is known what else may be there.
pub(super) fn type_meta(json: &str) -> Result<(String, String), TektonError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TypeMeta {
        #[serde(default)]
        api_version: String,
        #[serde(default)]
        kind: String,
    }
    let found: TypeMeta = serde_json::from_str(json)
        .map_err(|source| TektonError::ParseJson { source: crate::json::JsonError::Parse { source } })?;
    Ok((found.api_version, found.kind))
}
