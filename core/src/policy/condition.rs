//! CEL conditions over verified facts: bounded when loaded, so that no time-out is needed when evaluated.

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, Program, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest expression, in bytes.
const LONGEST: usize = 2_048;

/// Names an expression may use for what is not its own.
pub const VARIABLES: [&str; 4] = ["image", "source", "build", "sbom"];

/// Why an expression is refused when it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Longer than allowed.
    #[error("CEL expression has {found} bytes, the limit is {LONGEST}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not CEL.
    #[error("CEL expression: {detail}")]
    Parse {
        /// What the parser says.
        detail: String,
    },
    /// A macro (`all`, `exists`, `map`, …) within a macro: its cost would be the product of the lists' sizes.
    #[error("CEL expression nests one macro in another; write two conditions")]
    NestedMacro,
    /// A name that is not known.
    #[error("CEL expression uses {name:?}; it sees image, source, build and sbom")]
    UnknownName {
        /// The name.
        name: String,
    },
}

/// A CEL expression that was parsed and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(String);

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Every variant of [`ExpressionError`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > LONGEST {
            return Err(ExpressionError::TooLong { found: text.len() });
        }
        let program = compile(text)?;
        check(&program.expression().expr, &mut Vec::new())?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Evaluates over `facts`, an object with the keys of [`VARIABLES`].
    ///
    /// # Errors
    /// What went wrong, in words: a missing key, a wrong type, or a result that is not a boolean.
    pub fn evaluate(&self, facts: &serde_json::Map<String, serde_json::Value>) -> Result<bool, String> {
        let program = compile(&self.0).map_err(|error| error.to_string())?;
        let mut context = Context::with_env(Env::stdlib().into());
        for name in VARIABLES {
            let fact = facts.get(name).cloned().unwrap_or(serde_json::Value::Null);
            let value = cel::to_value(fact).map_err(|error| error.to_string())?;
            context.add_variable_from_value(name, value);
        }
        match program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("result is {:?}, not a boolean", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn compile(text: &str) -> Result<Program, ExpressionError> {
    Program::compile(text).map_err(|errors| ExpressionError::Parse { detail: errors.to_string() })
}

/// Refuses macros (which expand to comprehensions) within the body of a macro, and names that stand for nothing.
fn check<'a>(expr: &'a Expr, bound: &mut Vec<&'a str>) -> Result<(), ExpressionError> {
    let parts: Vec<&Expr> = match expr {
        Expr::Unspecified | Expr::Literal(_) => Vec::new(),
        Expr::Ident(name) => {
            let known = VARIABLES.contains(&name.as_str()) || bound.contains(&name.as_str());
            return if known { Ok(()) } else { Err(ExpressionError::UnknownName { name: name.clone() }) };
        }
        Expr::Call(call) => call.args.iter().chain(call.target.as_deref()).map(|arg| &arg.expr).collect(),
        Expr::Comprehension(comprehension) => {
            check(&comprehension.iter_range.expr, bound)?;
            check(&comprehension.accu_init.expr, bound)?;
            if !bound.is_empty() {
                return Err(ExpressionError::NestedMacro);
            }
            bound.push(&comprehension.iter_var);
            bound.push(&comprehension.accu_var);
            bound.extend(comprehension.iter_var2.as_deref());
            for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
                check(&part.expr, bound)?;
            }
            bound.clear();
            return Ok(());
        }
        Expr::List(list) => list.elements.iter().map(|element| &element.expr).collect(),
        Expr::Select(select) => vec![&select.operand.expr],
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(object) => object.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
    };
    parts.into_iter().try_for_each(|part| check(part, bound))
}

fn entry_parts(entry: &EntryExpr) -> Vec<&Expr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value.expr],
        EntryExpr::MapEntry(entry) => vec![&entry.key.expr, &entry.value.expr],
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Expression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CelExpression".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": LONGEST, "description": "CEL over image, source, build and sbom; macros cannot be nested."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> serde_json::Map<String, serde_json::Value> {
        let serde_json::Value::Object(facts) = serde_json::json!({
            "image": {"repository": "r.io/a"},
            "source": {"ref": "refs/heads/main"},
            "build": {"hermetic": true},
            "sbom": {"packages": [{"name": "a", "version": "1"}, {"name": "b", "version": "2"}]},
        }) else {
            panic!("facts must be an object")
        };
        facts
    }

    fn holds(text: &str) -> Result<bool, String> {
        Expression::parse(text).unwrap().evaluate(&facts())
    }

    #[test]
    fn expressions_see_the_facts() {
        assert_eq!(holds("source.ref == 'refs/heads/main' && build.hermetic"), Ok(true));
        assert_eq!(holds("sbom.packages.all(p, p.name != 'b')"), Ok(false));
        assert_eq!(holds("size(sbom.packages) == 2"), Ok(true));
        assert!(holds("build.missing == 1").is_err());
        assert!(holds("'yes'").is_err());
    }

    #[test]
    fn expressions_are_bounded_when_loaded() {
        assert_eq!(
            Expression::parse("sbom.packages.all(p, sbom.packages.exists(q, p.name == q.name))"),
            Err(ExpressionError::NestedMacro)
        );
        assert!(matches!(Expression::parse("env.HOME == ''"), Err(ExpressionError::UnknownName { .. })));
        assert!(matches!(Expression::parse("image."), Err(ExpressionError::Parse { .. })));
        assert!(matches!(Expression::parse(&"1+".repeat(2000)), Err(ExpressionError::TooLong { .. })));
        assert!(Expression::parse("sbom.packages.filter(p, p.name == 'a').all(p, p.version == '1')").is_ok());
    }
}
