//! E13: what went in is itself vouched for.

use super::Chain;
use super::outputs::Outputs;
use super::source::Source;
use crate::edge::{Edge, Finding};
use crate::policy::types::{Contents, Hermetic};
use crate::reason::Reason;

pub(super) fn judge(chain: &mut Chain<'_>, source: &Source, outputs: &Outputs) -> Finding {
    let Some(required) = &chain.policy.spec().inputs else { return Finding::not_required(Edge::E13) };
    // The closing Task runs no command, and all it takes from outside is named by digest; the commands ran where its inputs were made.
    let hermetic = chain.facts.hermetic.or_else(|| chain.facts.tekton.as_ref().map(|_| outputs.all_hermetic));
    if required.hermetic == Hermetic::Required && hermetic != Some(true) {
        let found = match hermetic {
            Some(_) => "not hermetic",
            None => "the provenance does not say",
        };
        return Finding::refused(Edge::E13, Reason::NotHermetic, "a hermetic build", found);
    }
    let listed: Vec<_> = required.images.iter().flat_map(|images| images.iter()).map(|image| image.digest).collect();
    let inputs = chain.facts.inputs.iter().chain(&outputs.inputs);
    for input in inputs {
        let name = if input.name.is_empty() { &input.uri } else { &input.name };
        let Some(digest) = input.sha256() else {
            return Finding::refused(Edge::E13, Reason::InputNotAllowed, format!("a SHA-256 digest of input {name:?}"), "none");
        };
        if let Some(why) = chain.revoked.image(&digest) {
            return Finding::refused(Edge::E13, Reason::Revoked, "inputs that are not revoked", why);
        }
        if !listed.contains(&digest) && !chain.state.verified_inputs.contains(&digest) {
            let expected = "inputs with a verdict of their own, or on the policy's list";
            return Finding::refused(Edge::E13, Reason::InputNotAllowed, expected, format!("{name} {digest}"));
        }
    }
    if required.contents == Contents::Declared
        && let Err(found) = super::contents::all_declared(chain, source)
    {
        return Finding::refused(Edge::E13, Reason::ContentsNotDeclared, "packages declared by the source", found);
    }
    Finding::ok(Edge::E13, "inputs that are vouched for", format!("{} inputs", chain.facts.inputs.len() + outputs.inputs.len()))
}
