//! A complete service: forecasts that come from another service, through a policy out of a file.
//!
//! Run it with `cargo run -p stormproof-examples --bin service -- examples/service/service.toml`. The book walks through
//! it, on the page "A complete service".

mod forecast;

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;
use stormproof::environment::Environment;
use stormproof::reload::Reloader;
use stormproof::settings::Settings;
use stormproof::{Registry, cache, metrics};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use forecast::Forecasts;

/// The table `[app]`: what the service itself needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct App {
    listen: SocketAddr,
    upstream: String,
    #[serde(default)]
    cache: cache::Config,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: service FILE")?;

    // ANCHOR: settings
    // One file: the table of the service, and the policies, which are read again when the file changes.
    let environment = Environment::of_process();
    let app: App = Settings::read(&path, &environment)?.app.try_into()?;
    let registry = Registry::new();
    let mut reloader = Reloader::new(&path, &registry).environment(environment);
    reloader.load()?;
    tokio::spawn(reloader.run());
    // ANCHOR_END: settings

    // ANCHOR: router
    let forecasts = Forecasts::new(&registry, app.upstream, app.cache)?;
    let told = forecasts.clone();
    let scrape = move || async move {
        let text = metrics::prometheus(&[registry.snapshots(), vec![told.snapshot()]].concat());
        ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
    };
    let router = Router::new()
        .route("/forecast/{city}", get(forecast::show).with_state(forecasts))
        .route("/metrics", get(scrape))
        // An open circuit is no reason to restart this process.
        .route("/healthz", get(async || "ok".into_response()));
    // ANCHOR_END: router

    // ANCHOR: serve
    // Requests under way are answered before the process ends.
    let listener = TcpListener::bind(app.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("listening on {}", listener.local_addr()?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await?;
    // ANCHOR_END: serve
    Ok(())
}
