//! The controller: CRDs, reconcilers, webhooks. Bytes are fetched here and in the adapters, `assay-core` judges them.

pub mod serve;
