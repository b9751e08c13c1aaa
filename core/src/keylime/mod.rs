//! Is a node attested now? Answers of a Keylime verifier, an administrator's bindings, and the rule that joins them (E12).
//!
//! A verifier's word is not taken as it stands. PASS alone is not alive: it stays while an agent is unreachable, and comes back when a
//! dead one is reactivated. PASS without a policy attests nothing but the TPM's key. A failure stays, until a person's word. What counts is
//! a recent good quote, by the verifier's own clock, under a policy with the expected content, by the agent that an administrator bound to
//! this node ([`trust`]).
//!
//! Read from Keylime 7.14 (API 2.1 to 2.6, and the push model); fields that are not needed are not read, among them `v`, half of a
//! payload key.

pub mod answer;
pub mod binding;
pub mod enforce;
pub mod period;
pub mod placement;
pub mod policy;
pub mod release;
pub mod report;
pub mod trust;

pub use answer::{Agent, AnswerError, Attested, Fleet, OperationalState, parse_fleet};
pub use binding::{AgentId, Binding, Bindings};
pub use enforce::{Loss, TAINT, Taints};
pub use period::http_date;
pub use policy::{Checked, Requirements, TpmPolicy, Wanted};
pub use trust::{Eviction, Judgement, NodeReason, Previous, judge};
