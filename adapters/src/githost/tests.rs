//! Against a server that speaks HTTP: what is told, how often, and to whom.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_core::event::Host;
use assay_core::event::status::{CommitStatus, State};
use assay_core::git::RepositoryUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{CloudEvent, Persistence, TellError, send_event, tell_status};
use crate::http::{Http, HttpConfig};

const QUICK: Persistence = Persistence { attempt: Duration::from_secs(5), attempts: 3, pause: Duration::from_millis(1) };

/// Answers each request with the next of `answers`, and keeps what came.
async fn server(answers: &[&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (kept, answers) = (Arc::clone(&seen), answers.to_vec());
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let read = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length =
                    head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if read == 0 || body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            kept.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, seen)
}

fn answer(status: &'static str) -> &'static str {
    match status {
        "201" => "HTTP/1.1 201 Created\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
        "503" => "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "429" => "HTTP/1.1 429 Slow\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "401" => "HTTP/1.1 401 No\r\ncontent-length: 7\r\nconnection: close\r\n\r\nbad\nkey",
        "302" => "HTTP/1.1 302 Elsewhere\r\nlocation: http://127.0.0.1:1/steal\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "400" => {
            "HTTP/1.1 400 Bad\r\ncontent-length: 60\r\nconnection: close\r\n\r\n{\"message\":\"Cannot transition status via :enqueue from :pen\"}"
        }
        other => panic!("{other}"),
    }
}

fn status(state: State) -> CommitStatus {
    let commit = "3f1c0d8e5b7a9246810fedcba987654321001122".parse().unwrap();
    CommitStatus { commit, state, description: "TreeMismatch".into(), link: None }
}

async fn tell(host: Host, api: &str, state: State) -> Result<(), TellError> {
    let http = Http::new(&HttpConfig::default()).unwrap();
    let repository: RepositoryUrl = "https://git.example.com/team/app".parse().unwrap();
    tell_status(&http, host, api, "the-token\n", &repository, &status(state), QUICK).await
}

#[tokio::test]
async fn hosts_are_told_with_their_token_and_again_after_failures_that_pass() {
    let (api, seen) = server(&[answer("503"), answer("429"), answer("201")]).await;
    tell(Host::Gitea, &format!("{api}/api/v1/"), State::Failure).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen[2].starts_with("POST /api/v1/repos/team/app/statuses/3f1c0d8e"), "{}", seen[2]);
    assert!(seen[2].contains("authorization: token the-token\r\n"));
    assert!(seen[2].contains(r#""context":"assay/gate""#) && seen[2].contains(r#""state":"failure""#));
}

#[tokio::test]
async fn failures_that_do_not_pass_end_at_once_and_all_end() {
    let (api, seen) = server(&[answer("401"), answer("201")]).await;
    let refused = tell(Host::GitHub, &api, State::Success).await.unwrap_err();
    assert_eq!((refused.reason(), seen.lock().unwrap().len()), ("StatusRefused", 1));
    assert!(refused.to_string().ends_with("401 Unauthorized: bad key"), "{refused}");
    let (api, seen) = server(&[answer("503"); 4]).await;
    tell(Host::GitHub, &api, State::Success).await.unwrap_err();
    assert_eq!(seen.lock().unwrap().len(), 3);
}

/// Lesson L10: a token goes to the host it is for, over TLS, and never where an answer points.
#[tokio::test]
async fn lesson_l10_tokens_follow_no_redirect_and_no_plain_address() {
    let (api, _) = server(&[answer("302")]).await;
    assert_eq!(tell(Host::GitHub, &api, State::Success).await.unwrap_err().reason(), "StatusRefused");
    for api in [
        "http://git.example.com",
        "ftp://git.example.com",
        "https://user:pw@git.example.com",
        "https://git.example.com?x",
        "nonsense",
    ] {
        assert_eq!(tell(Host::GitHub, api, State::Success).await.unwrap_err().reason(), "StatusAddressMalformed", "{api}");
    }
    assert_eq!(tell(Host::Git, "https://x", State::Success).await.unwrap_err().reason(), "StatusUnsupported");
}

#[tokio::test]
async fn gitlab_that_knows_already_counts_as_told() {
    let (api, _) = server(&[answer("400")]).await;
    tell(Host::GitLab, &api, State::Pending).await.unwrap();
    let (api, _) = server(&[answer("400")]).await;
    tell(Host::GitLab, &api, State::Success).await.unwrap_err();
}

#[tokio::test]
async fn events_go_out_in_binary_mode() {
    let (sink, seen) = server(&[answer("201")]).await;
    let event = CloudEvent {
        id: "run/failure".into(),
        source: "/namespaces/builds/sourcerepositories/app".into(),
        kind: "dev.assay.build.failure.v1",
        subject: "app 1".into(),
        time: "2026-11-20T08:13:00Z".into(),
        data: br#"{"commit":"3f"}"#.to_vec(),
    };
    send_event(&Http::new(&HttpConfig::default()).unwrap(), &sink, &event, QUICK).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(
        seen[0].contains("ce-type: dev.assay.build.failure.v1\r\n") && seen[0].contains("ce-subject: app%201\r\n"),
        "{}",
        seen[0]
    );
    assert!(seen[0].ends_with(r#"{"commit":"3f"}"#));
}
