//! A worker: takes runs from the journal until its standard input is closed.

use std::{
    io::{self, Read as _},
    path::PathBuf,
    thread,
    time::Duration,
};

use stormproof_journal::{Journal, OpenError};

use crate::{
    tables::Engine,
    workflow::{self, World},
};

/// What a worker is told when it starts.
#[derive(Clone, Debug)]
pub struct Task {
    /// The journal.
    pub url: String,
    /// The bank's folder.
    pub bank: PathBuf,
    /// Runs at a time.
    pub slots: u32,
    /// How long after its last heartbeat others may take its runs.
    pub lease: Duration,
}

impl Task {
    /// The words that [`parse`](Self::parse) reads.
    pub fn args(&self) -> Vec<String> {
        let words = ["worker", &self.url, &self.bank.to_string_lossy()].map(str::to_owned);
        words.into_iter().chain([self.slots.to_string(), self.lease.as_millis().to_string()]).collect()
    }

    /// Reads the words after `worker`.
    pub fn parse(words: &[String]) -> Option<Self> {
        let [url, bank, slots, lease] = words else { return None };
        let lease = Duration::from_millis(lease.parse().ok()?);
        Some(Self { url: url.clone(), bank: bank.into(), slots: slots.parse().ok()?, lease })
    }

    /// Which engine the address means.
    pub fn engine(&self) -> Engine {
        if self.url.starts_with("sqlite:") { Engine::Sqlite } else { Engine::Postgres }
    }

    /// Works until the standard input is closed.
    pub async fn work(&self) -> Result<(), Box<dyn std::error::Error>> {
        let journal = self.open().await?;
        workflow::register(&journal, &World { bank: self.bank.clone(), engine: self.engine() });
        let (over, is_over) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let mut nothing = Vec::new();
            let _ = io::stdin().read_to_end(&mut nothing);
            let _ = over.send(());
        });
        // Half of them let go of everything at once, also of what is on the way; the others end what they have begun.
        if std::process::id().is_multiple_of(2) {
            tokio::select! {
                served = journal.serve(self.slots) => served?,
                _ = is_over => {}
            }
            journal.shutdown(Duration::ZERO).await;
            return Ok(());
        }
        let stop = async {
            let _ = is_over.await;
            journal.shutdown(Duration::from_secs(5)).await;
            Ok(())
        };
        tokio::try_join!(journal.serve(self.slots), stop)?;
        Ok(())
    }

    /// A server may be away when a worker starts.
    async fn open(&self) -> Result<Journal, OpenError> {
        loop {
            let journal = Journal::builder(&self.url)
                .lease(self.lease)
                .poll(Duration::from_millis(20))
                .max_attempts(1_000_000)
                .open()
                .await;
            match journal {
                Err(OpenError::Store(error)) if self.engine() == Engine::Postgres => eprintln!("worker: {error}"),
                other => return other,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
