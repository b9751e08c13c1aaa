//! The decision over one request: every image, every policy that is for it, and what is known of the two together.

use std::collections::BTreeMap;
use std::fmt;

use super::policies::{Bound, Policies};
use super::review::Answer;
use super::workload::ImageUse;
use crate::digest::Digest;
use crate::edge::{Edge, Finding};
use crate::policy::{Mode, Policy};
use crate::reference::{Reference, Repository};

/// Most refusals that are told in full.
const TOLD: usize = 5;
/// Longest value that is told, in characters.
const VALUE: usize = 300;

/// What happens to images that no cluster policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// They are refused.
    Deny,
    /// They are let in with a warning.
    Warn,
    /// They are let in. For getting to know a cluster, never for keeping it: a registry has many names.
    Allow,
}

/// What is known, on the server's side alone, of one image under one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The arbiter signed that it passed, and that word is fresh.
    Verified,
    /// It was let in before for this same workload, and nothing was revoked since.
    AdmittedBefore,
    /// A signed exception by people who may give one is for it. Names the exception.
    Excepted(String),
    /// The arbiter signed that it did not pass. Final until the evidence changes.
    Refused(Refusal),
    /// It could not be decided.
    Undecided(Refusal),
    /// It is being verified, and was not finished in the time there is.
    BeingVerified,
}

/// Why an image is refused, so that people can act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The edge that does not hold, if it is an edge.
    pub edge: Option<Edge>,
    /// Stable reason, PascalCase.
    pub reason: String,
    /// What had to be there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    /// A refusal that is not about an edge.
    #[must_use]
    pub fn new(reason: &str, expected: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { edge: None, reason: reason.to_owned(), expected: expected.into(), found: found.into(), remedy: remedy.into() }
    }
}

impl From<&Finding> for Refusal {
    fn from(finding: &Finding) -> Self {
        Self {
            edge: Some(finding.edge),
            reason: finding.reason.as_str().to_owned(),
            expected: finding.expected.clone(),
            found: finding.found.clone(),
            remedy: finding.remedy.clone(),
        }
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= VALUE { text.to_owned() } else { text.chars().take(VALUE - 1).chain(['…']).collect() }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(edge) = self.edge {
            write!(f, "{edge} ({}): ", edge.name())?;
        }
        write!(f, "{}", self.reason)?;
        if !self.expected.is_empty() {
            write!(f, ": expected {}", short(&self.expected))?;
        }
        if !self.found.is_empty() {
            write!(f, ", found {}", short(&self.found))?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; to mend it: {}", self.remedy)?;
        }
        Ok(())
    }
}

/// One thing to find out: does this image pass this policy?
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Where the object uses it.
    pub image: &'a ImageUse,
    /// Repository, canonical.
    pub repository: &'a Repository,
    /// The image itself.
    pub digest: Digest,
    /// The policy object.
    pub bound: &'a Bound,
    /// Its policy.
    pub policy: &'a Policy,
}

/// One image of the request.
struct Subject<'a> {
    image: &'a ImageUse,
    reference: Result<Reference, Refusal>,
    policies: Vec<&'a Bound>,
    covered: bool,
}

/// A request while it is decided: first the questions, then, with their answers, the decision.
pub struct Case<'a> {
    subjects: Vec<Subject<'a>>,
    unmatched: Unmatched,
}

impl<'a> Case<'a> {
    /// Finds which policies each image has to satisfy in this namespace.
    #[must_use]
    pub fn new(images: &'a [ImageUse], namespace: &str, policies: &'a Policies, unmatched: Unmatched) -> Self {
        let subjects = images
            .iter()
            .map(|image| match image.reference() {
                Ok(reference) => {
                    let applicable = policies.applicable(namespace, &reference.repository);
                    Subject { image, reference: Ok(reference), policies: applicable.policies, covered: applicable.covered }
                }
                Err(error) => {
                    let remedy = "name the image in full, by registry host, path and digest";
                    let refusal = Refusal::new(error.reason(), "one full reference", error.to_string(), remedy);
                    Subject { image, reference: Err(refusal), policies: Vec::new(), covered: false }
                }
            })
            .collect();
        Self { subjects, unmatched }
    }

    /// Everything that has to be known before [`Self::decide`]: each image that is pinned with each policy that can be read.
    pub fn questions(&self) -> impl Iterator<Item = Question<'_>> {
        self.subjects.iter().flat_map(|subject| {
            let pinned = subject.reference.as_ref().ok().and_then(|reference| Some((&reference.repository, reference.digest?)));
            subject.policies.iter().filter_map(move |bound| {
                let (repository, digest) = pinned?;
                let policy = bound.policy.as_ref().ok()?;
                Some(Question { image: subject.image, repository, digest, bound, policy })
            })
        })
    }

    /// Decides. `standing` answers the questions; it is asked for each, and nothing passes that it does not say passes.
    #[must_use]
    pub fn decide(&self, standing: impl Fn(&Question<'_>) -> Standing) -> Answer {
        let mut outcome = Outcome::default();
        for subject in &self.subjects {
            let reference = match &subject.reference {
                Ok(reference) => reference,
                // No mode of a policy helps a name of which it is not known which policies are for it.
                Err(refusal) => {
                    outcome.refuse(Mode::Enforce, subject, "", refusal);
                    continue;
                }
            };
            if !subject.covered {
                let refusal = Refusal::new(
                    "NoPolicy",
                    "a ClusterTrustPolicy for the image",
                    format!("none is for {}", reference.repository),
                    "add the image to `images` of a ClusterTrustPolicy",
                );
                match self.unmatched {
                    Unmatched::Deny => outcome.refuse(Mode::Enforce, subject, "", &refusal),
                    Unmatched::Warn => outcome.refuse(Mode::Warn, subject, "", &refusal),
                    Unmatched::Allow => outcome.note("unmatched", &reference.to_string()),
                }
            }
            for bound in &subject.policies {
                self.judge(&mut outcome, subject, reference, bound, &standing);
            }
        }
        outcome.into_answer()
    }

    fn judge(
        &self,
        outcome: &mut Outcome,
        subject: &Subject<'_>,
        reference: &Reference,
        bound: &Bound,
        standing: &impl Fn(&Question<'_>) -> Standing,
    ) {
        let policy = match &bound.policy {
            Ok(policy) => policy,
            Err(why) => {
                let refusal = Refusal::new("PolicyInvalid", "a policy that can be read", why, "mend the policy");
                return outcome.refuse(Mode::Enforce, subject, &bound.to_string(), &refusal);
            }
        };
        let mode = policy.spec().mode;
        let digest = match reference.pinned() {
            Ok(digest) => digest,
            Err(error) => {
                let remedy = "pin the image by digest; `kubectl assay why` shows the one the tag names now";
                let refusal = Refusal::new("ImageNotPinned", "an image by digest", error.to_string(), remedy);
                return outcome.refuse(mode, subject, &bound.to_string(), &refusal);
            }
        };
        let question = Question { image: subject.image, repository: &reference.repository, digest, bound, policy };
        match standing(&question) {
            Standing::Verified => outcome.note("verified", &format!("{}@{digest} by {bound}", reference.repository)),
            Standing::AdmittedBefore => {
                outcome.note("admitted-before", &format!("{}@{digest} by {bound}", reference.repository));
            }
            Standing::Excepted(name) => {
                let text = format!("{}: let in by SignedException {name:?}", subject.image);
                outcome.note("excepted", &format!("{}@{digest} by SignedException {name:?}", reference.repository));
                outcome.warnings.push(text);
            }
            Standing::Refused(refusal) | Standing::Undecided(refusal) => {
                outcome.refuse(mode, subject, &bound.to_string(), &refusal);
            }
            Standing::BeingVerified => {
                let refusal = Refusal::new(
                    "BeingVerified",
                    "a verdict of the arbiter",
                    "none yet: it is being verified",
                    "try again in a few seconds",
                );
                outcome.refuse(mode, subject, &bound.to_string(), &refusal);
            }
        }
    }
}

/// What was decided so far.
#[derive(Default)]
struct Outcome {
    denials: Vec<String>,
    warnings: Vec<String>,
    notes: BTreeMap<&'static str, Vec<String>>,
}

impl Outcome {
    fn refuse(&mut self, mode: Mode, subject: &Subject<'_>, policy: &str, refusal: &Refusal) {
        let by = if policy.is_empty() { String::new() } else { format!(" by {policy}") };
        let text = format!("{}: image {:?} is refused{by}: {refusal}", subject.image, short(&subject.image.text));
        match mode {
            Mode::Enforce => self.denials.push(text),
            Mode::Warn => self.warnings.push(text),
            Mode::Audit => self.note("would-refuse", &text),
        }
    }

    fn note(&mut self, what: &'static str, text: &str) {
        self.notes.entry(what).or_default().push(text.to_owned());
    }

    fn into_answer(mut self) -> Answer {
        let more = self.denials.len().saturating_sub(TOLD);
        self.denials.truncate(TOLD);
        let mut refusal = self.denials.join("; ");
        if more > 0 {
            refusal.push_str(&format!("; and {more} more"));
        }
        Answer {
            refusal: (!refusal.is_empty()).then_some(refusal),
            warnings: self.warnings,
            audit: self.notes.into_iter().map(|(what, texts)| (what.to_owned(), texts.join("; "))).collect(),
            patch: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::policies::{Scope, tests::bound};
    use super::super::workload::Use;
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn image(text: &str) -> Vec<ImageUse> {
        vec![ImageUse {
            used_as: Use::Container,
            name: "app".into(),
            text: text.into(),
            pointer: "/spec/containers/0/image".into(),
        }]
    }

    fn pinned(path: &str) -> Vec<ImageUse> {
        image(&format!("r.io/{path}@sha256:{HEX}"))
    }

    fn policies(modes: &[&str]) -> Policies {
        let mut policies = Policies::default();
        for (index, mode) in modes.iter().enumerate() {
            policies.set(bound(Scope::Cluster, &format!("p{index}"), "team/app", mode));
        }
        policies
    }

    fn decide(images: &[ImageUse], policies: &Policies, unmatched: Unmatched, standing: &Standing) -> Answer {
        Case::new(images, "prod", policies, unmatched).decide(|_| standing.clone())
    }

    fn broken() -> Refusal {
        Refusal::from(&Finding::refused(Edge::E7, crate::reason::Reason::ProvenanceMissing, "provenance", "none"))
    }

    #[test]
    fn a_verified_image_is_let_in() {
        let answer = decide(&pinned("team/app"), &policies(&["Enforce"]), Unmatched::Deny, &Standing::Verified);
        assert_eq!(answer.refusal, None);
        assert!(answer.audit["verified"].contains("ClusterTrustPolicy \"p0\""));
    }

    #[test]
    fn everything_but_verified_is_refused_and_says_why() {
        for (standing, word) in [
            (
                Standing::Refused(broken()),
                "E7 (made this): ProvenanceMissing: expected provenance, found none; to mend it: build with",
            ),
            (Standing::Undecided(broken()), "ProvenanceMissing"),
            (Standing::BeingVerified, "try again"),
        ] {
            let answer = decide(&pinned("team/app"), &policies(&["Enforce"]), Unmatched::Allow, &standing);
            let message = answer.refusal.unwrap();
            assert!(message.contains(word) && message.contains("container \"app\"") && message.contains(HEX), "{message}");
        }
    }

    #[test]
    fn modes_say_what_a_refusal_does_and_all_policies_must_hold() {
        let refused = Standing::Refused(broken());
        let with = |modes: &[&str]| decide(&pinned("team/app"), &policies(modes), Unmatched::Deny, &refused);
        assert!(with(&["Enforce"]).refusal.is_some());
        assert!(with(&["Audit", "Warn", "Enforce"]).refusal.is_some());
        let warned = with(&["Warn", "Audit"]);
        assert_eq!((warned.refusal.is_none(), warned.warnings.len()), (true, 1));
        assert!(warned.audit.contains_key("would-refuse"));
    }

    /// Lesson L7: no match is no pass.
    #[test]
    fn lesson_l7_an_image_without_policy_is_refused_unless_configured() {
        let with = |unmatched| decide(&pinned("other"), &policies(&["Enforce"]), unmatched, &Standing::Verified);
        assert!(with(Unmatched::Deny).refusal.unwrap().contains("NoPolicy"));
        assert_eq!(with(Unmatched::Warn).warnings.len(), 1);
        assert!(with(Unmatched::Allow).refusal.is_none());
        let mut own = Policies::default();
        own.set(bound(Scope::Namespace("prod".into()), "own", "team/app", "Enforce"));
        let answer = decide(&pinned("team/app"), &own, Unmatched::Deny, &Standing::Verified);
        assert!(answer.refusal.unwrap().contains("NoPolicy"), "a namespace cannot vouch for itself");
    }

    /// Lesson L4: a tag is refused even if everything about its image is fine.
    #[test]
    fn lesson_l4_tags_are_refused() {
        let enforce = policies(&["Enforce"]);
        let with = |text: &str| decide(&image(text), &enforce, Unmatched::Allow, &Standing::Verified).refusal;
        assert!(with("r.io/team/app:v1").unwrap().contains("ImageNotPinned"));
        assert!(with("r.io/team/app").unwrap().contains("ImageNotPinned"));
        assert!(with(&format!("r.io/team/app:v1@sha256:{HEX}")).is_none(), "with a digest the tag does not count");
        for text in ["busybox", "", "docker.io/busybox", "r.io/team/app@sha512:00", "r.io/team//app"] {
            assert!(with(text).is_some(), "{text}: not even where everything is let in");
        }
    }

    #[test]
    fn an_unreadable_policy_refuses() {
        let mut policies = policies(&["Audit"]);
        policies.set(Bound { scope: Scope::Cluster, name: "x".into(), policy: Err("field `a`".into()) });
        let answer = decide(&pinned("team/app"), &policies, Unmatched::Allow, &Standing::Verified);
        assert!(answer.refusal.unwrap().contains("PolicyInvalid"));
    }

    #[test]
    fn each_image_is_asked_about_under_each_policy() {
        let policies = policies(&["Enforce", "Warn"]);
        let images = pinned("team/app");
        let case = Case::new(&images, "prod", &policies, Unmatched::Deny);
        assert_eq!(case.questions().count(), 2);
        let answer =
            case.decide(|question| if question.bound.name == "p0" { Standing::Verified } else { Standing::BeingVerified });
        assert_eq!((answer.refusal, answer.warnings.len()), (None, 1));
    }

    #[test]
    fn many_refusals_are_counted() {
        let images: Vec<ImageUse> = (0..9).flat_map(|_| pinned("team/app")).collect();
        let answer = decide(&images, &policies(&["Enforce"]), Unmatched::Deny, &Standing::BeingVerified);
        assert!(answer.refusal.unwrap().ends_with("and 4 more"));
    }
}
