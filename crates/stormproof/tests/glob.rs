//! Everything imported at once: no name of ours hides a crate that is used beside it.
#![cfg(all(test, feature = "tower"))]

// Without an import of its own, `tower` below is the crate's name, which a module of that name would make ambiguous.
#[allow(clippy::wildcard_imports, reason = "this is what is tested")]
use stormproof::*;

#[tokio::test]
async fn tower_is_the_crate() {
    use tower::ServiceExt;

    let policy = Policy::builder("p").build().unwrap();
    let echo = tower::service_fn(|word: &'static str| async move { Ok::<_, std::io::Error>(word) });
    let echo = tower::ServiceBuilder::new().layer(service::PolicyLayer::new(&policy)).service(echo);
    assert_eq!(echo.oneshot("hello").await.unwrap(), "hello");
}
