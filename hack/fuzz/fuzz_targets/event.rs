//! Webhook events: any bytes of any host are refused or give events that are fit to pass on.
#![no_main]

use assay_core::event::payload;
use assay_core::event::{Headers, Host};
use libfuzzer_sys::fuzz_target;

const EVENTS: [(Host, &str, &str); 10] = [
    (Host::GitHub, "x-github-event", "push"),
    (Host::GitHub, "x-github-event", "pull_request"),
    (Host::GitLab, "x-gitlab-event", "Push Hook"),
    (Host::GitLab, "x-gitlab-event", "Tag Push Hook"),
    (Host::GitLab, "x-gitlab-event", "Merge Request Hook"),
    (Host::Gitea, "x-gitea-event", "push"),
    (Host::Gitea, "x-gitea-event", "pull_request"),
    (Host::BitbucketCloud, "x-event-key", "repo:push"),
    (Host::BitbucketServer, "x-event-key", "repo:refs_changed"),
    (Host::Git, "x-assay-event", "push"),
];

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    let (host, header, event) = EVENTS[usize::from(*first) % EVENTS.len()];
    let headers = Headers::new([(header, event)]);
    let Ok(announcement) = payload::read(host, &headers, body) else { return };
    assert!(!announcement.repositories.is_empty());
    let plain = |text: &str| !text.contains(['$', '"', '\\', '`', '\n', '(']);
    assert!(plain(&announcement.author) && plain(&announcement.id));
    for change in announcement.changes.into_iter().flatten() {
        assert!(plain(change.reference.as_str()));
        assert!(change.changed.is_none_or(|changed| changed.paths.len() <= payload::CHANGED_FILES));
    }
});
