//! The validating decision: what the request brings in, what is known of it, and what is replayed for it now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use assay_core::admission::decision::{Case, Question, Refusal, Standing, Unmatched};
use assay_core::admission::forward::{Line, has_to_be_asked};
use assay_core::admission::owner::owner;
use assay_core::admission::record::Record;
use assay_core::admission::review::{Answer, Operation, Request};
use assay_core::admission::verdict::Key;
use assay_core::admission::workload::{self, ImageUse};
use assay_core::policy::Policy;
use assay_core::verify::Granted;
use futures::future::join_all;
use kube::Client;
use tokio::time::Instant;

use super::binding::is_binding;
use crate::arbiter::clock::now;
use crate::arbiter::events::{self, Told};
use crate::arbiter::replay::Pending;
use crate::arbiter::store::Known;
use crate::arbiter::{Settings, Shared};

/// A refusal this old is looked at again when somebody asks: its evidence may have come since, in seconds.
const AGAIN: i64 = 5;
/// Most questions of one request that are replayed for.
const REPLAYED: usize = 64;

/// On whose behalf a request is judged.
struct AskedBy<'a> {
    request: &'a Request,
    /// What is recorded of the workload whose controller made the object.
    record: Option<&'a Record>,
    /// Whether somebody else made it: then it is new.
    is_new: bool,
}

/// Decides what comes in.
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) client: Client,
    unmatched: Unmatched,
}

impl Door {
    pub(super) fn new(shared: Arc<Shared>, settings: Settings, client: Client) -> Self {
        let unmatched = settings.unmatched_images.into();
        Self { shared, settings, client, unmatched }
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
        let (images, owner, is_new) = if is_binding(request) {
            if self.settings.is_exempt(&request.namespace) {
                return Answer::allow();
            }
            match self.bound(request).await {
                Ok((images, owner)) => (images, owner, false),
                Err(answer) => return answer,
            }
        } else {
            let owner = owner(request);
            let is_new = owner.is_none();
            match self.brought_in(request) {
                Ok(Some(images)) => (images, owner, is_new),
                Ok(None) => return Answer::allow(),
                Err(answer) => return answer,
            }
        };
        if !self.shared.is_ready() {
            let refusal = Refusal::new("Starting", "", "policies and verdicts are not read yet", "try again in a few seconds");
            return Answer::deny(refusal.to_string());
        }
        let policies = self.shared.policies.current();
        let case = Case::new(&images, &request.namespace, &policies, self.unmatched);
        let deadline = began + self.settings.budget();
        let record = owner.and_then(|owner| self.record(&owner.uid));
        let asked_by = AskedBy { request, record: record.as_deref(), is_new };
        // Each image under each policy once, however often the object names it. A record is asked first, at each place of its own.
        let mut asked: HashMap<Key, &Arc<Policy>> = HashMap::new();
        for question in case.questions() {
            if let Ok(policy) = &question.bound.policy
                && !self.was_admitted(&asked_by, &question)
            {
                asked.entry(self.key(&question)).or_insert(policy);
            }
        }
        let asked_by = &asked_by;
        let answers: HashMap<Key, Standing> = join_all(asked.into_iter().enumerate().map(|(index, (key, policy))| async move {
            let standing = self.answer(&key, policy, asked_by, deadline, index < REPLAYED).await;
            (key, standing)
        }))
        .await
        .into_iter()
        .collect();
        let answer = case.decide(|question| match answers.get(&self.key(question)) {
            _ if self.was_admitted(asked_by, question) => Standing::AdmittedBefore,
            Some(standing) => standing.clone(),
            None => Standing::BeingVerified,
        });
        if answer.refusal.is_none() && !request.is_dry_run() {
            self.trace(request, &case, &answers).await;
        }
        answer
    }

    /// What is recorded of the workload that an object is made for.
    fn record(&self, uid: &str) -> Option<Arc<Record>> {
        let top = self.shared.owners.top(uid);
        self.shared.records.of(&top).or_else(|| self.shared.records.of(uid))
    }

    fn was_admitted(&self, asked_by: &AskedBy<'_>, question: &Question<'_>) -> bool {
        let Some(record) = asked_by.record else { return false };
        let revoked = self.shared.replayer.revoked(question.policy);
        let revoked = revoked.as_ref().map(|current| current.list.as_ref());
        record.admits(question.image, question.repository, question.digest, question.policy, revoked).is_ok()
    }

    /// Exceptions leave a trace wherever one is looked for.
    async fn trace(&self, request: &Request, case: &Case<'_>, answers: &HashMap<Key, Standing>) {
        for question in case.questions() {
            let Some(Standing::Excepted(names)) = answers.get(&self.key(&question)) else { continue };
            self.shared.metrics.exception_used(question.policy.name());
            let note = format!(
                "{} {}/{}, {}: {}@{} was let in past {} by {:?}",
                request.kind.kind,
                request.namespace,
                request.shown_name(),
                question.image,
                question.repository,
                question.digest,
                question.bound,
                names,
            );
            tracing::warn!(user = request.user_info.username, reason = "ExceptionUsed", note, "an exception was used");
            for name in names.split(", ") {
                let told = Told { warning: true, reason: "ExceptionUsed", action: "Admit", note: &note };
                self.shared.events.publish(&events::own("SignedException", name), told).await;
            }
        }
    }

    /// How an image stands: by its verdict and by what was admitted before it, or else by an exception.
    async fn answer(
        &self,
        key: &Key,
        policy: &Arc<Policy>,
        asked_by: &AskedBy<'_>,
        deadline: Instant,
        may_replay: bool,
    ) -> Standing {
        let granted = || {
            let namespace = &asked_by.request.namespace;
            self.shared.exceptions.granted(&self.shared, (&key.repository, key.digest), namespace, policy, now())
        };
        let excepted = |granted: Granted| {
            let names: Vec<String> = granted.exceptions.into_iter().collect();
            Standing::Excepted(names.join(", "))
        };
        // Whoever broke the glass does not wait for a registry that may be what is broken.
        let known = self.shared.verdicts.get(key).filter(|known| known.is_fresh(now()));
        if !matches!(known, Some(Known::Signed { passed: true, .. }))
            && let Some(granted) = granted()
        {
            return excepted(granted);
        }
        let standing = match self.standing(key, policy, deadline, may_replay).await {
            Standing::Verified if asked_by.is_new => self.forward(key, policy, &asked_by.request.namespace, deadline).await,
            standing => standing,
        };
        match standing {
            Standing::Verified => Standing::Verified,
            standing => granted().map_or(standing, excepted),
        }
    }

    /// E11: what comes new must not be older than what was admitted in this namespace.
    async fn forward(&self, key: &Key, policy: &Arc<Policy>, namespace: &str, deadline: Instant) -> Standing {
        if policy.spec().forward_only.is_none() {
            return Standing::Verified;
        }
        let Some(Known::Signed { passed: true, lineage: Some(lineage), .. }) = self.shared.verdicts.get(key) else {
            let refusal = Refusal::new("OrderUnknown", "a verdict that says its commit", "none", "try again in a few seconds");
            return Standing::Undecided(refusal);
        };
        let line = Line { namespace: namespace.to_owned(), source: lineage.source.clone(), repository: key.repository.clone() };
        match self.shared.records.mark(&line) {
            Some(mark) if has_to_be_asked(Some(&mark), &lineage) => {
                match self.shared.replayer.forward(key, policy, &mark, deadline).await {
                    Ok(()) => Standing::Verified,
                    Err(standing) => standing,
                }
            }
            _ => Standing::Verified,
        }
    }

    fn key(&self, question: &Question<'_>) -> Key {
        self.shared.replayer.key_of(question.repository, question.digest, question.policy)
    }

    /// How an image stands under a policy: by a fresh verdict, or by a replay in the time there is.
    async fn standing(&self, key: &Key, policy: &Arc<Policy>, deadline: Instant, may_replay: bool) -> Standing {
        let now = now();
        let known = self.shared.verdicts.get(key).filter(|known| known.is_fresh(now));
        // What was revoked since is judged again, and the old word does not count meanwhile.
        let known = known.filter(|known| !self.shared.replayer.is_touched(key, policy, known));
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
