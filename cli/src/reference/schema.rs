//! The schemas of the files people write, and a manual page made from each.

use std::fmt::Write as _;

use assay_core::json;
use assay_core::policy::{API_VERSION, Spec};
use assay_core::recipe::Recipe;
use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::cell;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// JSON Schema of a policy file, keys sorted.
pub(super) fn policy() -> anyhow::Result<Value> {
    sorted(&serde_json::json!({
        "$schema": DIALECT,
        "$id": "https://assay.dev/schema/v1alpha1/trust-policy.json",
        "title": "TrustPolicy",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"enum": ["TrustPolicy", "ClusterTrustPolicy"]},
            "metadata": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            "spec": {"$ref": "#/$defs/Spec"},
        },
        "$defs": definitions::<Spec>("Spec"),
    }))
}

/// JSON Schema of a recipe, `assay.toml`, keys sorted.
pub(super) fn recipe() -> anyhow::Result<Value> {
    sorted(&serde_json::json!({
        "$schema": DIALECT,
        "$id": "https://assay.dev/schema/v1/recipe.json",
        "title": "Recipe",
        "$ref": "#/$defs/Recipe",
        "$defs": definitions::<Recipe>("Recipe"),
    }))
}

/// All types below `T`, and `T` itself under `name`.
fn definitions<T: JsonSchema>(name: &str) -> Value {
    let mut root = schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    let mut definitions =
        root.as_object_mut().and_then(|object| object.remove("$defs")).unwrap_or_else(|| Value::Object(Map::new()));
    if let (Some(definitions), Some(object)) = (definitions.as_object_mut(), root.as_object_mut()) {
        object.remove("$schema");
        definitions.insert(name.to_owned(), root);
    }
    definitions
}

/// Which order a map keeps depends on features of a dependency; the canonical form does not.
fn sorted(value: &Value) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&json::canonical(value)?)?)
}

/// The manual page of policies.
pub(super) fn policy_page(schema: &Value) -> String {
    let introduction = format!(
        "# Policy reference\n\nGenerated from the program by `hack/update`; do not edit.\n\n\
         A policy file is YAML: `apiVersion: {API_VERSION}`, `kind: TrustPolicy` or `ClusterTrustPolicy`, `metadata.name`, and `spec`.\n\
         Unknown fields, repeated keys and empty lists are errors, and there are no defaults.\n\
         [schema/trust-policy.json](schema/trust-policy.json) is the JSON Schema, for editors.\n"
    );
    page(introduction, schema, "Spec")
}

/// The manual page of recipes.
pub(super) fn recipe_page(schema: &Value) -> String {
    let introduction = "# Recipe reference\n\nGenerated from the program by `hack/update`; do not edit.\n\n\
         A recipe is the TOML file `assay.toml` at the root of the repository.\n\
         Unknown fields are errors.\n\
         [schema/recipe.json](schema/recipe.json) is the JSON Schema, for editors.\n";
    page(introduction.to_owned(), schema, "Recipe")
}

/// The fields of every object of the schema, `first` first.
fn page(mut text: String, schema: &Value, first: &str) -> String {
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    let mut names: Vec<&String> = definitions.keys().collect();
    names.sort_by_key(|name| (*name != first, name.as_str()));
    for name in names {
        if let Some(definition) = definitions.get(name) {
            let _ = write!(text, "\n## {name}\n\n");
            section(&mut text, definition);
        }
    }
    text
}

fn section(text: &mut String, definition: &Value) {
    if let Some(description) = described(definition) {
        let _ = writeln!(text, "{}\n", sentences(description));
    }
    if let Some(fields) = definition.get("properties").and_then(Value::as_object) {
        let required: Vec<&str> =
            definition.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        text.push_str("| field | type | needed | means |\n|---|---|---|---|\n");
        for (name, field) in fields {
            let needed = if required.contains(&name.as_str()) { "yes" } else { "" };
            let _ = writeln!(
                text,
                "| `{name}` | {} | {needed} | {} |",
                cell(&kind(field)),
                cell(described(field).unwrap_or_default())
            );
        }
        return;
    }
    let choices: Vec<&Value> = ["oneOf", "anyOf"].iter().filter_map(|key| definition.get(key)?.as_array()).flatten().collect();
    if choices.is_empty() {
        let _ = writeln!(text, "Written as {}.", kind(definition));
    } else {
        text.push_str("| one of | means |\n|---|---|\n");
        for choice in choices {
            let _ = writeln!(text, "| {} | {} |", cell(&kind(choice)), cell(described(choice).unwrap_or_default()));
        }
    }
}

fn described(schema: &Value) -> Option<&str> {
    schema.get("description")?.as_str()
}

/// One sentence per line, as in all our prose.
fn sentences(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(". ", ".\n")
}

/// The type of a value in a word or two: a link where it has a section of its own.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{}`", constant.as_str().map_or_else(|| constant.to_string(), ToOwned::to_owned));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(", ");
    }
    if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let kinds: Vec<String> =
            choices.iter().filter(|choice| choice.get("type") != Some(&Value::from("null"))).map(kind).collect();
        return kinds.join(" or ");
    }
    let single = |name: &str| match name {
        "array" => format!("list of {}", schema.get("items").map_or_else(|| "anything".to_owned(), kind)),
        "object" => match (schema.get("additionalProperties"), schema.get("properties").and_then(Value::as_object)) {
            (Some(value), _) if value.is_object() => format!("map to {}", kind(value)),
            (_, Some(fields)) => {
                format!("object with {}", fields.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
            }
            _ => "object".to_owned(),
        },
        "string" => {
            schema.get("format").and_then(Value::as_str).map_or_else(|| "text".to_owned(), |format| format!("text ({format})"))
        }
        "integer" => "whole number".to_owned(),
        other => other.to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(name)) => single(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").map(single).collect::<Vec<_>>().join(" or ")
        }
        _ => "any value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_description() {
        for schema in [policy().unwrap(), recipe().unwrap()] {
            for (name, definition) in schema["$defs"].as_object().unwrap() {
                for (field, value) in definition["properties"].as_object().into_iter().flatten() {
                    assert!(described(value).is_some(), "{name}.{field} has no description");
                }
            }
        }
    }

    #[test]
    fn the_pages_know_all_sections_they_link_to() {
        for page in [policy_page(&policy().unwrap()), recipe_page(&recipe().unwrap())] {
            for target in page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
                assert!(page.to_lowercase().contains(&format!("\n## {target}\n")), "{target}");
            }
        }
        assert!(policy_page(&policy().unwrap()).contains("| `images` |"));
        assert!(recipe_page(&recipe().unwrap()).contains("| `base` |"));
    }
}
