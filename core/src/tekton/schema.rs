//! How Go's encoder walks a type: the vocabulary of the generated table in `types`.

use super::types::STRUCTS;

/// A Go struct.
#[derive(Debug)]
pub(super) struct Struct {
    /// Package and name.
    pub(super) name: &'static str,
    /// Members in the order in which they are written.
    pub(super) fields: &'static [Field],
}

/// One member.
#[derive(Debug)]
pub(super) struct Field {
    /// Name in JSON. Case matters.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) shape: Shape,
    /// Whether it is a pointer: then "not given" differs from "given and empty".
    pub(super) pointer: bool,
    /// When it is not written.
    pub(super) omit: Omit,
}

/// When a member is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Omit {
    /// It always is.
    Never,
    /// When it is nil, or an empty string, list, map, zero or false.
    Empty,
    /// When it is the zero time. Tekton up to 1.9 wrote `null` instead.
    ZeroTime,
}

/// What a member holds.
#[derive(Debug)]
pub(super) enum Shape {
    /// A string.
    Text,
    /// A boolean.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// `resource.Quantity`: a string or number with a suffix, written in canonical form.
    Quantity,
    /// `metav1.Duration`: a string as `time.ParseDuration` reads it.
    Duration,
    /// `metav1.Time`: RFC 3339.
    Time,
    /// A string or a whole number.
    IntOrString,
    /// Tekton's `ParamValue`: a string, a list of strings, a map of strings, or anything else as its JSON text.
    Param,
    /// Any JSON, kept as it came.
    Raw,
    /// The n-th struct of the table.
    Struct(usize),
    /// A list of one shape.
    List(&'static Self),
    /// A map from strings to one shape.
    Map(&'static Self),
}

/// Members of the n-th struct. The table holds every index that it names.
pub(super) fn fields(index: usize) -> &'static [Field] {
    STRUCTS.get(index).map_or(&[], |of| of.fields)
}

/// Name of the n-th struct.
pub(super) fn name(index: usize) -> &'static str {
    STRUCTS.get(index).map_or("", |of| of.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_only_structs_it_holds() {
        fn check(shape: &Shape) {
            match shape {
                Shape::Struct(index) => assert!(STRUCTS.get(*index).is_some()),
                Shape::List(of) | Shape::Map(of) => check(of),
                _ => {}
            }
        }
        STRUCTS.iter().flat_map(|of| of.fields).for_each(|field| check(&field.shape));
    }
}
