//! The data plane: a request goes to its upstream through that one's policy, and the answer comes back.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use stormproof::{Held, Limit, Policy};
use stormproof_http::{Client, may_repeat};

use crate::answer::{Answer, mark};
use crate::body::{Reply, Stream};
use crate::config::Settings;
use crate::feed::Feed;
use crate::headers::remove_hop_by_hop;
use crate::patience::{self, Awaited};
use crate::upload::{SMALL, Unreceived, Upload};
use crate::upstream::Upstream;
use crate::upstreams::Upstreams;

/// As much of an unknown name is repeated to who asked for it.
const LONGEST_NAME: usize = 64;

/// What the data plane needs to know.
#[derive(Debug)]
pub(crate) struct Proxy {
    upstreams: Upstreams,
    client: Client<Upload>,
    feed: Feed,
    max_replay_bytes: usize,
    client_timeout: Duration,
}

/// A request as an attempt sends it.
#[derive(Debug)]
struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    upload: Upload,
}

impl Outgoing {
    fn again(&self) -> Option<Self> {
        let Self { method, uri, headers, upload } = self;
        Some(Self { method: method.clone(), uri: uri.clone(), headers: headers.clone(), upload: upload.again()? })
    }

    fn into_request(self) -> Request<Upload> {
        let mut request = Request::new(self.upload);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

impl Proxy {
    pub(crate) fn new(upstreams: Upstreams, client: Client<Upload>, feed: Feed, settings: &Settings) -> Self {
        let &Settings { max_replay_bytes, client_timeout, .. } = settings;
        Self { upstreams, client, feed, max_replay_bytes, client_timeout }
    }

    /// The answer to a request, whatever happens.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Reply> {
        let upstreams = self.upstreams.present();
        let Some((upstream, path)) = route(&upstreams, request.uri()) else {
            let message = unknown(&upstreams, request.uri().path());
            return Answer::new(StatusCode::NOT_FOUND, "unknown_upstream", message).response();
        };
        let name = upstream.name().as_str();
        if request.method() == Method::CONNECT {
            let refused = Answer::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "CONNECT is not proxied");
            return refused.from(name).response();
        }
        let Some(uri) = upstream.address(path) else {
            return Answer::new(StatusCode::BAD_REQUEST, "bad_path", "the path is not valid").from(name).response();
        };
        match self.prepare(upstream, uri, request).await {
            Ok((outgoing, repeatable)) => self.call(upstream, outgoing, repeatable).await,
            Err(answer) => answer.from(name).response(),
        }
    }

    /// The request as it goes out, and whether it may be sent again.
    async fn prepare(
        &self,
        upstream: &Upstream,
        uri: Uri,
        request: Request<Incoming>,
    ) -> Result<(Outgoing, bool), Answer<'static>> {
        let (mut parts, incoming) = request.into_parts();
        remove_hop_by_hop(&mut parts.headers);
        // The client's `Expect` is answered here, and the host is that of the upstream.
        parts.headers.remove(EXPECT);
        parts.headers.remove(HOST);
        if incoming.size_hint().exact().is_none() {
            parts.headers.remove(CONTENT_LENGTH);
        }
        let repeatable = may_repeat(&parts.method, &parts.headers);
        let keep = repeatable && upstream.policy.stages().may_repeat_after(1);
        // What cannot be sent again is received beforehand only if that costs next to nothing.
        let limit = if keep { self.max_replay_bytes } else { self.max_replay_bytes.min(SMALL) };
        let upload = Upload::receive(incoming, limit, keep, self.client_timeout).await;
        let upload = upload.map_err(|unreceived| match unreceived {
            Unreceived::Slow => Answer::slow_request(),
            Unreceived::Broken => {
                Answer::new(StatusCode::BAD_REQUEST, "request_broken", "the body of the request broke off")
            }
        })?;
        let repeatable = repeatable && upload.is_whole();
        Ok((Outgoing { method: parts.method, uri, headers: parts.headers, upload }, repeatable))
    }

    async fn call(&self, upstream: &Upstream, outgoing: Outgoing, repeatable: bool) -> Response<Reply> {
        let progress = outgoing.upload.progress();
        let policy = match (&progress, repeatable) {
            (Some(_), _) => &upstream.streamed,
            (None, true) => &upstream.policy,
            (None, false) => &upstream.once,
        };
        let (client, is_head) = (&self.client, outgoing.method == Method::HEAD);
        let (mut outgoing, mut attempts) = (Some(outgoing), 0);
        let result = policy
            .call(|cx| {
                attempts = cx.attempt();
                let kept = policy.stages().may_repeat_after(attempts);
                let request = if kept { outgoing.as_ref().and_then(Outgoing::again) } else { outgoing.take() };
                let progress = progress.clone();
                async move {
                    let request = request.ok_or(stormproof_http::Error::InvalidRequest)?;
                    let sending = client.send(request.into_request());
                    let response = match progress {
                        Some(progress) => patience::of_upstream(upstream.patience, progress, sending)
                            .await
                            .inspect_err(|error| note(policy, *error))?,
                        None => sending.await?,
                    };
                    // Nobody asked for another protocol.
                    if response.status().is_informational() {
                        return Err(stormproof_http::Error::InvalidResponse);
                    }
                    Ok(response)
                }
            })
            .classify(&upstream.statuses)
            .hold()
            .await;
        let mut response = match result {
            Ok((response, held)) => self.pass_back(upstream, response, (held, attempts), is_head),
            Err(_) if progress.is_some_and(|progress| *progress.borrow() == Awaited::Nobody) => {
                Answer::slow_request().from(upstream.name()).response()
            }
            Err(error) => Answer::of(&error).from(upstream.name()).response(),
        };
        mark(&mut response, &upstream.label, attempts);
        response
    }

    /// The upstream's answer as the client gets it; its body owns what the call has taken.
    fn pass_back(
        &self,
        upstream: &Upstream,
        response: Response<Incoming>,
        held: (Held, u32),
        is_head: bool,
    ) -> Response<Reply> {
        let (mut parts, incoming) = response.into_parts();
        remove_hop_by_hop(&mut parts.headers);
        // The length of a body that is not there, as 304 gives it, would be taken for that of the empty one.
        if !is_head && incoming.is_end_stream() {
            parts.headers.remove(CONTENT_LENGTH);
        }
        parts.version = Version::HTTP_11;
        let verdict = upstream.statuses.verdict(parts.status);
        let stream = Stream::new(incoming, held, verdict, upstream.stall_timeout, self.feed.clone());
        Response::from_parts(parts, Reply::Upstream(Box::new(stream)))
    }
}

/// Counts a limit of time that is kept here, and not by the policy.
fn note(policy: &Policy, error: stormproof_http::Error) {
    if error == stormproof_http::Error::Timeout {
        policy.stages().timed_out.count(Limit::Attempt);
    }
}

/// The upstream that the first segment of the path names, and the rest of the path; or the only one there is.
fn route<'u, 'r>(upstreams: &'u [Arc<Upstream>], uri: &'r Uri) -> Option<(&'u Arc<Upstream>, &'r str)> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let first = first_segment(path);
    let named = upstreams.iter().find(|upstream| upstream.name().as_str() == first);
    if let Some(upstream) = named {
        return Some((upstream, path.get(first.len() + 1..).filter(|rest| !rest.is_empty()).unwrap_or("/")));
    }
    let [only] = upstreams else { return None };
    Some((only, path))
}

/// What is told to who asks for a name that no upstream has.
fn unknown(upstreams: &[Arc<Upstream>], path: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '?' };
    let asked: String = first_segment(path).chars().take(LONGEST_NAME).map(plain).collect();
    let known: Vec<_> = upstreams.iter().map(|upstream| upstream.name().as_str()).collect();
    format!("no upstream is called \"{asked}\"; there are: {}", known.join(", "))
}

/// The part of a path that may name an upstream.
fn first_segment(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path).split(['/', '?']).next().unwrap_or_default()
}
