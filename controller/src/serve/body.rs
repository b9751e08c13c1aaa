//! Request bodies, capped in bytes while they are read, whatever the client announces.

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use warp::http::StatusCode;
use warp::{Filter, Rejection, Reply, reject};

/// The body has more bytes than this route takes.
#[derive(Debug)]
pub(super) struct TooLarge {
    limit: usize,
}

impl reject::Reject for TooLarge {}

/// The connection broke while the body was read.
#[derive(Debug)]
pub(super) struct Broken;

impl reject::Reject for Broken {}

/// The whole body of a request, of at most `limit` bytes. More is answered with 413.
pub fn body(limit: usize) -> impl Filter<Extract = (Bytes,), Error = Rejection> + Clone {
    warp::body::stream().and_then(move |stream| collect(stream, limit))
}

async fn collect<B: Buf>(stream: impl Stream<Item = Result<B, warp::Error>>, limit: usize) -> Result<Bytes, Rejection> {
    let mut stream = std::pin::pin!(stream);
    let mut whole = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let mut piece = piece.map_err(|_| reject::custom(Broken))?;
        if whole.len().saturating_add(piece.remaining()) > limit {
            return Err(reject::custom(TooLarge { limit }));
        }
        while piece.has_remaining() {
            let chunk = piece.chunk();
            whole.extend_from_slice(chunk);
            let read = chunk.len();
            piece.advance(read);
        }
    }
    Ok(whole.freeze())
}

/// Answers for what no route took.
pub(super) fn answer(rejection: &Rejection) -> warp::reply::Response {
    let (status, text) = if let Some(TooLarge { limit }) = rejection.find() {
        (StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {limit} bytes"))
    } else if rejection.find::<Broken>().is_some() {
        (StatusCode::BAD_REQUEST, "the body ended early".to_owned())
    } else if rejection.find::<reject::MethodNotAllowed>().is_some() {
        (StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned())
    } else if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "not found".to_owned())
    } else {
        (StatusCode::BAD_REQUEST, "bad request".to_owned())
    };
    warp::reply::with_status(text, status).into_response()
}
