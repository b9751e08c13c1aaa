//! Every reason for which an edge can fail: one stable word each, and what to do about it.
//!
//! The word feeds the verdict's JSON, Kubernetes conditions, metric labels and `docs/troubleshoot.md`. It never changes its meaning.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident, $undecided:literal, $remedy:literal;)+) => {
        /// Why an edge is in its state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the edges they belong to.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy),+ }
            }

            /// Whether the edge could not be decided, so that trying again may give another answer.
            #[must_use]
            pub const fn is_undecided(self) -> bool {
                match self { $(Self::$name => $undecided),+ }
            }
        }
    };
}

reasons! {
    /// The edge holds.
    Holds, false, "";
    /// The policy does not ask for this edge.
    NotRequired, false, "";
    /// An edge before this one does not hold, so there is nothing to compare with.
    EarlierEdgeBroken, true, "mend the earlier edge first";
    /// The collection of evidence met a cap or an error, so what is missing may exist.
    EvidenceIncomplete, true, "see what could not be fetched, and replay again";
    /// The image's name matches no image pattern of the policy.
    ImageNotCovered, false, "add the image to `images` of a policy, or use the policy meant for it";
    /// The image's manifest is not what its digest says, or is not an image.
    ImageInvalid, false, "push the image again";

    /// No source evidence has the digest that the provenance names.
    SourceMissing, false, "attach the source SBOM that the build used: `assay push` copies it";
    /// The source SBOM is not a document Assay can read.
    SourceSbomInvalid, false, "write it again with `assay sbom`";
    /// The tree rebuilt from the source SBOM is not the tree of the commit.
    TreeMismatch, false, "run `assay sbom` and `assay sign` on the commit's tree, and build that commit";
    /// The tree digest in the SBOM is not the one the provenance recorded.
    TreeDigestMismatch, false, "build the tree the SBOM describes";
    /// The raw commit object is missing or has another id than the provenance names.
    CommitMismatch, false, "build the commit that was signed";
    /// The commit's parents are not those the author signed.
    ParentsMismatch, false, "sign again on top of the current parents: an old signed tree must not be placed elsewhere in history";
    /// The SBOM was signed for another repository.
    RepositoryNotAllowed, false, "build from a repository the policy names, with an SBOM made for it";
    /// The SBOM was signed for another ref.
    RefNotAllowed, false, "build from a ref the policy names, with an SBOM made for it";
    /// The policy asks for a comparison with git itself, and git was not asked or did not answer.
    GitNotConsulted, true, "give access to the repository, or relax `sources.binding`";

    /// Fewer distinct allowed identities signed than the threshold asks for.
    TooFewSignatures, false, "have the missing people sign, or check that their keys are in the policy and valid";
    /// The commit object itself is not signed by anybody the policy names for that.
    CommitNotSigned, false, "sign the commit with git (`commit -S` with `gpg.format` ssh, or x509 and gitsign) by somebody in `sources.commitSignatures`";

    /// No definition evidence has the digest that the provenance names.
    DefinitionMissing, false, "publish the signed definition with `assay pipeline push` and run that";
    /// A definition document cannot be read.
    DefinitionInvalid, false, "sign the definition again with `assay pipeline sign`";
    /// The definition is not signed by an allowed publisher.
    DefinitionNotSigned, false, "have an allowed publisher sign the definition";
    /// The definition SBOM and the definition do not list the same things.
    DefinitionSbomMismatch, false, "make the definition SBOM again with `assay pipeline sbom`";
    /// An image in the definition is named by tag.
    DefinitionNotPinned, false, "pin every image of the definition by digest";

    /// The provenance does not show that the signed definition ran.
    OtherDefinitionRan, false, "run the signed definition through a resolver that records its digest";

    /// The run's specification has something the signed definition or the policy does not allow.
    RunNotClosed, false, "start the run through the signed Pipeline, without extra settings";
    /// A parameter of the run differs from what the gate approved.
    ParameterMismatch, false, "start the run through the signed Pipeline; parameters cannot be changed after the gate";
    /// No provenance of a run of the signed definition proves an output that went in.
    OutputNotProved, false, "build the output in the same PipelineRun, by a Task of the signed definition, into the image's repository";
    /// The recipe that was built is not the one in the source tree.
    RecipeMismatch, false, "build with the recipe that is part of the signed source";
    /// A fact that the run must record is not there.
    FactMissing, false, "build with a current version of the closing Task or of `assay run`";

    /// No provenance about this image is signed by a builder of the policy.
    ProvenanceMissing, false, "build with a builder the policy names, and let it attach its provenance";
    /// The provenance is about another repository.
    OtherRepository, false, "push the image where it was built for, or add a mapping to the policy";
    /// The builder's id or build type is not one the policy names.
    BuilderNotAllowed, false, "use a builder the policy names";
    /// The run did not complete: its completion record is missing or is not over these facts.
    RunNotComplete, false, "build again; failed runs are signed too, but never count";

    /// The result SBOM that the provenance names is not attached.
    ResultSbomMissing, false, "attach the result SBOM that the build made";
    /// The result SBOM cannot be read.
    ResultSbomInvalid, false, "build again with a current version";
    /// The result SBOM describes another image.
    ResultSbomOtherImage, false, "attach the SBOM of this image";
    /// The result SBOM was not generated from the developer SBOM of this build.
    ResultSbomOtherSource, false, "build again, so that the SBOM names its source";
    /// A relationship that the policy asks for is not in the result SBOM.
    RelationshipMissing, false, "build with a version that writes the relationship";
    /// The image holds a package that the policy denies.
    PackageDenied, false, "remove or replace the package";
    /// The image holds something under a licence that the policy denies.
    LicenseDenied, false, "remove or replace the package";
    /// A condition of the policy is not met.
    ConditionNotMet, false, "see the condition's message in the policy";
    /// A condition of the policy could not be evaluated.
    ConditionFailed, true, "mend the condition in the policy";

    /// The gate's verification summary that the run names is not attached, or not signed by a gate of the policy.
    GateMissing, false, "build through the gate the policy names";
    /// The gate's verification summary names another commit, tree, repository, ref or definition.
    GateMismatch, false, "build what the gate approved";
    /// The gate's verification summary belongs to another run.
    GateOtherRun, false, "each run needs its own gate";
    /// The gate judged by a policy that is not accepted here.
    GatePolicyNotAccepted, false, "run the gate again under a current policy, or accept its digest in `gates.policyDigests`";
    /// The gate's verification summary is older than allowed, or younger than the run.
    GateStale, false, "run the gate again";
    /// The gate did not verify all edges it answers for.
    GateIncomplete, false, "run the gate with a policy that asks for E1 and E2, and for E3 and E4 where definitions are required";

    /// Fewer distinct rebuilders than the policy asks for got the same digest.
    TooFewRebuilds, false, "ask more of the named rebuilders to rebuild";
    /// A named rebuilder got another digest.
    RebuildMismatch, false, "find out why with `assay compare`; a person's signed release is needed";
    /// A named rebuilder's signed head is missing, expired, older than one seen before, or contradicts another.
    RebuilderStale, true, "have the rebuilder publish a current head, and see that its mirror in `rebuilds.mirrors` can be reached";
    /// A named rebuilder's head lists a statement about this image that is not there.
    RebuildWithheld, true, "get the statement from the rebuilder's own repository, and find out who left it out";

    /// Something newer was admitted before.
    OlderThanAdmitted, false, "deploy the newer one, or give a signed rollback statement";
    /// The history does not contain what was admitted before.
    HistoryDiverged, false, "merge what was admitted before, or give a signed rollback statement";
    /// There is no order to compare with what was admitted before.
    OrderUnknown, true, "carry more ancestor commits, or build through a gate";

    /// The node's last attestation failed.
    NodeNotAttested, false, "see why the node failed; an operator's signed word is needed after a failure";
    /// The verifier does not check of the node what the policy asks for.
    NodeNotChecked, false, "enrol the node's agent with a policy for these PCRs, measured boot or IMA, or ask for less";
    /// The node's last attestation is too old, or the verifier did not answer.
    NodeStale, true, "check that the Keylime verifier is up";

    /// An input is neither verified itself nor on the policy's list.
    InputNotAllowed, false, "use an input that has its own verdict, or add its digest to `inputs.images`";
    /// The build was not hermetic, or did not say.
    NotHermetic, false, "build hermetically";
    /// The image holds a package that the source does not declare.
    ContentsNotDeclared, false, "declare it in a lock file of the source";

    /// The list of revocations is missing, unreadable or expired.
    RevocationsStale, true, "publish a current list of revocations";
    /// The image, commit, identity or key was revoked.
    Revoked, false, "build again without what was revoked";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
            if !matches!(reason, Reason::Holds | Reason::NotRequired) {
                assert!(!reason.remedy().is_empty(), "{reason}");
            }
        }
    }
}
