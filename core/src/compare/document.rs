//! Comparing manifests, configs and indexes value by value.

use serde_json::Value;

use super::{Cause, Difference, TOLD};
use crate::json::{self, JsonError};
use crate::limits;

/// The differences of two JSON documents, as JSON pointers. `name` says which document: `manifest`, `config` or `index`.
///
/// # Errors
/// What [`json::parse`] refuses.
pub fn documents(name: &str, first: &[u8], second: &[u8]) -> Result<Vec<Difference>, JsonError> {
    let one: Value = json::parse(first, limits::MANIFEST_BYTES)?;
    let two: Value = json::parse(second, limits::MANIFEST_BYTES)?;
    let mut found = Vec::new();
    walk(name, "", &one, &two, &mut found);
    if found.is_empty() && first != second {
        found.push(Difference::new(None, name, "bytes", "the same values", "in other bytes", Cause::Order));
    }
    Ok(found)
}

fn walk(name: &str, pointer: &str, one: &Value, two: &Value, found: &mut Vec<Difference>) {
    if one == two || found.len() >= TOLD {
        return;
    }
    let at = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    match (one, two) {
        (Value::Object(first), Value::Object(second)) => {
            for (key, value) in first {
                match second.get(key) {
                    Some(other) => walk(name, &at(key), value, other, found),
                    None => found.push(Difference::new(None, name, &at(key), value, "absent", Cause::OnlyInOne)),
                }
            }
            for (key, value) in second.iter().filter(|(key, _)| !first.contains_key(*key)) {
                found.push(Difference::new(None, name, &at(key), "absent", value, Cause::OnlyInOne));
            }
        }
        (Value::Array(first), Value::Array(second)) if first.len() == second.len() => {
            let sorted = |values: &[Value]| {
                let mut texts: Vec<String> = values.iter().map(ToString::to_string).collect();
                texts.sort();
                texts
            };
            if sorted(first) == sorted(second) {
                found.push(Difference::new(None, name, pointer, one, two, Cause::Order));
                return;
            }
            for (place, (value, other)) in first.iter().zip(second).enumerate() {
                walk(name, &at(&place.to_string()), value, other, found);
            }
        }
        _ => found.push(Difference::new(None, name, pointer, one, two, guess(pointer, one, two))),
    }
}

fn guess(pointer: &str, one: &Value, two: &Value) -> Cause {
    let last = pointer.rsplit('/').next().unwrap_or_default();
    if matches!(last, "digest" | "size") || pointer.contains("/diff_ids") {
        return Cause::Follows;
    }
    if last.ends_with("created") {
        return Cause::TimeStamp;
    }
    match (one.as_str(), two.as_str()) {
        (Some(one), Some(two))
            if one.contains("LANG=") || one.contains("LC_") || two.contains("LANG=") || two.contains("LC_") =>
        {
            Cause::Locale
        }
        _ => Cause::Content,
    }
}
