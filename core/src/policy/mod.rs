//! Trust policies: data that says which images may run, and which edges must hold for that.
//!
//! A policy file and the Kubernetes objects `TrustPolicy` and `ClusterTrustPolicy` have the same schema. Unknown fields, empty lists,
//! and a policy that could admit an image without any edge are refused when it is loaded, with the line.

pub mod condition;
mod load;
pub mod pattern;
pub mod types;

pub(crate) use load::yaml_options;
pub use load::{API_VERSION, Policy, PolicyError};
pub use types::{Mode, Spec};
