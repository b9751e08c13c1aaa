//! Which policies an image has to satisfy.
//!
//! All that match must hold: those of the cluster, and those of the namespace besides. A namespaced policy can only tighten: an image
//! that no cluster policy is for stays without policy, whatever a namespace says about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::policy::Policy;
use crate::reference::Repository;

/// Where a policy counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everywhere: a `ClusterTrustPolicy`.
    Cluster,
    /// In one namespace: a `TrustPolicy`.
    Namespace(String),
}

/// A policy object of the cluster.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Where it counts.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// The policy, or why it cannot be read.
    pub policy: Result<Arc<Policy>, String>,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Cluster => write!(f, "ClusterTrustPolicy {:?}", self.name),
            Scope::Namespace(namespace) => write!(f, "TrustPolicy {:?}", format!("{namespace}/{}", self.name)),
        }
    }
}

/// All policies of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Policies(BTreeMap<(Scope, String), Bound>);

/// The policies for one image in one namespace.
#[derive(Debug, Clone)]
pub struct Applicable<'a> {
    /// All that match, and all that cannot be read: whether those match is not known.
    pub policies: Vec<&'a Bound>,
    /// Whether one of them is the cluster's.
    pub covered: bool,
}

impl Policies {
    /// Adds a policy, or puts it in the place of the one of the same scope and name.
    pub fn set(&mut self, bound: Bound) {
        self.0.insert((bound.scope.clone(), bound.name.clone()), bound);
    }

    /// Takes a policy away.
    pub fn remove(&mut self, scope: &Scope, name: &str) {
        self.0.remove(&(scope.clone(), name.to_owned()));
    }

    /// The policy of this scope and name.
    #[must_use]
    pub fn get(&self, scope: &Scope, name: &str) -> Option<&Bound> {
        self.0.get(&(scope.clone(), name.to_owned()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Bound> {
        self.0.values()
    }

    /// Those for an image of `repository` in `namespace`.
    #[must_use]
    pub fn applicable(&self, namespace: &str, repository: &Repository) -> Applicable<'_> {
        let policies: Vec<&Bound> = self
            .iter()
            .filter(|bound| match &bound.scope {
                Scope::Cluster => true,
                Scope::Namespace(name) => name == namespace,
            })
            .filter(|bound| bound.policy.as_ref().map_or(true, |policy| is_for(policy, repository)))
            .collect();
        let covered = policies.iter().any(|bound| bound.scope == Scope::Cluster);
        Applicable { policies, covered }
    }
}

/// Whether the policy is for images of this repository.
#[must_use]
pub fn is_for(policy: &Policy, repository: &Repository) -> bool {
    policy.spec().images.iter().any(|pattern| pattern.matches(repository))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const KEY: &str = include_str!("../../testdata/tekton-chains/cosign.pub");

    pub(in crate::admission) fn bound(scope: Scope, name: &str, path: &str, mode: &str) -> Bound {
        let key = KEY.lines().map(|line| format!("                {line}\n")).collect::<String>();
        let text = format!(
            "apiVersion: assay.dev/v1alpha1
kind: TrustPolicy
metadata:
  name: {name}
spec:
  mode: {mode}
  images:
    - host: r.io
      path: {path}
  builders:
    - id: https://assay.dev/builder/local
      buildTypes: [https://assay.dev/buildtypes/recipe/v1]
      identities:
        - name: builder
          keys:
            - key: |
{key}"
        );
        let policy = Policy::parse(text.as_bytes()).unwrap();
        Bound { scope, name: name.into(), policy: Ok(Arc::new(policy)) }
    }

    fn names(policies: &Policies, namespace: &str, repository: &str) -> (Vec<String>, bool) {
        let found = policies.applicable(namespace, &repository.parse().unwrap());
        (found.policies.iter().map(|bound| bound.name.clone()).collect(), found.covered)
    }

    #[test]
    fn all_that_match_apply_and_namespaces_only_tighten() {
        let mut policies = Policies::default();
        policies.set(bound(Scope::Cluster, "all", "team/**", "Enforce"));
        policies.set(bound(Scope::Cluster, "app", "team/app", "Audit"));
        policies.set(bound(Scope::Namespace("prod".into()), "strict", "team/app", "Enforce"));
        policies.set(bound(Scope::Namespace("prod".into()), "own", "other/app", "Enforce"));
        assert_eq!(names(&policies, "prod", "r.io/team/app"), (vec!["all".into(), "app".into(), "strict".into()], true));
        assert_eq!(names(&policies, "dev", "r.io/team/app"), (vec!["all".into(), "app".into()], true));
        assert_eq!(names(&policies, "prod", "r.io/other/app"), (vec!["own".into()], false), "a namespace alone covers nothing");
        assert_eq!(names(&policies, "dev", "r.io/other/app"), (vec![], false));
    }

    /// Lesson L5: a policy that cannot be read is not a policy that does not match.
    #[test]
    fn lesson_l5_an_unreadable_policy_applies_to_everything_in_its_scope() {
        let mut policies = Policies::default();
        policies.set(Bound { scope: Scope::Cluster, name: "broken".into(), policy: Err("no".into()) });
        policies.set(Bound { scope: Scope::Namespace("a".into()), name: "broken-too".into(), policy: Err("no".into()) });
        assert_eq!(names(&policies, "a", "r.io/x"), (vec!["broken".into(), "broken-too".into()], true));
        assert_eq!(names(&policies, "b", "r.io/x"), (vec!["broken".into()], true));
    }
}
