//! The validating decision: what the request brings in, what is known of it, and what is replayed for it now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use assay_core::admission::decision::{Case, Question, Refusal, Standing, Unmatched};
use assay_core::admission::review::{Answer, Operation, Request};
use assay_core::admission::verdict::Key;
use assay_core::admission::workload::{self, ImageUse};
use assay_core::policy::Policy;
use futures::future::join_all;
use tokio::time::Instant;

use crate::arbiter::clock::now;
use crate::arbiter::replay::Pending;
use crate::arbiter::store::Known;
use crate::arbiter::{Settings, Shared};

/// A refusal this old is looked at again when somebody asks: its evidence may have come since, in seconds.
const AGAIN: i64 = 5;
/// Most questions of one request that are replayed for.
const REPLAYED: usize = 64;

/// Decides what comes in.
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    unmatched: Unmatched,
}

impl Door {
    pub(super) fn new(shared: Arc<Shared>, settings: Settings) -> Self {
        let unmatched = settings.unmatched_images.into();
        Self { shared, settings, unmatched }
    }

    /// Images this request brings in; `None` if there is nothing to judge.
    ///
    /// What ran before and is not changed is not judged again: labels of a running pod may change though its verdict is gone.
    pub(super) fn brought_in(&self, request: &Request) -> Result<Option<Vec<ImageUse>>, Answer> {
        if self.settings.is_exempt(&request.namespace) {
            return Ok(None);
        }
        let refuse = |error: workload::WorkloadError| {
            let refusal = Refusal::new(error.reason(), "", error.to_string(), "see docs/admission.md");
            Answer::deny(format!("{} {:?} is refused: {refusal}", request.kind.kind, request.shown_name()))
        };
        let images = match request.operation {
            Operation::Delete => return Ok(None),
            Operation::Connect => {
                let refusal = Refusal::new("OperationUnknown", "CREATE or UPDATE", "CONNECT", "mend the webhook configuration");
                return Err(Answer::deny(refusal.to_string()));
            }
            Operation::Create => workload::images(&request.kind, &request.object).map_err(refuse)?,
            Operation::Update => {
                let after = workload::images(&request.kind, &request.object).map_err(refuse)?;
                // What cannot be read of the old object counts as if it were not there.
                let before = workload::images(&request.kind, &request.old_object).unwrap_or_default();
                workload::brought_in(&before, after)
            }
        };
        Ok((!images.is_empty()).then_some(images))
    }

    pub(super) async fn validate(&self, request: &Request, began: Instant) -> Answer {
        let images = match self.brought_in(request) {
            Ok(Some(images)) => images,
            Ok(None) => return Answer::allow(),
            Err(answer) => return answer,
        };
        if !self.shared.is_ready() {
            let refusal = Refusal::new("Starting", "", "policies and verdicts are not read yet", "try again in a few seconds");
            return Answer::deny(refusal.to_string());
        }
        let policies = self.shared.policies.current();
        let case = Case::new(&images, &request.namespace, &policies, self.unmatched);
        let deadline = began + self.settings.budget();
        // Each image under each policy once, however often the object names it.
        let mut asked: HashMap<Key, &Arc<Policy>> = HashMap::new();
        for question in case.questions() {
            if let Ok(policy) = &question.bound.policy {
                asked.entry(self.key(&question)).or_insert(policy);
            }
        }
        let answers: HashMap<Key, Standing> = join_all(asked.into_iter().enumerate().map(|(index, (key, policy))| async move {
            let standing = self.standing(&key, policy, deadline, index < REPLAYED).await;
            (key, standing)
        }))
        .await
        .into_iter()
        .collect();
        case.decide(|question| answers.get(&self.key(question)).cloned().unwrap_or(Standing::BeingVerified))
    }

    fn key(&self, question: &Question<'_>) -> Key {
        self.shared.replayer.key_of(question.repository, question.digest, question.policy)
    }

    /// How an image stands under a policy: by a fresh verdict, or by a replay in the time there is.
    async fn standing(&self, key: &Key, policy: &Arc<Policy>, deadline: Instant, may_replay: bool) -> Standing {
        let now = now();
        let known = self.shared.verdicts.get(key).filter(|known| known.is_fresh(now));
        match &known {
            Some(Known::Signed { passed: true, .. }) => return Standing::Verified,
            Some(known) if now.seconds() - known.time().seconds() < AGAIN => return judged(known),
            _ => {}
        }
        if !may_replay {
            return known.as_ref().map_or(Standing::BeingVerified, judged);
        }
        // A refusal that is known can be told at once if the replay takes long.
        let patience = if known.is_some() { deadline.min(Instant::now() + Duration::from_secs(2)) } else { deadline };
        match self.shared.replayer.request(key, policy, patience).await {
            Ok(found) => judged(&found),
            Err(Pending::Running | Pending::Full) => known.as_ref().map_or(Standing::BeingVerified, judged),
        }
    }
}

fn judged(known: &Known) -> Standing {
    match known {
        Known::Signed { passed: true, .. } => Standing::Verified,
        Known::Signed { passed: false, refusal, .. } => Standing::Refused(match refusal {
            Some(refusal) => (**refusal).clone(),
            None => Refusal::new("NotVerified", "", "the arbiter found that it does not pass", "see its ImageVerdict"),
        }),
        Known::Undecided { refusal, .. } => Standing::Undecided((**refusal).clone()),
    }
}
