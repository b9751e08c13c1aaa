//! Values written as Go's encoder writes them: the bytes that a Trusted Resources checksum is over.

use super::TektonError;
use super::go_json;
use super::schema::{Field, Omit, Shape};
use super::value::{Object, Param, Value};

/// Which releases of Tekton the bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Tekton from 1.10 on, and late patches of older releases.
    Current,
    /// Older ones, which write `"creationTimestamp":null`.
    WithCreationTimestamp,
}

/// Appends a struct. The path is for errors.
pub(super) fn object(object: &Object, form: Form, path: &str, out: &mut Vec<u8>) -> Result<(), TektonError> {
    out.push(b'{');
    let mut first = true;
    for (field, value) in object.members() {
        let left_out = match field.omit {
            Omit::Never => false,
            // A pointer to something empty is not empty.
            Omit::Empty if field.pointer => *value == Value::Nil,
            Omit::Empty => value.is_empty(),
            Omit::ZeroTime => *value == Value::Nil && form == Form::Current,
        };
        if left_out {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        go_json::string(field.name, out);
        out.push(b':');
        member(field, value, form, &format!("{path}.{}", field.name), out)?;
    }
    out.push(b'}');
    Ok(())
}

fn member(field: &Field, value: &Value, form: Form, path: &str, out: &mut Vec<u8>) -> Result<(), TektonError> {
    if *value == Value::Nil && !field.pointer && matches!(field.shape, Shape::Param) {
        return Err(TektonError::MissingValue { path: path.to_owned() });
    }
    one(value, form, path, out)
}

fn one(value: &Value, form: Form, path: &str, out: &mut Vec<u8>) -> Result<(), TektonError> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Text(text) | Value::Param(Param::Text(text)) => go_json::string(text, out),
        Value::Raw(text) => out.extend_from_slice(text.as_bytes()),
        Value::Param(Param::List(items)) => list(items, out, |item, out| {
            go_json::string(item, out);
            Ok(())
        })?,
        Value::Param(Param::Map(entries)) => map(entries, out, |_, value, out| {
            go_json::string(value, out);
            Ok(())
        })?,
        Value::List(items) => {
            let mut index = 0_usize;
            list(items, out, |item, out| {
                let path = format!("{path}[{index}]");
                index += 1;
                one(item, form, &path, out)
            })?;
        }
        Value::Map(entries) => map(entries, out, |key, value, out| one(value, form, &format!("{path}.{key}"), out))?,
        Value::Struct(inner) => object(inner, form, path, out)?,
    }
    Ok(())
}

fn list<T>(
    items: &[T],
    out: &mut Vec<u8>,
    mut write: impl FnMut(&T, &mut Vec<u8>) -> Result<(), TektonError>,
) -> Result<(), TektonError> {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Keys in the order of their bytes, which is the map's own.
fn map<T>(
    entries: &std::collections::BTreeMap<String, T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&str, &T, &mut Vec<u8>) -> Result<(), TektonError>,
) -> Result<(), TektonError> {
    out.push(b'{');
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        go_json::string(key, out);
        out.push(b':');
        write(key, value, out)?;
    }
    out.push(b'}');
    Ok(())
}
